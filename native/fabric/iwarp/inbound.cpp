// inbound.cpp -- see inbound.h. Loop thread of the connection.
#include "fabric/iwarp/inbound.h"

#include <algorithm>
#include <utility>

namespace rdmacp::fabric::iwarp {

using rdmap::Opcode;
namespace terminate_code = rdmap::terminate_code;

namespace {

// RFC 5040 section 4.2
bool isSend(std::uint8_t opcode) {
  return opcode >= static_cast<std::uint8_t>(Opcode::send) &&
         opcode <= static_cast<std::uint8_t>(Opcode::sendSolicitedInvalidate);
}

bool invalidates(std::uint8_t opcode) {
  return opcode == static_cast<std::uint8_t>(Opcode::sendInvalidate) ||
         opcode == static_cast<std::uint8_t>(Opcode::sendSolicitedInvalidate);
}

}  // namespace

std::optional<rdmap::TerminateCode> Inbound::onHeader(const ddp::Header& header, std::size_t payload,
                                                      PlacementTarget& target) {
  if (header.version != ddp::kVersion) {
    return header.tagged ? terminate_code::kTaggedVersion : terminate_code::kUntaggedVersion;
  }
  if (!header.tagged) return onUntaggedHeader(header, payload, target);
  if (header.rdmapVersion != rdmap::kVersion) return terminate_code::kRdmapVersion;
  switch (static_cast<Opcode>(header.opcode)) {
    case Opcode::write:
      return onWriteHeader(header, payload, target);
    case Opcode::readResponse:
      return onReadResponseHeader(header, payload, target);
    default:
      return terminate_code::kUnexpectedOpcode;
  }
}

Inbound::Verdict Inbound::onWriteHeader(const ddp::Header& header, std::size_t payload, PlacementTarget& target) {
  if (payload == 0) return std::nullopt;  // RFC 5040 section 5.2: nothing is checked for nothing
  const auto found = keys_.find(header.stag, header.taggedOffset, payload, Access::remoteWrite);
  switch (found.verdict) {
    case KeyTable::Verdict::ok:
      target.add(found.address, payload);
      dirty_ = found.grant->region->dirty();
      dirtyOffset_ = static_cast<std::uint64_t>(found.address - found.grant->region->memory().data());
      dirtyLength_ = payload;
      return std::nullopt;
    case KeyTable::Verdict::unknownKey:
      return terminate_code::kTaggedInvalidStag;
    case KeyTable::Verdict::missingRight:
      return terminate_code::kAccessRights;  // a right is RDMAP's to check: DDP has no code for it
    case KeyTable::Verdict::wraps:
      return terminate_code::kTaggedOffsetWrap;
    case KeyTable::Verdict::outOfBounds:
      break;
  }
  return terminate_code::kTaggedBounds;
}

void Inbound::endPlacement() {
  if (auto* const dirty = std::exchange(dirty_, nullptr)) dirty->mark(dirtyOffset_, dirtyLength_);
}

Inbound::Verdict Inbound::onReadResponseHeader(const ddp::Header& header, std::size_t payload,
                                               PlacementTarget& target) {
  OutstandingRead* read = events_.headRead();
  if (read == nullptr) return terminate_code::kUnexpectedOpcode;
  if (header.stag != read->sinkKey) return terminate_code::kTaggedInvalidStag;
  // The sink begins at offset 0 and is filled in order.
  if (header.taggedOffset + payload < header.taggedOffset) return terminate_code::kTaggedOffsetWrap;
  if (header.taggedOffset != read->received || payload > read->length - read->received) {
    return terminate_code::kTaggedBounds;
  }
  if (header.last != (read->received + payload == read->length)) return terminate_code::kOperationUnspecified;
  read->cursor->take(*read->item, payload, SIZE_MAX,
                     [&](std::byte* address, std::size_t bytes) { target.add(address, bytes); });
  return std::nullopt;
}

Inbound::Verdict Inbound::checkSequence(const ddp::Header& header, std::uint32_t buffers) const {
  const std::uint32_t ahead = header.sequence - nextSequence_[header.queue];
  if (ahead == 0) return std::nullopt;
  // Ahead of what there are buffers for, or of what was received and so in no order that TCP would give.
  const bool behind = ahead > 0x7fffffffU;
  return behind || ahead < buffers ? terminate_code::kSequenceRange : terminate_code::kSequenceNoBuffer;
}

Inbound::Verdict Inbound::onUntaggedHeader(const ddp::Header& header, std::size_t payload, PlacementTarget& target) {
  if (header.queue > rdmap::kTerminateQueue) return terminate_code::kInvalidQueue;
  if (const auto wrong = checkSequence(header, limits_.receiveDepth)) return wrong;
  const std::size_t expected = header.queue == rdmap::kSendQueue ? messageLength_ : 0;
  if (header.messageOffset != expected) return terminate_code::kInvalidOffset;
  if (header.rdmapVersion != rdmap::kVersion) return terminate_code::kRdmapVersion;
  if (header.queue == rdmap::kSendQueue) return onSendHeader(header, payload, target);

  const bool isRead = header.queue == rdmap::kReadQueue;
  const Opcode wanted = isRead ? Opcode::readRequest : Opcode::terminate;
  if (static_cast<Opcode>(header.opcode) != wanted) return terminate_code::kUnexpectedOpcode;
  const std::size_t room = isRead ? rdmap::kReadRequestBytes : control_.size();
  if (payload > room) return terminate_code::kMessageTooLong;
  if (!header.last || (isRead && payload != room)) return terminate_code::kOperationUnspecified;
  target.add(control_.data(), payload);
  return std::nullopt;
}

Inbound::Verdict Inbound::onSendHeader(const ddp::Header& header, std::size_t payload, PlacementTarget& target) {
  if (!isSend(header.opcode)) return terminate_code::kUnexpectedOpcode;
  if (messageLength_ != 0 && header.opcode != messageOpcode_) return terminate_code::kUnexpectedOpcode;
  if (payload > limits_.maxMessage - messageLength_) return terminate_code::kMessageTooLong;
  messageOpcode_ = header.opcode;
  if (message_.size() < messageLength_ + payload) message_.resize(messageLength_ + payload);
  target.add(message_.data() + messageLength_, payload);
  return std::nullopt;
}

std::optional<rdmap::TerminateCode> Inbound::onFrame(const ddp::Header& header, std::size_t payload) {
  if (header.tagged) {
    endPlacement();
    payloadReceived_ += payload;
    if (static_cast<Opcode>(header.opcode) == Opcode::readResponse) {
      events_.headRead()->received += static_cast<std::uint32_t>(payload);
      if (header.last) events_.finishRead();
    }
    return std::nullopt;
  }
  if (header.queue == rdmap::kSendQueue) {
    payloadReceived_ += payload;
    messageLength_ += payload;
    return header.last ? onMessageEnd(header) : std::nullopt;
  }
  ++nextSequence_[header.queue];
  if (header.queue == rdmap::kReadQueue) return onReadRequest();
  events_.onTerminate(std::span(control_).first(payload));
  return std::nullopt;
}

Inbound::Verdict Inbound::onMessageEnd(const ddp::Header& header) {
  if (invalidates(header.opcode)) {
    if (!keys_.contains(header.stag)) return terminate_code::kReadInvalidStag;
    if (events_.readsFrom(header.stag)) return terminate_code::kCannotInvalidate;
    keys_.revoke(header.stag);
  }
  const std::size_t length = std::exchange(messageLength_, 0);
  const bool ready = swallowReadySend_ && nextSequence_[rdmap::kSendQueue] == 1 && length == 0;
  ++nextSequence_[rdmap::kSendQueue];
  if (!ready) events_.onMessageArrived(std::span(message_).first(length));
  return std::nullopt;
}

Inbound::Verdict Inbound::onReadRequest() {
  const auto request = rdmap::parseReadRequest(control_.data());
  ReadResponse response;
  response.sinkKey = request.sinkStag;
  response.sinkOffset = request.sinkOffset;
  response.length = request.length;
  response.sourceKey = request.sourceStag;
  if (request.length != 0) {
    const auto found = keys_.find(request.sourceStag, request.sourceOffset, request.length, Access::remoteRead);
    switch (found.verdict) {
      case KeyTable::Verdict::ok:
        response.region = found.grant->region;
        response.source = found.address;
        break;
      case KeyTable::Verdict::unknownKey:
        return terminate_code::kReadInvalidStag;
      case KeyTable::Verdict::missingRight:
        return terminate_code::kAccessRights;
      case KeyTable::Verdict::wraps:
        return terminate_code::kReadOffsetWrap;
      case KeyTable::Verdict::outOfBounds:
        return terminate_code::kReadBounds;
    }
  }
  // More requests than agreed find no buffer in their queue (RFC 5041 section 7).
  if (!events_.respond(std::move(response))) return terminate_code::kSequenceNoBuffer;
  return std::nullopt;
}

void Inbound::complete(rdmap::Culprit& culprit) const {
  if (culprit.headerLength == 0) return;
  const ddp::Header header = ddp::parseHeader(culprit.header.data());
  if (header.tagged || header.queue != rdmap::kReadQueue) return;
  if (static_cast<Opcode>(header.opcode) != Opcode::readRequest) return;
  if (culprit.segmentLength != ddp::kUntaggedBytes + rdmap::kReadRequestBytes) return;
  std::copy_n(control_.begin(), rdmap::kReadRequestBytes, culprit.readRequest.begin());
  culprit.hasReadRequest = true;
}

}  // namespace rdmacp::fabric::iwarp

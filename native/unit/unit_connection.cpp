// unit_connection.cpp -- the part that data and session connections have in common; see docs/data-protocol.md.
#include "unit/unit_connection.h"

#include <string>
#include <utility>

namespace rdmacp::unit {
namespace {

// A peer that takes no bytes for this long is as good as dead; answers are small.
constexpr std::chrono::seconds kSendDeadline{10};
// The largest message that the unit sends (a refuse with its text) fits.
constexpr std::uint32_t kMinPeerMessage = 512;

std::string rangeText(std::uint16_t lowest, std::uint16_t highest) {
  return std::to_string(lowest) + " to " + std::to_string(highest);
}

}  // namespace

UnitConnection::UnitConnection(std::shared_ptr<UnitState> unit)
    : unit_(std::move(unit)), ref_(std::make_shared<ConnectionRef>()) {}

void UnitConnection::abort() {
  ref_->end([] {});
}

void UnitConnection::onAccepted(fabric::Connection& connection) {
  if (!ref_->approach(connection)) connection.fence([] {});
}

void UnitConnection::onEstablished(fabric::Connection& connection, fabric::ConstBytes) {
  if (!ref_->attach(connection)) {
    connection.fence([] {});
    return;
  }
  phase_ = Phase::hello;
  const std::chrono::milliseconds patience(unit_->options.helloTimeoutMs);
  helloTimer_ = connection.loop().after(patience, [weak = weak_from_this()] {
    const auto self = weak.lock();
    if (self && self->phase_ == Phase::hello) self->abort();
  });
}

void UnitConnection::onMessage(fabric::Connection& connection, fabric::ConstBytes message) {
  if (phase_ == Phase::refused || violated_ || !ref_->alive()) return;
  if (const auto received = receive(connection, message); !received) {
    violated_ = true;
    ++unit_->counters.violated;
    abort();
  }
}

Status UnitConnection::receive(fabric::Connection& connection, fabric::ConstBytes message) {
  if (phase_ == Phase::hello) return receiveHello(connection, message);
  const auto header = protocol::parseHeader(message);
  if (!header) return header.error();
  if (header.value().version != version_) {
    return Error{ErrorCode::protocolViolation,
                 "a message of version " + std::to_string(header.value().version) + " came after version " +
                     std::to_string(version_) + " was agreed on",
                 0};
  }
  return onRequest(header.value().type, message);
}

Status UnitConnection::receiveHello(fabric::Connection& connection, fabric::ConstBytes message) {
  const auto hello = protocol::parseHello(message);
  if (!hello) return hello.error();
  connection.loop().cancel(std::exchange(helloTimer_, 0));
  const auto& theirs = hello.value();
  if (theirs.maxMessage < kMinPeerMessage) {
    return Error{ErrorCode::protocolViolation, "a peer has to take messages of 512 bytes", 0};
  }
  const auto common =
      protocol::commonVersion(theirs.versionMin, theirs.versionMax, protocol::kVersionMin, protocol::kVersionMax);
  if (!common) {
    refuse({ErrorCode::versionMismatch,
            "the client speaks versions " + rangeText(theirs.versionMin, theirs.versionMax) +
                " of the data protocol, the unit " + rangeText(protocol::kVersionMin, protocol::kVersionMax) +
                "; upgrade the older one",
            0});
    return {};
  }
  unit_->connections.prove(shared_from_this());
  version_ = *common;
  peerCapabilities_ = theirs.capabilities;
  phase_ = Phase::open;
  if (const auto welcomed = onHello(connection); !welcomed) refuse(welcomed.error());
  return {};
}

void UnitConnection::refuse(const Error& why) {
  phase_ = Phase::refused;
  ++unit_->counters.refused;
  protocol::Refuse message;
  message.code = why.code;
  message.text = why.message;
  if (send(protocol::encode(message))) {
    ref_->closeInOrder();
  } else {
    abort();
  }
}

Status UnitConnection::send(std::vector<std::byte> message) {
  fabric::LocalSegment segment;
  fabric::WorkRequest request;
  request.kind = fabric::WorkRequest::Kind::send;
  request.deadline = Clock::now() + kSendDeadline;
  {
    const std::lock_guard lock(sendMutex_);
    request.id = nextSend_++;
    auto& kept = sending_[request.id];
    kept = std::move(message);
    segment = {kept.data(), kept.size(), nullptr};
  }
  request.local = {&segment, 1};
  auto posted = ref_->post(request);
  if (!posted) {
    const std::lock_guard lock(sendMutex_);
    sending_.erase(request.id);
  }
  return posted;
}

void UnitConnection::onCompletions(fabric::Connection&, std::span<const fabric::Completion> completions) {
  const std::lock_guard lock(sendMutex_);
  for (const auto& completion : completions)
    sending_.erase(completion.id);
}

void UnitConnection::onClosed(fabric::Connection& connection, const Error& reason) {
  const auto last = connection.counters();
  ref_->detach();
  if (helloTimer_ != 0) connection.loop().cancel(std::exchange(helloTimer_, 0));
  if (reason.code == ErrorCode::protocolViolation && !violated_) ++unit_->counters.violated;
  onEnd();
  unit_->connections.remove(shared_from_this(), last);
}

}  // namespace rdmacp::unit

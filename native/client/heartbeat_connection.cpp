// heartbeat_connection.cpp -- the messages of one session connection, as docs/data-protocol.md has them. The loop's thread.
#include "client/heartbeat_connection.h"

#include <algorithm>
#include <utility>

#include "client/handshake.h"

namespace rdmacp::client {

Status HeartbeatConnection::onAnswer(fabric::Connection& /*connection*/, protocol::MessageHeader header,
                                     fabric::ConstBytes message) {
  if (header.type != protocol::MessageType::welcome) {
    return Error{ErrorCode::protocolViolation, "the hello of a session connection was answered by message type " +
                                                   std::to_string(static_cast<int>(header.type))};
  }
  const auto welcome = protocol::parseWelcome(message);
  if (!welcome) return welcome.error();
  if (Status checked = checkWelcome(welcome.value()); !checked) return checked;
  version_ = header.version;
  return owner_->onWelcome(*this, welcome.value());
}

void HeartbeatConnection::sendHeartbeat(std::uint32_t loopAgeMs, std::chrono::milliseconds unansweredFor) {
  const auto open = connection();
  if (!open) return;
  const auto free = std::find_if(slots_.begin(), slots_.end(), [](const Slot& slot) { return !slot.busy; });
  // All of them unsent: the connection stands still, and silence ends it.
  if (free == slots_.end()) return;
  const Clock::time_point now = Clock::now();
  protocol::Heartbeat heartbeat;
  heartbeat.sequence = ++sequence_;
  heartbeat.sentAtNs = static_cast<std::uint64_t>(std::chrono::nanoseconds(now.time_since_epoch()).count());
  heartbeat.loopAgeMs = loopAgeMs;
  free->bytes = protocol::encode(heartbeat, protocol::MessageType::heartbeat, version_);
  free->busy = true;
  const fabric::LocalSegment segment{free->bytes.data(), free->bytes.size(), nullptr};
  fabric::WorkRequest request;
  request.kind = fabric::WorkRequest::Kind::send;
  request.id = static_cast<std::uint64_t>(free - slots_.begin()) + 1;
  request.local = {&segment, 1};
  request.deadline = now + unansweredFor;
  if (Status posted = open->post({&request, 1}); !posted) {
    free->busy = false;
    if (posted.error().code != ErrorCode::limitReached) fail(posted.error());
  }
}

Status HeartbeatConnection::onFurther(fabric::Connection& /*connection*/, protocol::MessageHeader header,
                                      fabric::ConstBytes message) {
  if (header.type == protocol::MessageType::heartbeatEcho) {
    const auto echo = protocol::parseHeartbeat(message);
    if (!echo) return echo.error();
    if (echo.value().sequence == 0 || echo.value().sequence > sequence_) {
      return Error{ErrorCode::protocolViolation,
                   "the echo of a heartbeat that was not sent, number " + std::to_string(echo.value().sequence)};
    }
    owner_->onEcho(*this);
    return {};
  }
  if (header.type == protocol::MessageType::fenced) {
    const auto fenced = protocol::parseFenced(message);
    if (!fenced) return fenced.error();
    owner_->onFenced(fenced.value().handle, fenced.value().epoch);
    return {};
  }
  return Error{ErrorCode::protocolViolation,
               "message type " + std::to_string(static_cast<int>(header.type)) + " on a session connection"};
}

void HeartbeatConnection::onCompletions(fabric::Connection& /*connection*/,
                                        std::span<const fabric::Completion> completions) {
  for (const fabric::Completion& completion : completions) {
    if (completion.id == kControl || completion.id > slots_.size()) continue;
    slots_[completion.id - 1].busy = false;
  }
}

void HeartbeatConnection::onOver(const Error& reason) {
  const std::shared_ptr<HeartbeatConnectionOwner> owner = std::move(owner_);
  if (owner) owner->onConnectionOver(*this, reason);
}

}  // namespace rdmacp::client

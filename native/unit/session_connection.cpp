// session_connection.cpp -- welcome, heartbeat and fenced; the messages are those of docs/data-protocol.md.
#include "unit/session_connection.h"

namespace rdmacp::unit {
namespace {

// Between two heartbeats of the peer's; fewer than any peer has posted receives (docs/data-protocol.md).
constexpr std::uint32_t kFencedAtOnce = 16;
// A spare token ends with its session, or when the next welcome brings another.
constexpr std::chrono::hours kSpareLife{24 * 365 * 50};

}  // namespace

Status SessionConnection::onHello(fabric::Connection& connection) {
  const auto self = std::static_pointer_cast<SessionConnection>(shared_from_this());
  // Before anybody finds this connection in the table: the welcome is the first message.
  protocol::Welcome message;
  message.heartbeatMs = unit().options.heartbeatMs;
  message.session = session_;
  message.unitStart = unit().options.unitStart;
  if (!unit().sessions.has(session_)) return Error{ErrorCode::notFound, "the session has ended", 0};
  message.spare = nextSpare();
  (void)send(protocol::encode(message, version()));
  const auto replaced = unit().sessions.connect(session_, self, connection.loop());
  if (!replaced) {
    unit().spares.revokeSession(session_);
    abort();
    return {};
  }
  if (replaced.value()) replaced.value()->abort();
  return {};
}

// Without one the client has to ask for a token over the control plane.
protocol::Token SessionConnection::nextSpare() {
  unit().spares.revokeSession(session_);
  TokenBinding binding;
  binding.kind = protocol::ConnectionKind::session;
  binding.session = session_;
  const auto issued = unit().spares.issue(binding, kSpareLife);
  return issued ? issued.value() : protocol::Token{};
}

Status SessionConnection::onRequest(protocol::MessageType type, fabric::ConstBytes message) {
  if (type != protocol::MessageType::heartbeat) {
    return Error{ErrorCode::protocolViolation, "a session connection takes heartbeats only", 0};
  }
  const auto parsed = protocol::parseHeartbeat(message);
  if (!parsed) return parsed.error();
  unit().sessions.heard(session_, this, parsed.value().loopAgeMs);
  auto echo = parsed.value();
  echo.loopAgeMs = 0;
  (void)send(protocol::encode(echo, protocol::MessageType::heartbeatEcho, version()));
  // The peer has handled what came before it sent this, or soon will have.
  const std::lock_guard lock(fencedMutex_);
  toldSinceHeartbeat_ = 0;
  sendFenced();
  return {};
}

void SessionConnection::tellFenced(HandleId handle, std::uint64_t epoch) {
  const std::lock_guard lock(fencedMutex_);
  fenced_[handle] = epoch;
  sendFenced();
}

// A device has room for as many messages as its owner has posted receives, and ends the connection over one too many. Somebody
// who owns a thousand regions and loses them at once is told in portions; meanwhile the regions' own connections tell.
void SessionConnection::sendFenced() {
  while (!fenced_.empty() && toldSinceHeartbeat_ < kFencedAtOnce) {
    protocol::Fenced message;
    const auto next = fenced_.begin();
    message.handle = next->first;
    message.epoch = next->second;
    fenced_.erase(next);
    ++toldSinceHeartbeat_;
    (void)send(protocol::encode(message, version()));
  }
}

void SessionConnection::onEnd() {
  if (unit().sessions.disconnect(session_, this)) unit().sessionAlone();
}

}  // namespace rdmacp::unit

// session_connection.cpp -- welcome, heartbeat and fenced; the messages are those of docs/data-protocol.md.
#include "session_connection.h"

namespace rdmacp::unit {

Status SessionConnection::onHello(fabric::Connection&) {
  const auto self = std::static_pointer_cast<SessionConnection>(shared_from_this());
  // Before anybody finds this connection in the table: the welcome is the first message.
  protocol::Welcome message;
  message.heartbeatMs = unit().options.heartbeatMs;
  message.session = session_;
  message.unitGeneration = unit().options.unitGeneration;
  if (!unit().sessions.has(session_)) return Error{ErrorCode::notFound, "the session has ended", 0};
  (void)send(protocol::encode(message, version()));
  const auto replaced = unit().sessions.connect(session_, self);
  if (!replaced) {
    abort();
    return {};
  }
  if (replaced.value()) replaced.value()->abort();
  return {};
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
  return {};
}

void SessionConnection::tellFenced(HandleId handle, std::uint64_t epoch) {
  protocol::Fenced message;
  message.handle = handle;
  message.epoch = epoch;
  (void)send(protocol::encode(message, version()));
}

void SessionConnection::onEnd() {
  if (unit().sessions.disconnect(session_, this)) unit().sessionAlone();
}

}  // namespace rdmacp::unit

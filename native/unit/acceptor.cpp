// acceptor.cpp -- token checks on the connect path; no JavaScript and no callback upwards is on it.
#include "unit/acceptor.h"

#include <utility>

#include "unit/data_connection.h"
#include "unit/session_connection.h"

namespace rdmacp::unit {
namespace {

Error invalidToken() {
  return {ErrorCode::tokenInvalid, "the token is unknown, used or expired", 0};
}

Error tooMany() {
  return {ErrorCode::limitReached, "the unit has as many connections as it may have", 0};
}

}  // namespace

fabric::AcceptDecision Acceptor::onRequest(const fabric::ConnectionRequest& request) {
  fabric::AcceptDecision decision;
  auto admitted = admit(request);
  if (admitted) {
    ++unit_->counters.accepted;
    decision.accept = true;
    decision.handler = std::move(admitted).value();
  } else {
    ++unit_->counters.refused;
    protocol::RejectData reject;
    reject.code = admitted.error().code;
    decision.privateData = protocol::encode(reject);
  }
  return decision;
}

Result<std::shared_ptr<UnitConnection>> Acceptor::admit(const fabric::ConnectionRequest& request) {
  if (unit_->stopping) return Error{ErrorCode::stopped, "the unit is stopping", 0};
  const auto asked = protocol::parseConnectData(request.privateData);
  if (!asked) return asked.error();
  const auto& token = asked.value().token;
  // Looked at first and taken later, under the lock of its region, so that a fence misses neither token nor connection.
  auto binding = unit_->tokens.find(token);
  if (!binding) binding = unit_->spares.find(token);
  if (!binding || binding->kind != asked.value().kind) return invalidToken();
  return binding->kind == protocol::ConnectionKind::data ? admitData(token, binding->region)
                                                         : admitSession(token, binding->session);
}

// A token alone proves little: whoever may open a session gets as many as there are connections.
bool Acceptor::makeRoom(const ConnectionRegistry::Entry& entry) {
  if (entry.yielding) {
    ++unit_->counters.yielded;
    entry.yielding->abort();
  }
  return entry.added;
}

Result<std::shared_ptr<UnitConnection>> Acceptor::admitData(const protocol::Token& token, RegionId id) {
  auto region = unit_->regions.find(id);
  if (!region) return invalidToken();
  auto connection = std::make_shared<DataConnection>(unit_, fabric_);
  if (!makeRoom(unit_->connections.add(connection, unit_->options.maxConnections))) return tooMany();
  auto member = region->admit(token, unit_->tokens, unit_->sessions, connection->ref());
  if (!member) {
    unit_->connections.remove(connection, {});
    return member.error();
  }
  connection->bind(std::move(region), std::move(member).value());
  return std::shared_ptr<UnitConnection>(std::move(connection));
}

Result<std::shared_ptr<UnitConnection>> Acceptor::admitSession(const protocol::Token& token, SessionId session) {
  auto connection = std::make_shared<SessionConnection>(unit_, session);
  const auto limit = unit_->options.maxConnections;
  const bool moving = unit_->sessions.connectionOf(session) != nullptr;
  // Before the token is used up, which is good once more when there is no room.
  if (!makeRoom(moving ? unit_->connections.addMoving(session, connection, limit)
                       : unit_->connections.add(connection, limit))) {
    return tooMany();
  }
  auto binding = unit_->tokens.take(token);
  if (!binding) binding = unit_->spares.take(token);
  if (!binding || !unit_->sessions.has(session)) {
    unit_->connections.remove(connection, {});
    return invalidToken();
  }
  return std::shared_ptr<UnitConnection>(std::move(connection));
}

}  // namespace rdmacp::unit

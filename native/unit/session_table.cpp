// session_table.cpp -- bookkeeping of sessions, on the lease clocks. Any thread.
#include "unit/session_table.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

namespace rdmacp::unit {
namespace {

Error unknownSession(SessionId session) {
  return {ErrorCode::notFound, "session " + std::to_string(session) + " is not known to this unit, or has ended", 0};
}

}  // namespace

Status SessionTable::add(SessionId session) {
  const std::lock_guard lock(mutex_);
  const auto [added, fresh] = sessions_.try_emplace(session);
  if (!fresh) return Error{ErrorCode::exists, "there is a session " + std::to_string(session) + " already", 0};
  added->second.clock = &slowest();
  added->second.heardAt = added->second.clock->elapsed();
  return {};
}

bool SessionTable::has(SessionId session) const {
  const std::lock_guard lock(mutex_);
  return sessions_.contains(session);
}

Result<SessionTable::Connections> SessionTable::remove(SessionId session) {
  const std::lock_guard lock(mutex_);
  const auto found = sessions_.find(session);
  if (found == sessions_.end()) return unknownSession(session);
  Connections connections;
  connections.session = std::move(found->second.connection);
  connections.data.assign(found->second.data.begin(), found->second.data.end());
  sessions_.erase(found);
  return connections;
}

bool SessionTable::addData(SessionId session, const std::shared_ptr<ConnectionRef>& ref) {
  const std::lock_guard lock(mutex_);
  const auto found = sessions_.find(session);
  if (found == sessions_.end()) return false;
  found->second.data.insert(ref);
  return true;
}

bool SessionTable::removeData(SessionId session, const std::shared_ptr<ConnectionRef>& ref) {
  const std::lock_guard lock(mutex_);
  const auto found = sessions_.find(session);
  return found != sessions_.end() && found->second.data.erase(ref) > 0 && found->second.alone();
}

Result<std::shared_ptr<SessionConnection>> SessionTable::connect(SessionId session,
                                                                 std::shared_ptr<SessionConnection> connection,
                                                                 const EventLoop& loop) {
  const std::lock_guard lock(mutex_);
  const auto found = sessions_.find(session);
  if (found == sessions_.end()) return unknownSession(session);
  found->second.everConnected = true;
  auto& clock = clockOf(loop);
  found->second.clock = &clock;
  // The age of its event loop is that of its last heartbeat, until the next one, which comes at once.
  found->second.heardAt = clock.look();
  return std::exchange(found->second.connection, std::move(connection));
}

bool SessionTable::disconnect(SessionId session, const SessionConnection* connection) {
  const std::lock_guard lock(mutex_);
  const auto found = sessions_.find(session);
  if (found == sessions_.end() || found->second.connection.get() != connection) return false;
  found->second.connection.reset();
  return found->second.alone();
}

void SessionTable::heard(SessionId session, const SessionConnection* connection, std::uint32_t loopAgeMs) {
  const std::lock_guard lock(mutex_);
  const auto found = sessions_.find(session);
  if (found == sessions_.end() || found->second.connection.get() != connection) return;
  // A heartbeat comes on the loop of its connection; what the loop was held up before it does not count.
  found->second.heardAt = found->second.clock->elapsed();
  found->second.loopAgeMs = loopAgeMs;
}

std::shared_ptr<SessionConnection> SessionTable::connectionOf(SessionId session) const {
  const std::lock_guard lock(mutex_);
  const auto found = sessions_.find(session);
  return found == sessions_.end() ? nullptr : found->second.connection;
}

std::vector<SessionState> SessionTable::states() const {
  const std::lock_guard lock(mutex_);
  std::vector<SessionState> states;
  states.reserve(sessions_.size());
  for (const auto& [id, session] : sessions_) {
    const auto silence =
        std::chrono::duration_cast<std::chrono::milliseconds>(session.clock->elapsed() - session.heardAt).count();
    SessionState state;
    state.session = id;
    state.connected = session.connection != nullptr;
    state.everConnected = session.everConnected;
    state.dataConnections = static_cast<std::uint32_t>(session.data.size());
    state.heardMsAgo = static_cast<std::uint64_t>(std::max<decltype(silence)>(silence, 0));
    state.loopAgeMs = static_cast<std::uint32_t>(
        std::min<std::uint64_t>(session.loopAgeMs + state.heardMsAgo, std::numeric_limits<std::uint32_t>::max()));
    states.push_back(state);
  }
  return states;
}

void SessionTable::tick(const EventLoop& loop) {
  const std::lock_guard lock(mutex_);
  (void)clockOf(loop).look();
}

std::chrono::milliseconds SessionTable::leaseTime() const {
  const std::lock_guard lock(mutex_);
  return std::chrono::duration_cast<std::chrono::milliseconds>(slowest().elapsed());
}

const LeaseClock& SessionTable::slowest() const {
  const LeaseClock* slowest = &unstarted_;
  for (const auto& [loop, clock] : clocks_) {
    if (slowest == &unstarted_ || clock.elapsed() < slowest->elapsed()) slowest = &clock;
  }
  return *slowest;
}

std::size_t SessionTable::size() const {
  const std::lock_guard lock(mutex_);
  return sessions_.size();
}

}  // namespace rdmacp::unit

// session_table.h -- the unit's sessions: when each was last heard, and which connections it has.
//
// Any thread; one mutex, taken after a region's and before none but the token table's. No call into a connection is made under it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include "connection_link.h"
#include "responder.h"

namespace rdmacp::unit {

class SessionConnection;

class SessionTable {
 public:
  // Everything that a session had, for whoever ends it.
  struct Connections {
    std::shared_ptr<SessionConnection> session;
    std::vector<std::shared_ptr<ConnectionLink>> data;
  };

  Status add(SessionId session);
  bool has(SessionId session) const;
  // notFound when there is no such session.
  Result<Connections> remove(SessionId session);

  // false when the session is not, or no longer, there.
  bool addData(SessionId session, const std::shared_ptr<ConnectionLink>& link);
  void removeData(SessionId session, const std::shared_ptr<ConnectionLink>& link);

  // Makes this the session's connection; the one it replaces, if any. notFound without such a session.
  Result<std::shared_ptr<SessionConnection>> connect(SessionId session, std::shared_ptr<SessionConnection> connection);
  void disconnect(SessionId session, const SessionConnection* connection);
  // A heartbeat came; only the session's own present connection counts.
  void heard(SessionId session, const SessionConnection* connection, std::uint32_t loopAgeMs);

  std::shared_ptr<SessionConnection> connectionOf(SessionId session) const;
  std::vector<SessionState> states() const;
  std::size_t size() const;

 private:
  struct Session {
    Clock::time_point heardAt = Clock::now();
    std::uint32_t loopAgeMs = 0;
    bool everConnected = false;
    std::shared_ptr<SessionConnection> connection;
    std::set<std::shared_ptr<ConnectionLink>> data;
  };

  mutable std::mutex mutex_;
  std::map<SessionId, Session> sessions_;
};

}  // namespace rdmacp::unit

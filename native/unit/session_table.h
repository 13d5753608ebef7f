// session_table.h -- the unit's sessions: when each was last heard, and which connections it has.
//
// Any thread; one mutex, taken after a region's and before none but the token table's. No call into a connection is made
// under it. Times are those of a LeaseClock of the event loop that hears the session, which a tick() of that loop every
// kLeaseTick keeps going; those of a session without a connection are those of the loop that had the last one.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include "fabric/event_loop.h"
#include "unit/connection_ref.h"
#include "unit/ids.h"
#include "unit/lease_clock.h"
#include "unit/session_state.h"

namespace rdmacp::unit {

class SessionConnection;

class SessionTable {
 public:
  // Everything that a session had, for whoever ends it.
  struct Connections {
    std::shared_ptr<SessionConnection> session;
    std::vector<std::shared_ptr<ConnectionRef>> data;
  };

  Status add(SessionId session);
  bool has(SessionId session) const;
  // notFound when there is no such session.
  Result<Connections> remove(SessionId session);

  // false when the session is not, or no longer, there.
  bool addData(SessionId session, const std::shared_ptr<ConnectionRef>& ref);
  // true when it was the last connection of any kind that the session had.
  bool removeData(SessionId session, const std::shared_ptr<ConnectionRef>& ref);

  // Makes this the session's connection; the one it replaces, if any. notFound without such a session.
  // On the loop of the connection.
  Result<std::shared_ptr<SessionConnection>> connect(SessionId session, std::shared_ptr<SessionConnection> connection,
                                                     const EventLoop& loop);
  // true as of removeData.
  bool disconnect(SessionId session, const SessionConnection* connection);
  // A heartbeat came; only the session's own present connection counts.
  void heard(SessionId session, const SessionConnection* connection, std::uint32_t loopAgeMs);

  std::shared_ptr<SessionConnection> connectionOf(SessionId session) const;
  std::vector<SessionState> states() const;
  std::size_t size() const;

  // On the loop.
  void tick(const EventLoop& loop);
  // On the clock that leases run on; where those of the loops differ, on the one that is most behind.
  std::chrono::milliseconds leaseTime() const;

 private:
  struct Session {
    const LeaseClock* clock = nullptr;
    LeaseClock::Clock::duration heardAt{};  // on that clock
    std::uint32_t loopAgeMs = 0;
    bool everConnected = false;
    std::shared_ptr<SessionConnection> connection;
    std::set<std::shared_ptr<ConnectionRef>> data;

    bool alone() const { return connection == nullptr && data.empty(); }
  };

  LeaseClock& clockOf(const EventLoop& loop) { return clocks_[&loop]; }
  const LeaseClock& slowest() const;

  mutable std::mutex mutex_;
  // By loop; made when the loop first ticks, and never removed.
  std::map<const EventLoop*, LeaseClock> clocks_;
  const LeaseClock unstarted_{};  // before the first tick
  std::map<SessionId, Session> sessions_;
};

}  // namespace rdmacp::unit

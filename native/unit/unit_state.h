// unit_state.h -- what the responder's connections share: options, tables, counters, the list of open connections.
//
// Any thread. Lock order of the whole unit, outermost first:
//   responder (listeners, stop) - region map - region - session table - token table - connection registry - fabric
// The mutex of a connection's ref comes after none of these but is held over calls into the fabric; a session connection, a ref or a
// flush job is never called while one of the tables' mutexes is held.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <list>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "unit/flush_queue.h"
#include "unit/region.h"
#include "unit/registrar.h"
#include "unit/responder_options.h"
#include "unit/session_table.h"
#include "unit/token_table.h"

namespace rdmacp::unit {

class UnitConnection;

// Every connection from the accept to its onClosed.
class ConnectionRegistry {
 public:
  // Where there are that many already, the one that has gone longest without its hello gives way: the caller aborts it, with no
  // lock held. Nobody gives way, and it is not added, when all have said hello.
  struct Entry {
    bool added = false;
    std::shared_ptr<UnitConnection> yielding;
  };
  Entry add(const std::shared_ptr<UnitConnection>& connection, std::size_t limit);
  // One that is to replace the connection of its session. Where there are that many already, one for each session does not
  // count until its hello, and nobody gives way.
  Entry addMoving(SessionId session, const std::shared_ptr<UnitConnection>& connection, std::size_t limit);
  // It has said hello.
  void prove(const std::shared_ptr<UnitConnection>& connection);
  void remove(const std::shared_ptr<UnitConnection>& connection, const fabric::ConnectionCounters& last);
  std::vector<std::shared_ptr<UnitConnection>> all() const;
  std::size_t size() const;
  // false when some are left at the end of the time.
  bool waitUntilEmpty(std::chrono::milliseconds atMost);
  // Payload of connections that have closed.
  fabric::ConnectionCounters past() const;

 private:
  Entry addCounted(const std::shared_ptr<UnitConnection>& connection, std::size_t limit);  // with the mutex
  bool full(std::size_t limit) const;                                                      // with the mutex
  void forgetMoving(const UnitConnection* connection);                                     // with the mutex

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::unordered_set<std::shared_ptr<UnitConnection>> connections_;
  std::list<std::shared_ptr<UnitConnection>> unproved_;  // the oldest first
  std::unordered_map<const UnitConnection*, std::list<std::shared_ptr<UnitConnection>>::iterator> places_;
  std::unordered_set<std::shared_ptr<UnitConnection>> leaving_;  // asked to give way, still in connections_
  std::unordered_map<SessionId, const UnitConnection*> moving_;  // not counted, and not in unproved_
  fabric::ConnectionCounters past_;
};

class RegionMap {
 public:
  bool add(RegionId id, std::shared_ptr<Region> region);
  std::shared_ptr<Region> find(RegionId id) const;
  std::shared_ptr<Region> remove(RegionId id);

 private:
  mutable std::mutex mutex_;
  std::unordered_map<RegionId, std::shared_ptr<Region>> regions_;
};

struct UnitCounters {
  std::atomic<std::uint64_t> accepted{0}, refused{0}, violated{0}, yielded{0}, unheard{0}, flushes{0}, flushesFailed{0},
      fences{0};
};

struct UnitState {
  UnitState(const ResponderOptions& given, std::shared_ptr<media::Medium> givenMedium)
      : options(given),
        medium(std::move(givenMedium)),
        tokens(given.tokensPerSession),
        flushes(medium, given.flushThreads) {}

  const ResponderOptions options;
  const std::shared_ptr<media::Medium> medium;
  RegionMap regions;
  SessionTable sessions;
  TokenTable tokens;
  TokenTable spares;  // of the welcomes: one for each session, as long as it lives
  ConnectionRegistry connections;
  UnitCounters counters;
  FlushQueue flushes;
  Registrar registrar;  // stopped before the loops are, which it posts to
  std::atomic<bool> stopping{false};

  void sessionAlone() const {
    if (options.onSessionAlone && !stopping) options.onSessionAlone();
  }
};

}  // namespace rdmacp::unit

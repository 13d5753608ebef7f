// session_connection.h -- the unit's end of a session connection: heartbeats in, echoes and notices out.
//
// Requests run on the connection's loop; tellFenced may be called by any thread.
#pragma once

#include <memory>

#include <cstdint>
#include <map>
#include <mutex>

#include "unit/unit_connection.h"

namespace rdmacp::unit {

class SessionConnection final : public UnitConnection {
 public:
  SessionConnection(std::shared_ptr<UnitState> unit, SessionId session)
      : UnitConnection(std::move(unit)), session_(session) {}

  void tellFenced(HandleId handle, std::uint64_t epoch);

 private:
  Status onHello(fabric::Connection& connection) override;
  Status onRequest(protocol::MessageType type, fabric::ConstBytes message) override;
  void onEnd() override;

  protocol::Token nextSpare();
  void sendFenced();  // with the mutex

  const SessionId session_;
  std::mutex fencedMutex_;                    // before that of what is sent
  std::map<HandleId, std::uint64_t> fenced_;  // not told yet: the epoch
  std::uint32_t toldSinceHeartbeat_ = 0;
};

}  // namespace rdmacp::unit

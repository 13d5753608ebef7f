// session_connection.h -- the unit's end of a session connection: heartbeats in, echoes and notices out.
//
// Requests run on the connection's loop; tellFenced may be called by any thread.
#pragma once

#include <memory>

#include "unit_connection.h"

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

  const SessionId session_;
};

}  // namespace rdmacp::unit

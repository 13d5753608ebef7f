// session_state.h -- what the unit knows of a session, at one moment.
#pragma once

#include <cstdint>

#include "unit/ids.h"

namespace rdmacp::unit {

struct SessionState {
  SessionId session = 0;
  bool connected = false;  // the session connection stands
  bool everConnected = false;
  std::uint32_t dataConnections = 0;
  std::uint64_t heardMsAgo = 0;  // since the last heartbeat, or since addSession; on the lease clock
  std::uint32_t loopAgeMs = 0;   // in the last heartbeat, plus the time since
};

}  // namespace rdmacp::unit

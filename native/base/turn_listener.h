// turn_listener.h -- something that is told that the process's event loop turns, and tells others how long ago it did.
#pragma once

namespace rdmacp {

class TurnListener {
 public:
  virtual ~TurnListener() = default;
  // Any thread: the event loop turned just now.
  virtual void touch() = 0;
};

}  // namespace rdmacp

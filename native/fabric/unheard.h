// unheard.h -- what an AcceptHandler may be besides, if it wants to know of those that a listener closed before it was asked:
// they sent nothing in time, or no connection request, or there was no room. iWARP only; a device keeps them to itself.
#pragma once

namespace rdmacp::fabric {

class UnheardListener {
 public:
  virtual ~UnheardListener() = default;
  // As onRequest of an AcceptHandler: on several loops at once.
  virtual void onUnheard() = 0;
};

}  // namespace rdmacp::fabric

// connection_ref.h -- the way from any thread to a fabric connection that may be gone, or not yet there.
//
// Any thread. Its mutex is held over calls into the fabric (post, fence, close, counters), whose own locks come after
// it; the fabric's calls to us are made without its locks, so none comes before it. A ref owns nothing: the fabric
// keeps a connection until onClosed has returned, and detach() in onClosed waits for calls that are under way.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "fabric/fabric.h"

namespace rdmacp::unit {

class ConnectionRef : public std::enable_shared_from_this<ConnectionRef> {
 public:
  // Loop thread, for a connection that is being set up: end() ends it from now on. false when end() came first.
  bool approach(fabric::Connection& connection);
  // Loop thread. false when end() came first: then nothing may be granted on the connection any more.
  bool attach(fabric::Connection& connection);
  // Loop thread, in onClosed.
  void detach();

  // Ends the connection for good and calls done, on any thread and without a lock held, once no byte of the peer can
  // land any more. Every call gets its done only then, whoever asked first.
  void end(std::function<void()> done);
  // Established, and neither closed nor asked to end.
  bool alive() const;

  Status post(const fabric::WorkRequest& request);
  // What was posted is sent, then the connection closes.
  void closeInOrder();
  fabric::ConnectionCounters counters() const;

 private:
  enum class State { unattached, attached, gone };

  void onEnded();

  mutable std::mutex mutex_;
  State state_ = State::unattached;
  bool endAsked_ = false;
  bool ended_ = false;
  fabric::Connection* connection_ = nullptr;    // also while it is being set up
  std::vector<std::function<void()>> waiting_;  // dones of end() calls
};

}  // namespace rdmacp::unit

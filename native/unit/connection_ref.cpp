// connection_ref.cpp -- calls into a connection from threads that do not own it.
#include "unit/connection_ref.h"

#include <utility>

namespace rdmacp::unit {
namespace {

// Tells a callback that came from within the call it was handed to from one that came later: the first must not run
// under the lock that the caller holds.
class InnerCall {
 public:
  // Called by the callback. false: the caller is still inside, and will do the work when it has left.
  bool mayRunNow() {
    const std::lock_guard lock(mutex_);
    if (!inside_) return true;
    fired_ = true;
    return false;
  }
  // Called by the caller on its way out. true: the callback came meanwhile, and its work is now the caller's.
  bool leave() {
    const std::lock_guard lock(mutex_);
    inside_ = false;
    return fired_;
  }

 private:
  std::mutex mutex_;
  bool inside_ = true;
  bool fired_ = false;
};

}  // namespace

bool ConnectionRef::approach(fabric::Connection& connection) {
  const std::lock_guard lock(mutex_);
  if (endAsked_) return false;
  connection_ = &connection;
  return true;
}

bool ConnectionRef::attach(fabric::Connection& connection) {
  const std::lock_guard lock(mutex_);
  if (endAsked_) return false;
  connection_ = &connection;
  state_ = State::attached;
  return true;
}

void ConnectionRef::detach() {
  const std::lock_guard lock(mutex_);
  connection_ = nullptr;
  state_ = State::gone;
}

void ConnectionRef::end(std::function<void()> done) {
  auto call = std::make_shared<InnerCall>();
  {
    std::unique_lock lock(mutex_);
    // Nothing was granted on a connection that is not established, and attach() refuses from now on.
    const bool nothingToEnd = ended_ || (!endAsked_ && state_ != State::attached);
    if (nothingToEnd) {
      endAsked_ = true;
      if (!std::exchange(ended_, true) && connection_ != nullptr) connection_->fence([] {});
      lock.unlock();
      done();
      return;
    }
    waiting_.push_back(std::move(done));
    if (std::exchange(endAsked_, true)) return;
    connection_->fence([self = shared_from_this(), call] {
      if (call->mayRunNow()) self->onEnded();
    });
  }
  if (call->leave()) onEnded();
}

void ConnectionRef::onEnded() {
  std::vector<std::function<void()>> waiting;
  {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    waiting.swap(waiting_);
  }
  for (const auto& done : waiting)
    done();
}

bool ConnectionRef::alive() const {
  const std::lock_guard lock(mutex_);
  return state_ == State::attached && !endAsked_;
}

Status ConnectionRef::post(const fabric::WorkRequest& request) {
  const std::lock_guard lock(mutex_);
  if (state_ != State::attached || endAsked_) return Error{ErrorCode::connectionClosed, "the connection has ended", 0};
  return connection_->post({&request, 1});
}

void ConnectionRef::closeInOrder() {
  const std::lock_guard lock(mutex_);
  if (connection_ != nullptr) connection_->close();
}

fabric::ConnectionCounters ConnectionRef::counters() const {
  const std::lock_guard lock(mutex_);
  return connection_ != nullptr ? connection_->counters() : fabric::ConnectionCounters{};
}

}  // namespace rdmacp::unit

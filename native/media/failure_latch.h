// failure_latch.h -- the first failure of a medium, kept for good and told once.
//
// Invariant: once keep() has been given an error, failure() is that error for ever: the kernel may have dropped what it
// could not write, calls its pages clean, and reports the error once. Any thread.
#pragma once

#include <functional>
#include <mutex>
#include <utility>

#include "base/result.h"

namespace rdmacp::media {

class FailureLatch {
 public:
  // ok, or the first failure.
  Status failure() const {
    const std::lock_guard lock(mutex_);
    return failure_;
  }

  // Called once, on the thread that finds the first failure, before anybody is answered; it must not block.
  void whenFailed(std::function<void()> call) {
    const std::lock_guard lock(mutex_);
    tell_ = std::move(call);
  }

  // Remembers an error as mediumFailed. What has succeeded after a failure is not trusted either.
  Status keep(const Status& status) {
    std::function<void()> tell;
    Status kept;
    {
      const std::lock_guard lock(mutex_);
      if (!status && failure_) {
        failure_ =
            Error{ErrorCode::mediumFailed,
                  status.error().message + "; nothing of this pool is made durable any more until it is reopened",
                  status.error().systemError};
        tell = std::exchange(tell_, nullptr);
      }
      kept = failure_;
    }
    if (tell) tell();
    return kept;
  }

 private:
  mutable std::mutex mutex_;
  Status failure_;
  std::function<void()> tell_;
};

}  // namespace rdmacp::media

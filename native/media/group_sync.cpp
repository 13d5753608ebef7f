// group_sync.cpp -- group commit; see group_sync.h.
#include "media/group_sync.h"

namespace rdmacp::media {

Status GroupSync::wait() {
  std::unique_lock lock(mutex_);
  // One that is running may have begun before the caller's writes ended, so only the next one counts.
  const auto needed = begun_ + 1;
  while (completed_ < needed) {
    if (!failure_) return failure_;
    if (running_) {
      ended_.wait(lock);
      continue;
    }
    running_ = true;
    const auto number = ++begun_;
    lock.unlock();
    auto status = sync_();
    lock.lock();
    running_ = false;
    if (status) {
      completed_ = number;
    } else {
      failure_ = std::move(status);
    }
    ended_.notify_all();
  }
  return {};
}

}  // namespace rdmacp::media

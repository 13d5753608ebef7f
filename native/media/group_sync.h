// group_sync.h -- one sync for all who wait for one (group commit).
//
// Any thread; the thread that finds no sync running runs the next one for everybody. Owns no descriptor: what a sync
// is, is given by the owner and must stay callable.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>

#include "base/result.h"

namespace rdmacp::media {

class GroupSync {
 public:
  explicit GroupSync(std::function<Status()> sync) : sync_(std::move(sync)) {}

  // Returns once a sync that began after this call has ended, with its result. After the first one that failed every
  // call fails with its error: the kernel may have dropped what it could not write, and reports it only once.
  Status wait();

 private:
  const std::function<Status()> sync_;
  std::mutex mutex_;
  std::condition_variable ended_;
  std::uint64_t begun_ = 0;      // syncs begun, and the number of the last one
  std::uint64_t completed_ = 0;  // number of the last one that succeeded
  bool running_ = false;
  Status failure_;
};

}  // namespace rdmacp::media

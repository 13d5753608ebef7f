// medium_watch.h -- a thread that looks at a medium now and then, whether or not anybody uses it.
//
// start and the destructor: the thread that owns it. The look runs on a thread of its own and may block.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "base/result.h"

namespace rdmacp::media {

class MediumWatch {
 public:
  MediumWatch() = default;
  ~MediumWatch();
  MediumWatch(const MediumWatch&) = delete;
  MediumWatch& operator=(const MediumWatch&) = delete;

  // Calls look again and again, with the time between calls, until it returns an error or the watch is destroyed.
  Status start(std::chrono::milliseconds between, std::function<Status()> look);

 private:
  void run(std::chrono::milliseconds between, const std::function<Status()>& look);

  std::mutex mutex_;
  std::condition_variable ended_;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace rdmacp::media

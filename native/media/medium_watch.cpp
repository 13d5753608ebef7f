// medium_watch.cpp -- see medium_watch.h.
#include "media/medium_watch.h"

#include <pthread.h>

#include <system_error>
#include <utility>

namespace rdmacp::media {

MediumWatch::~MediumWatch() {
  if (!thread_.joinable()) return;
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  ended_.notify_all();
  thread_.join();
}

Status MediumWatch::start(std::chrono::milliseconds between, std::function<Status()> look) {
  try {
    thread_ = std::thread([this, between, call = std::move(look)] { run(between, call); });
  } catch (const std::system_error& error) {
    return Error{ErrorCode::systemError,
                 std::string("could not start the thread that watches the pool: ") + error.what(),
                 error.code().value()};
  }
  ::pthread_setname_np(thread_.native_handle(), "rdmacp-watch");
  return {};
}

void MediumWatch::run(std::chrono::milliseconds between, const std::function<Status()>& look) {
  while (look()) {
    std::unique_lock lock(mutex_);
    if (ended_.wait_for(lock, between, [this] { return ending_; })) return;
  }
}

}  // namespace rdmacp::media

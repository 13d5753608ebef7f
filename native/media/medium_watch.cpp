// medium_watch.cpp -- see medium_watch.h.
#include "media/medium_watch.h"

#include <pthread.h>

#include <csignal>
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

// Started with every signal blocked: those of the process are for its JavaScript thread.
Status MediumWatch::start(std::chrono::milliseconds between, std::function<Status()> look) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  Status started;
  try {
    thread_ = std::thread([this, between, call = std::move(look)] { run(between, call); });
    ::pthread_setname_np(thread_.native_handle(), "rdmacp-watch");
  } catch (const std::system_error& error) {
    started =
        Error{ErrorCode::systemError, std::string("could not start the thread that watches the pool: ") + error.what(),
              error.code().value()};
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return started;
}

void MediumWatch::run(std::chrono::milliseconds between, const std::function<Status()>& look) {
  while (look()) {
    std::unique_lock lock(mutex_);
    if (ended_.wait_for(lock, between, [this] { return ending_; })) return;
  }
}

}  // namespace rdmacp::media

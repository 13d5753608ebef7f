// worker_threads.cpp -- see worker_threads.h.
#include "base/worker_threads.h"

#include <pthread.h>

#include <csignal>
#include <system_error>
#include <utility>

namespace rdmacp {

WorkerThreads::WorkerThreads(std::string name, std::uint32_t most) : name_(std::move(name)), most_(most) {}

WorkerThreads::~WorkerThreads() {
  stop();
}

bool WorkerThreads::post(Task task) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return false;
    if (waiting_.size() >= idle_ && threads_.size() < most_ && !startThread() && threads_.empty()) return false;
    waiting_.push_back(std::move(task));
  }
  arrived_.notify_one();
  return true;
}

// Started with every signal blocked: those of the process are for its JavaScript thread.
bool WorkerThreads::startThread() {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  bool started = true;
  try {
    threads_.emplace_back([this] {
      pthread_setname_np(pthread_self(), name_.c_str());
      run();
    });
  } catch (const std::system_error&) {
    started = false;
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return started;
}

void WorkerThreads::run() {
  for (;;) {
    Task task;
    {
      std::unique_lock lock(mutex_);
      ++idle_;
      arrived_.wait(lock, [&] { return stopping_ || !waiting_.empty(); });
      --idle_;
      if (stopping_) return;
      task = std::move(waiting_.front());
      waiting_.pop_front();
    }
    task();
  }
}

void WorkerThreads::stop() {
  std::deque<Task> dropped;
  std::vector<std::thread> threads;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    dropped.swap(waiting_);
    threads.swap(threads_);
  }
  arrived_.notify_all();
  for (auto& thread : threads)
    thread.join();
}

}  // namespace rdmacp

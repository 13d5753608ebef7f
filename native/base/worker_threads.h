// worker_threads.h -- a few threads for calls that block, apart from every other kind of work.
//
// post: any thread. Threads are started when there is work and none of them is idle, up to the number given. Owns them.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace rdmacp {

class WorkerThreads {
 public:
  using Task = std::function<void()>;

  // name: of the threads, 15 bytes at most.
  WorkerThreads(std::string name, std::uint32_t most);
  ~WorkerThreads();
  WorkerThreads(const WorkerThreads&) = delete;
  WorkerThreads& operator=(const WorkerThreads&) = delete;

  // false once stopped, or when not even one thread could be started: the task is not taken.
  bool post(Task task);
  // Ends what is under way, destroys what waits without running it, joins. Not from one of its threads. Idempotent.
  void stop();

 private:
  bool startThread();  // with the mutex
  void run();

  const std::string name_;
  const std::uint32_t most_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<Task> waiting_;
  std::size_t idle_ = 0;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace rdmacp

// event_loop.h -- one thread around epoll: every fabric's sockets, channels, timers and cross-thread tasks run here.
//
// Threads: add/modify/remove and cancel are for the loop's own thread; post, after, onThread and stop for any.
// A connection belongs to one loop for its whole life, so what runs there needs no lock against itself.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"

namespace rdmacp {

using Clock = std::chrono::steady_clock;

class FdHandler {
 public:
  virtual ~FdHandler() = default;
  // events: EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP. The handler may remove itself and be destroyed in the call;
  // a handler that was removed is not called again, also not for events already fetched in the same turn.
  virtual void onReady(std::uint32_t events) = 0;
};

class EventLoop {
 public:
  using Task = std::function<void()>;
  using TimerId = std::uint64_t;  // 0 is never handed out

  // name: at most 15 characters, shown by top -H.
  static Result<std::unique_ptr<EventLoop>> start(const std::string& name);
  // Stops and joins. Never from the loop's own thread.
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  bool onThread() const;

  // Runs task on the loop, in the order of posting. false once the loop has stopped: the task will not run.
  bool post(Task task);

  // Runs task once on the loop, no earlier than after the delay.
  TimerId after(std::chrono::milliseconds delay, Task task);
  void cancel(TimerId timer);  // loop thread; unknown ids are ignored

  Status add(int fd, std::uint32_t events, FdHandler* handler);
  Status modify(int fd, std::uint32_t events, FdHandler* handler);
  void remove(int fd);

  // Runs what was posted before, then ends the thread and joins it. Idempotent. Not from the loop's own thread.
  void stop();

 private:
  struct Impl;
  explicit EventLoop(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace rdmacp

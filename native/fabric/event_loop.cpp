// event_loop.cpp -- the thread around epoll. It owns the epoll and event descriptors, the task queue and the timers.
// Everything but post, after and stop runs on the loop's own thread.
#include "fabric/event_loop.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <map>
#include <mutex>
#include <system_error>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/file_descriptor.h"

namespace rdmacp {

namespace {

constexpr std::size_t kEventsPerTurn = 64;
constexpr std::size_t kMaxThreadName = 15;  // pthread_setname_np, without the final zero

Error systemFailure(const std::string& what, int number) {
  return Error{ErrorCode::systemError, what + ": " + std::generic_category().message(number), number};
}

}  // namespace

struct EventLoop::Impl {
  struct Registration {
    FdHandler* handler = nullptr;
    std::uint32_t life = 0;  // tells a stale event from one of the descriptor's next life
  };
  struct Timer {
    TimerId id;
    Task task;
  };

  FileDescriptor epoll;
  FileDescriptor wakeup;
  std::thread thread;

  std::mutex mutex;  // guards what follows, up to the blank line
  std::vector<Task> tasks;
  std::multimap<Clock::time_point, Timer> timers;
  std::unordered_map<TimerId, Clock::time_point> timerTimes;
  TimerId lastTimer = 0;
  Clock::time_point wakesAt = Clock::time_point::max();  // when epoll_wait returns by itself
  bool accepting = true;

  std::mutex joining;
  std::vector<Registration> registrations;  // by descriptor; loop thread
  std::uint32_t lastLife = 0;

  static thread_local Impl* current;

  void wake() {
    const std::uint64_t one = 1;
    // The counter can only be full when the loop has not read it yet: then it is awake already.
    [[maybe_unused]] const ssize_t written = ::write(wakeup.get(), &one, sizeof one);
  }

  int waitMilliseconds() {
    const std::lock_guard lock(mutex);
    if (!tasks.empty() || !accepting) return wakesAt = Clock::time_point::min(), 0;
    if (timers.empty()) return wakesAt = Clock::time_point::max(), -1;
    wakesAt = timers.begin()->first;
    const auto now = Clock::now();
    if (wakesAt <= now) return 0;
    // Rounded up, so that a timer is never early and the loop does not turn in vain.
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(wakesAt - now).count();
    return static_cast<int>(std::min<std::int64_t>(left, 60'000));
  }

  void runTasks() {
    std::vector<Task> batch;
    {
      const std::lock_guard lock(mutex);
      batch.swap(tasks);
    }
    for (Task& task : batch) {
      task();
      task = nullptr;
    }
  }

  void runTimers() {
    const auto now = Clock::now();
    for (;;) {
      Task task;
      {
        const std::lock_guard lock(mutex);
        if (timers.empty() || timers.begin()->first > now) return;
        task = std::move(timers.begin()->second.task);
        timerTimes.erase(timers.begin()->second.id);
        timers.erase(timers.begin());
      }
      task();
    }
  }

  void dispatch(const epoll_event& event) {
    const auto fd = static_cast<std::uint32_t>(event.data.u64);
    const auto life = static_cast<std::uint32_t>(event.data.u64 >> 32);
    if (fd == static_cast<std::uint32_t>(wakeup.get())) {
      std::uint64_t count;
      [[maybe_unused]] const ssize_t got = ::read(wakeup.get(), &count, sizeof count);
      return;
    }
    if (fd >= registrations.size()) return;
    const Registration& registration = registrations[fd];
    if (registration.handler != nullptr && registration.life == life) {
      registration.handler->onReady(event.events);
    }
  }

  void run() {
    current = this;
    std::array<epoll_event, kEventsPerTurn> events;
    for (;;) {
      const int count = ::epoll_wait(epoll.get(), events.data(), static_cast<int>(events.size()), waitMilliseconds());
      for (int i = 0; i < count; ++i)
        dispatch(events[static_cast<std::size_t>(i)]);
      runTimers();
      runTasks();
      const std::lock_guard lock(mutex);
      if (!accepting && tasks.empty()) break;
    }
    dropTimers();
    current = nullptr;
  }

  // What timers hold is let go on the loop's thread, outside of the lock: a destructor may call cancel.
  void dropTimers() {
    std::multimap<Clock::time_point, Timer> dropped;
    const std::lock_guard lock(mutex);
    dropped.swap(timers);
    timerTimes.clear();
  }

  Status control(int operation, int fd, std::uint32_t events, FdHandler* handler) {
    const auto index = static_cast<std::size_t>(fd);
    if (fd < 0 || handler == nullptr) return Error{ErrorCode::invalidArgument, "a descriptor and a handler are needed"};
    if (index >= registrations.size()) registrations.resize(index + 1);
    const std::uint32_t life = operation == EPOLL_CTL_ADD ? ++lastLife : registrations[index].life;
    epoll_event event{};
    event.events = events;
    event.data.u64 = (static_cast<std::uint64_t>(life) << 32) | static_cast<std::uint32_t>(fd);
    if (::epoll_ctl(epoll.get(), operation, fd, &event) != 0) return systemFailure("epoll_ctl", errno);
    registrations[index] = {handler, life};
    return {};
  }
};

thread_local EventLoop::Impl* EventLoop::Impl::current = nullptr;

EventLoop::EventLoop(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

EventLoop::~EventLoop() {
  stop();
}

Result<std::unique_ptr<EventLoop>> EventLoop::start(const std::string& name) {
  auto impl = std::make_unique<Impl>();
  impl->epoll.reset(::epoll_create1(EPOLL_CLOEXEC));
  if (!impl->epoll) return systemFailure("epoll_create1", errno);
  impl->wakeup.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!impl->wakeup) return systemFailure("eventfd", errno);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = static_cast<std::uint32_t>(impl->wakeup.get());
  if (::epoll_ctl(impl->epoll.get(), EPOLL_CTL_ADD, impl->wakeup.get(), &event) != 0) {
    return systemFailure("epoll_ctl", errno);
  }

  // The process's signals belong to its own threads.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int failure = 0;
  try {
    impl->thread = std::thread([state = impl.get()] { state->run(); });
  } catch (const std::system_error& error) {
    failure = error.code().value();
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (failure != 0) return systemFailure("starting the thread of event loop " + name, failure);
  pthread_setname_np(impl->thread.native_handle(), name.substr(0, kMaxThreadName).c_str());
  return std::unique_ptr<EventLoop>(new EventLoop(std::move(impl)));
}

bool EventLoop::onThread() const {
  return Impl::current == impl_.get();
}

bool EventLoop::post(Task task) {
  bool first = false;
  {
    const std::lock_guard lock(impl_->mutex);
    if (!impl_->accepting) return false;
    first = impl_->tasks.empty();
    impl_->tasks.push_back(std::move(task));
  }
  // On the loop's own thread the queue is looked at before the next wait.
  if (first && !onThread()) impl_->wake();
  return true;
}

EventLoop::TimerId EventLoop::after(std::chrono::milliseconds delay, Task task) {
  const auto time = Clock::now() + std::max(delay, std::chrono::milliseconds{0});
  bool sooner = false;
  TimerId id = 0;
  {
    const std::lock_guard lock(impl_->mutex);
    id = ++impl_->lastTimer;
    if (!impl_->accepting) return id;
    impl_->timers.emplace(time, Impl::Timer{id, std::move(task)});
    impl_->timerTimes.emplace(id, time);
    sooner = time < impl_->wakesAt;
  }
  if (sooner && !onThread()) impl_->wake();
  return id;
}

void EventLoop::cancel(TimerId timer) {
  Task dropped;  // destroyed after the lock is given back: what it holds may cancel another timer
  const std::lock_guard lock(impl_->mutex);
  const auto found = impl_->timerTimes.find(timer);
  if (found == impl_->timerTimes.end()) return;
  const auto range = impl_->timers.equal_range(found->second);
  for (auto it = range.first; it != range.second; ++it) {
    if (it->second.id == timer) {
      dropped = std::move(it->second.task);
      impl_->timers.erase(it);
      break;
    }
  }
  impl_->timerTimes.erase(found);
}

Status EventLoop::add(int fd, std::uint32_t events, FdHandler* handler) {
  return impl_->control(EPOLL_CTL_ADD, fd, events, handler);
}

Status EventLoop::modify(int fd, std::uint32_t events, FdHandler* handler) {
  return impl_->control(EPOLL_CTL_MOD, fd, events, handler);
}

void EventLoop::remove(int fd) {
  const auto index = static_cast<std::size_t>(fd);
  if (fd < 0 || index >= impl_->registrations.size()) return;
  impl_->registrations[index].handler = nullptr;
  ::epoll_ctl(impl_->epoll.get(), EPOLL_CTL_DEL, fd, nullptr);
}

void EventLoop::stop() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->accepting = false;
  }
  impl_->wake();
  const std::lock_guard lock(impl_->joining);
  if (impl_->thread.joinable()) impl_->thread.join();
}

}  // namespace rdmacp

// event_loop_test.cpp -- tasks in order, timers not early, handlers not called after their removal, an orderly stop.
#include "fabric/event_loop.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <atomic>
#include <future>
#include <thread>
#include <vector>

#include "base/file_descriptor.h"
#include "check.h"

namespace {

using namespace rdmacp;
using namespace std::chrono_literals;

std::unique_ptr<EventLoop> started() {
  auto loop = EventLoop::start("loop under test");
  CHECK(loop.ok());
  return std::move(loop).value();
}

void runOn(EventLoop& loop, const std::function<void()>& work) {
  std::promise<void> done;
  CHECK(loop.post([&] {
    work();
    done.set_value();
  }));
  done.get_future().wait();
}

TEST(tasks_run_in_the_order_of_posting_on_the_loops_thread) {
  auto loop = started();
  CHECK(!loop->onThread());
  std::vector<int> order;
  bool onThread = true;
  for (int i = 0; i < 1000; ++i) {
    CHECK(loop->post([&, i] {
      order.push_back(i);
      onThread = onThread && loop->onThread();
    }));
  }
  loop->stop();
  CHECK_EQ(order.size(), 1000U);
  for (int i = 0; i < 1000; ++i)
    CHECK_EQ(order[static_cast<std::size_t>(i)], i);
  CHECK(onThread);
}

TEST(what_was_posted_before_stop_runs_and_nothing_after_it) {
  auto loop = started();
  std::atomic<int> ran{0};
  std::atomic<bool> refused{false};
  CHECK(loop->post([&] {
    std::this_thread::sleep_for(20ms);
    ++ran;
  }));
  CHECK(loop->post([&] { ++ran; }));
  loop->stop();
  CHECK_EQ(ran.load(), 2);
  refused = !loop->post([&] { ++ran; });
  CHECK(refused);
  loop->stop();
  CHECK_EQ(ran.load(), 2);
}

TEST(several_threads_post_and_every_task_runs) {
  auto loop = started();
  int count = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 2000; ++i)
        loop->post([&] { ++count; });
    });
  }
  for (auto& thread : threads)
    thread.join();
  loop->stop();
  CHECK_EQ(count, 8000);
}

TEST(timers_are_never_early_and_come_in_the_order_of_their_times) {
  auto loop = started();
  std::vector<int> order;
  std::promise<void> last;
  bool early = false;
  const auto begin = Clock::now();
  for (int delay : {30, 10, 20, 0}) {
    loop->after(std::chrono::milliseconds(delay), [&, delay] {
      order.push_back(delay);
      if (Clock::now() - begin < std::chrono::milliseconds(delay)) early = true;
      if (delay == 30) last.set_value();
    });
  }
  CHECK(last.get_future().wait_for(10s) == std::future_status::ready);
  loop->stop();
  CHECK(!early);
  CHECK((order == std::vector<int>{0, 10, 20, 30}));
}

TEST(a_cancelled_timer_does_not_run) {
  auto loop = started();
  std::atomic<int> ran{0};
  runOn(*loop, [&] {
    const auto first = loop->after(10ms, [&] { ++ran; });
    const auto second = loop->after(10ms, [&] { ran += 10; });
    CHECK(first != 0 && second != 0 && first != second);
    loop->cancel(first);
    loop->cancel(first);
    loop->cancel(987654321);
  });
  std::this_thread::sleep_for(100ms);
  loop->stop();
  CHECK_EQ(ran.load(), 10);
}

TEST(what_a_pending_timer_holds_is_let_go_when_the_loop_ends) {
  auto loop = started();
  auto held = std::make_shared<int>(1);
  loop->after(1h, [held] {});
  loop->stop();
  CHECK_EQ(held.use_count(), 1);
}

struct Handler final : FdHandler {
  std::function<void(std::uint32_t)> ready;
  void onReady(std::uint32_t events) override { ready(events); }
};

TEST(a_removed_handler_is_not_called_even_for_events_of_the_same_turn) {
  auto loop = started();
  FileDescriptor one(::eventfd(0, EFD_NONBLOCK));
  FileDescriptor other(::eventfd(0, EFD_NONBLOCK));
  Handler handlers[2];
  int calls = 0;
  std::promise<void> called;
  const int fds[] = {one.get(), other.get()};
  for (int i = 0; i < 2; ++i) {
    handlers[i].ready = [&](std::uint32_t) {
      // Whichever comes first removes both.
      if (++calls == 1) called.set_value();
      loop->remove(fds[0]);
      loop->remove(fds[1]);
    };
  }
  runOn(*loop, [&] {
    for (int i = 0; i < 2; ++i) {
      CHECK(loop->add(fds[i], EPOLLIN, &handlers[i]).ok());
      CHECK(::eventfd_write(fds[i], 1) == 0);
    }
  });
  CHECK(called.get_future().wait_for(10s) == std::future_status::ready);
  runOn(*loop, [] {});
  CHECK_EQ(calls, 1);
}

TEST(an_event_of_a_descriptors_earlier_life_does_not_reach_its_next_handler) {
  auto loop = started();
  FileDescriptor one(::eventfd(0, EFD_NONBLOCK));
  FileDescriptor other(::eventfd(0, EFD_NONBLOCK));
  Handler first;
  Handler fresh;
  int freshCalls = 0;
  int firstCalls = 0;
  fresh.ready = [&](std::uint32_t) { ++freshCalls; };
  const auto exchange = [&](int mine, int theirs) {
    return [&loop, &fresh, &firstCalls, mine, theirs](std::uint32_t) {
      if (++firstCalls > 1) return;
      std::uint64_t value = 0;
      CHECK(::eventfd_read(theirs, &value) == 0);
      loop->remove(mine);
      loop->remove(theirs);
      CHECK(loop->add(theirs, EPOLLIN, &fresh).ok());  // not readable any more
    };
  };
  Handler second;
  first.ready = exchange(one.get(), other.get());
  second.ready = exchange(other.get(), one.get());
  runOn(*loop, [&] {
    CHECK(loop->add(one.get(), EPOLLIN, &first).ok());
    CHECK(loop->add(other.get(), EPOLLIN, &second).ok());
    CHECK(::eventfd_write(one.get(), 1) == 0);
    CHECK(::eventfd_write(other.get(), 1) == 0);
  });
  for (int i = 0; i < 3; ++i)
    runOn(*loop, [] {});
  loop->stop();
  CHECK_EQ(firstCalls, 1);
  CHECK_EQ(freshCalls, 0);
}

TEST(starting_and_stopping_leaves_no_descriptor_behind) {
  const auto next = [] { return FileDescriptor(::eventfd(0, 0)).get(); };
  const int before = next();
  for (int i = 0; i < 50; ++i)
    started()->stop();
  CHECK_EQ(next(), before);
}

}  // namespace

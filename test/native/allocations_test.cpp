// allocations_test.cpp -- which allocation memory lies in, asked while others end.
#include "binding/allocations.h"

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <future>
#include <iostream>
#include <span>
#include <thread>

#include "check.h"

using namespace rdmacp;
using namespace rdmacp::binding;

TEST(memory_is_found_in_the_allocation_that_holds_all_of_it) {
  Allocations allocations;
  const auto made = allocations.make(4096, true);
  CHECK(made.ok());
  const std::span<std::byte> memory = made.value()->memory();
  CHECK(allocations.find(memory) == made.value());
  CHECK(allocations.find(memory.subspan(100, 10)) == made.value());
  CHECK(allocations.find({memory.data(), memory.size() + 1}) == nullptr);
  CHECK(allocations.find({memory.data() - 1, 2}) == nullptr);
}

// Whoever looks may find what has no other owner any more, and end it: not while it holds what that takes.
TEST(the_end_of_an_allocation_that_was_looked_at_holds_up_nobody) {
  Allocations allocations;
  std::atomic<const std::byte*> last{nullptr};
  std::atomic<std::uint64_t> looks{0};
  std::atomic<bool> done{false};
  std::promise<void> ended;
  std::thread watch([&, end = ended.get_future()] {
    if (end.wait_for(std::chrono::seconds(60)) == std::future_status::ready) return;
    std::cerr << "two threads wait for each other, or one for itself\n";
    std::abort();
  });
  std::thread looker([&] {
    // Begins in the allocation and is longer than it, so that what is found is not wanted.
    for (; !done; ++looks)
      (void)allocations.find({last.load(), std::size_t{1} << 40});
  });
  for (std::uint64_t round = 0; round < check::rounds(1'000'000, 50'000); ++round) {
    const auto made = allocations.make(4096, false);
    CHECK(made.ok());
    last = made.value()->memory().data();
    // Ends while it is looked at, if the other thread is running.
    const std::uint64_t before = looks;
    for (int turn = 0; turn < 500 && looks == before; ++turn) {
    }
  }
  done = true;
  looker.join();
  ended.set_value();
  watch.join();
}

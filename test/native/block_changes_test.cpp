// block_changes_test.cpp -- the runs are exactly the blocks that differ, and applied to the base they give the state.
#include "base/block_changes.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "check.h"

namespace {

using namespace rdmacp;
using Bytes = std::vector<std::byte>;

std::size_t below(std::size_t limit) {
  return static_cast<std::size_t>(check::random()() % limit);
}

// At a heap block of exactly that size, so that AddressSanitizer sees a byte too far.
Bytes randomBytes(std::size_t length) {
  Bytes bytes(length);
  for (auto& byte : bytes)
    byte = static_cast<std::byte>(check::random()() & 0xffU);
  bytes.shrink_to_fit();
  return bytes;
}

struct Run {
  std::size_t offset;
  std::size_t length;
};

std::uint64_t littleEndian(const std::byte* bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < 8; ++i)
    value |= std::to_integer<std::uint64_t>(bytes[i]) << (8 * i);
  return value;
}

std::vector<Run> apply(const Bytes& runs, Bytes& target) {
  std::vector<Run> found;
  for (std::size_t at = 0; at < runs.size();) {
    const Run run{littleEndian(runs.data() + at), littleEndian(runs.data() + at + 8)};
    at += kRunHeaderBytes;
    CHECK(run.offset + run.length <= target.size());
    std::copy_n(runs.begin() + static_cast<std::ptrdiff_t>(at), run.length,
                target.begin() + static_cast<std::ptrdiff_t>(run.offset));
    at += run.length;
    found.push_back(run);
  }
  return found;
}

TEST(the_runs_are_the_blocks_that_differ_and_give_the_state) {
  for (std::uint64_t round = 0; round < check::rounds(20000, 1000); ++round) {
    const std::size_t block = 1 + below(300);
    const Bytes before = randomBytes(below(5000));
    Bytes state = before;
    const std::size_t size = below(2) == 0 ? before.size() : below(5000);
    state.resize(size, std::byte{7});
    state.shrink_to_fit();
    for (std::size_t edits = below(8); edits > 0 && size > 0; --edits)
      state[below(size)] = static_cast<std::byte>(below(256));
    Bytes base = before;
    Bytes runs;
    CHECK(takeChanges(base, state, block, SIZE_MAX, runs));

    Bytes restored = before;
    restored.resize(size);
    const auto found = apply(runs, restored);
    CHECK(restored == state);
    const std::size_t common = std::min(base.size(), state.size());
    CHECK(std::equal(base.begin(), base.begin() + static_cast<std::ptrdiff_t>(common), state.begin()));

    std::vector<bool> covered(size);
    std::size_t end = 0;
    for (const Run& run : found) {
      CHECK(run.length > 0);
      CHECK(run.offset > end || (end == 0 && run.offset == 0));  // ascending, and neighbours are one run
      end = run.offset + run.length;
      std::fill_n(covered.begin() + static_cast<std::ptrdiff_t>(run.offset), run.length, true);
    }
    for (std::size_t from = 0; from < size; from += block) {
      const std::size_t to = std::min(size, from + block);
      const bool differs = to > before.size() || std::memcmp(before.data() + from, state.data() + from, to - from) != 0;
      for (std::size_t at = from; at < to; ++at)
        CHECK_EQ(covered[at], differs);
    }
  }
}

TEST(more_than_was_allowed_is_refused_and_never_written) {
  for (std::uint64_t round = 0; round < check::rounds(5000, 500); ++round) {
    const Bytes before = randomBytes(1 + below(2000));
    Bytes state = before;
    for (std::size_t edits = below(20); edits > 0; --edits)
      state[below(state.size())] ^= std::byte{1};
    const std::size_t block = 1 + below(100);
    Bytes base = before;
    Bytes whole;
    CHECK(takeChanges(base, state, block, SIZE_MAX, whole));
    const std::size_t most = below(whole.size() + 20);
    Bytes again = before;
    Bytes runs;
    CHECK_EQ(takeChanges(again, state, block, most, runs), whole.size() <= most);
    CHECK(runs.size() <= most);
  }
}

TEST(nothing_changed_is_no_run) {
  Bytes base = randomBytes(100000);
  const Bytes state = base;
  Bytes runs;
  CHECK(takeChanges(base, state, 512, 0, runs));
  CHECK(runs.empty());
  CHECK(takeChanges({}, {}, 512, 0, runs));
}

}  // namespace

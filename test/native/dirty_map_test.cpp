// dirty_map_test.cpp -- which pieces of a memory are marked, and that no mark is lost between who places and who clears.
#include <atomic>
#include <set>
#include <thread>
#include <vector>

#include "base/dirty_map.h"
#include "check.h"

using namespace rdmacp;

namespace {

constexpr std::uint64_t kPiece = DirtyMap::kPieceBytes;

}  // namespace

TEST(a_mark_covers_the_pieces_that_it_touches) {
  DirtyMap map(200 * kPiece + 10);
  CHECK(map.take(0).empty());
  map.mark(0, 0);
  CHECK(map.take(0).empty());
  map.mark(kPiece - 1, 2);
  map.mark(63 * kPiece, 66 * kPiece);  // over a word and a half
  map.mark(200 * kPiece + 9, 1);
  const auto runs = map.take(0);
  CHECK_EQ(runs.size(), 3u);
  CHECK_EQ(runs[0].offset, 0u);
  CHECK_EQ(runs[0].length, 2 * kPiece);
  CHECK_EQ(runs[1].offset, 63 * kPiece);
  CHECK_EQ(runs[1].length, 66 * kPiece);
  CHECK_EQ(runs[2].offset, 200 * kPiece);
  CHECK_EQ(runs[2].length, 10u);
  CHECK(map.take(0).empty());
}

TEST(a_clear_takes_only_pieces_that_it_covers_whole) {
  DirtyMap map(10 * kPiece + 10);
  map.mark(0, 10 * kPiece + 10);
  map.clear(kPiece + 1, 2 * kPiece);  // all of piece 2, and parts of its neighbours
  map.clear(9 * kPiece, kPiece + 10);
  const auto runs = map.take(0);
  CHECK_EQ(runs.size(), 2u);
  CHECK_EQ(runs[0].length, 2 * kPiece);
  CHECK_EQ(runs[1].offset, 3 * kPiece);
  CHECK_EQ(runs[1].length, 6 * kPiece);
}

TEST(runs_that_lie_close_are_joined) {
  DirtyMap map(100 * kPiece);
  map.mark(0, 1);
  map.mark(3 * kPiece, 1);
  map.mark(50 * kPiece, 1);
  const auto runs = map.take(3 * kPiece);
  CHECK_EQ(runs.size(), 2u);
  CHECK_EQ(runs[0].length, 4 * kPiece);
  CHECK_EQ(runs[1].offset, 50 * kPiece);
  map.mark(0, 1);
  map.mark(3 * kPiece, 1);
  CHECK_EQ(map.take(2 * kPiece).size(), 2u);
}

TEST(what_is_placed_unseen_marks_everything_until_it_is_taken) {
  DirtyMap map(100 * kPiece + 1);
  map.markUnseen();
  map.clear(0, 100 * kPiece + 1);
  const auto runs = map.take(0);
  CHECK_EQ(runs.size(), 1u);
  CHECK_EQ(runs[0].length, 100 * kPiece + 1);
  CHECK(map.take(0).empty());
}

TEST(marks_and_clears_agree_with_a_model) {
  auto& random = check::random();
  constexpr std::uint64_t kPieces = 150;
  DirtyMap map(kPieces * kPiece);
  std::set<std::uint64_t> model;
  for (std::uint64_t round = 0; round < check::rounds(20000, 4000); ++round) {
    const auto offset = random() % (kPieces * kPiece);
    const auto length = random() % (kPieces * kPiece - offset) + 1;
    if (random() % 2 == 0) {
      map.mark(offset, length);
      for (auto piece = offset / kPiece; piece * kPiece < offset + length; ++piece)
        model.insert(piece);
    } else {
      map.clear(offset, length);
      for (std::uint64_t piece = 0; piece < kPieces; ++piece)
        if (piece * kPiece >= offset && (piece + 1) * kPiece <= offset + length) model.erase(piece);
    }
    if (random() % 8 != 0) continue;
    std::set<std::uint64_t> taken;
    for (const auto& run : map.take(0))
      for (auto piece = run.offset / kPiece; piece * kPiece < run.offset + run.length; ++piece)
        taken.insert(piece);
    CHECK(taken == model);
    model.clear();
  }
}

// Two place numbers into slots of their own and mark; two clear and copy. In the end, what is not marked has been copied as
// it is. Relaxed on purpose: the map alone orders placing and copying.
TEST(no_mark_is_lost_between_who_places_and_who_clears) {
  constexpr std::size_t kPieces = 128;
  constexpr int kPlacers = 2;
  for (std::uint64_t round = 0; round < check::rounds(200, 20); ++round) {
    DirtyMap map(kPieces * kPiece);
    std::vector<std::atomic<std::uint32_t>> memory(kPieces * kPlacers);
    std::vector<std::atomic<std::uint32_t>> copy(kPieces * kPlacers);
    std::atomic<bool> over{false};
    std::vector<std::thread> placers;
    for (int placer = 0; placer < kPlacers; ++placer) {
      placers.emplace_back([&, placer, seed = check::random()()] {
        std::mt19937_64 random(seed);
        for (std::uint32_t value = 1; value <= 20000; ++value) {
          const auto piece = random() % kPieces;
          memory[piece * kPlacers + static_cast<std::size_t>(placer)].store(value, std::memory_order_relaxed);
          map.mark(piece * kPiece, 1);
        }
      });
    }
    // One who clears a piece is the only one who copies it: pieces are shared out between the two.
    std::vector<std::thread> flushers;
    for (std::size_t flusher = 0; flusher < 2; ++flusher) {
      flushers.emplace_back([&, flusher] {
        while (!over) {
          for (std::size_t piece = flusher; piece < kPieces; piece += 2) {
            map.clear(piece * kPiece, kPiece);
            for (std::size_t at = piece * kPlacers; at < (piece + 1) * kPlacers; ++at)
              copy[at].store(memory[at].load(std::memory_order_relaxed), std::memory_order_relaxed);
          }
        }
      });
    }
    for (auto& placer : placers)
      placer.join();
    over = true;
    for (auto& flusher : flushers)
      flusher.join();
    std::set<std::size_t> marked;
    for (const auto& run : map.take(0))
      for (auto piece = run.offset / kPiece; piece * kPiece < run.offset + run.length; ++piece)
        marked.insert(piece);
    for (std::size_t at = 0; at < memory.size(); ++at) {
      if (!marked.contains(at / kPlacers)) CHECK_EQ(copy[at].load(), memory[at].load());
    }
  }
}

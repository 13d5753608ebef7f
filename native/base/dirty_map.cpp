// dirty_map.cpp -- a bit a piece. Any thread; see dirty_map.h for why every change is one atomic step.
#include "base/dirty_map.h"

#include <algorithm>
#include <bit>

namespace rdmacp {
namespace {

constexpr std::uint64_t kBits = 64;

constexpr std::uint64_t roundUp(std::uint64_t value, std::uint64_t unit) {
  return value / unit + (value % unit == 0 ? 0 : 1);
}

}  // namespace

DirtyMap::DirtyMap(std::uint64_t bytes)
    : bytes_(bytes),
      words_(roundUp(roundUp(bytes, kPieceBytes), kBits)),
      marks_(std::make_unique<std::atomic<std::uint64_t>[]>(words_)) {}

// Pieces from first until before end: their words, each with the bits that are meant.
template <class Change>
void DirtyMap::forWords(std::uint64_t first, std::uint64_t end, Change change) {
  while (first < end) {
    const auto word = first / kBits;
    const auto stop = std::min(end, (word + 1) * kBits);
    const auto count = stop - first;
    const auto bits = (count == kBits ? ~std::uint64_t{0} : (std::uint64_t{1} << count) - 1) << (first % kBits);
    change(marks_[word], bits);
    first = stop;
  }
}

void DirtyMap::mark(std::uint64_t offset, std::uint64_t length) {
  if (length == 0) return;
  forWords(
      offset / kPieceBytes, roundUp(offset + length, kPieceBytes),
      [](std::atomic<std::uint64_t>& word, std::uint64_t bits) { word.fetch_or(bits, std::memory_order_acq_rel); });
}

void DirtyMap::clear(std::uint64_t offset, std::uint64_t length) {
  const auto end = offset + length;
  // The last piece may be shorter than the others.
  const auto endPiece = end >= bytes_ ? roundUp(bytes_, kPieceBytes) : end / kPieceBytes;
  forWords(roundUp(offset, kPieceBytes), endPiece, [](std::atomic<std::uint64_t>& word, std::uint64_t bits) {
    if ((word.load(std::memory_order_relaxed) & bits) != 0) word.fetch_and(~bits, std::memory_order_acq_rel);
  });
}

std::vector<DirtyMap::Run> DirtyMap::take(std::uint64_t joinBytes) {
  const bool all = unseen_.exchange(false);
  std::vector<Run> runs;
  for (std::uint64_t word = 0; word < words_; ++word) {
    if (marks_[word].load(std::memory_order_relaxed) == 0) continue;
    auto bits = marks_[word].exchange(0, std::memory_order_acq_rel);
    while (bits != 0) {
      const auto from = static_cast<std::uint64_t>(std::countr_zero(bits));
      const auto count = static_cast<std::uint64_t>(std::countr_one(bits >> from));
      bits &= count == kBits ? 0 : ~(((std::uint64_t{1} << count) - 1) << from);
      const auto offset = (word * kBits + from) * kPieceBytes;
      const auto end = std::min(bytes_, offset + count * kPieceBytes);
      const auto before = runs.empty() ? 0 : runs.back().offset + runs.back().length;
      if (!runs.empty() && (offset == before || offset - before < joinBytes)) {
        runs.back().length = end - runs.back().offset;
      } else {
        runs.push_back({offset, end - offset});
      }
    }
  }
  if (all && bytes_ > 0) runs.assign(1, {0, bytes_});
  return runs;
}

}  // namespace rdmacp

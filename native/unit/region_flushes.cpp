// region_flushes.cpp -- see region_flushes.h. Flush threads.
#include "unit/region_flushes.h"

#include <algorithm>

namespace rdmacp::unit {
namespace {

// Writing what lies between two dirty pieces costs less than another write of its own.
constexpr std::uint64_t kJoinBytes = 64 * 1024;

}  // namespace

void RegionFlushes::begin(std::span<const media::ByteRange> ranges) {
  {
    const std::lock_guard lock(mutex_);
    ++underWay_;
  }
  auto* const dirty = memory_->dirty();
  if (dirty == nullptr) return;
  // The medium rounds out to its blocks, so that pieces which lie in those become durable whole.
  const auto block = memory_->blockSize();
  for (const auto& range : ranges) {
    if (range.length == 0) continue;
    const auto from = range.offset / block * block;
    const auto end = range.offset + range.length;
    const auto blocks = end / block + (end % block == 0 ? 0 : 1);
    dirty->clear(from, std::min(blocks * block, dirty->bytes()) - from);
  }
}

std::optional<std::vector<media::ByteRange>> RegionFlushes::tryBeginRest() {
  {
    const std::lock_guard lock(mutex_);
    if (underWay_ > 0) return std::nullopt;
    ++underWay_;
  }
  std::vector<media::ByteRange> ranges;
  if (auto* const dirty = memory_->dirty()) {
    for (const auto& run : dirty->take(kJoinBytes))
      ranges.push_back({run.offset, run.length});
  }
  return ranges;
}

void RegionFlushes::end(std::span<const media::ByteRange> ranges, const Status& status) {
  if (auto* const dirty = memory_->dirty(); dirty != nullptr && !status) {
    for (const auto& range : ranges)
      dirty->mark(range.offset, range.length);
  }
  const std::lock_guard lock(mutex_);
  --underWay_;
}

}  // namespace rdmacp::unit

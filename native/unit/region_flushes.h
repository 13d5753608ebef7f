// region_flushes.h -- what of a region is not durable, and the flushes that change it.
//
// Flush threads call begin, beginRest and end; the mutex counts the flushes under way. What a flush has begun with no
// longer counts as dirty, and is not durable before it has ended: beginRest waits for those. A flush that has failed
// leaves its ranges dirty.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "region_memory.h"

namespace rdmacp::unit {

class RegionFlushes {
 public:
  explicit RegionFlushes(std::shared_ptr<RegionMemory> memory) : memory_(std::move(memory)) {}

  // Ranges of the region, within it, that are about to be made durable. Before the medium reads the first byte.
  void begin(std::span<const media::ByteRange> ranges);
  // Everything that is not durable, as ranges of the region. No writer may be connected any more, and nobody holds a
  // begin of the region's that waits for this call. Blocks until other flushes have ended.
  std::vector<media::ByteRange> beginRest();
  // Once after each begin or beginRest, with the ranges of that.
  void end(std::span<const media::ByteRange> ranges, const Status& status);

 private:
  const std::shared_ptr<RegionMemory> memory_;
  std::mutex mutex_;
  std::condition_variable ended_;
  std::uint32_t underWay_ = 0;
};

}  // namespace rdmacp::unit

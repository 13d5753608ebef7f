// region_flushes.h -- what of a region is not durable, and the flushes that change it.
//
// Flush threads call begin, tryBeginRest and end; the mutex counts the flushes under way. What a flush has begun with no
// longer counts as dirty, and is not durable before it has ended: beginning with the rest has to wait for those. A flush
// that has failed, or was given up, leaves its ranges dirty.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "unit/region_memory.h"

namespace rdmacp::unit {

class RegionFlushes {
 public:
  explicit RegionFlushes(std::shared_ptr<RegionMemory> memory) : memory_(std::move(memory)) {}

  // Ranges of the region, within it, that are about to be made durable. Before the medium reads the first byte.
  void begin(std::span<const media::ByteRange> ranges);
  // Everything that is not durable, as ranges of the region. No writer may be connected any more. Nothing while other
  // flushes are under way: to be asked again after the end of one.
  std::optional<std::vector<media::ByteRange>> tryBeginRest();
  // Once after each begin, with the ranges of that.
  void end(std::span<const media::ByteRange> ranges, const Status& status);

 private:
  const std::shared_ptr<RegionMemory> memory_;
  std::mutex mutex_;
  std::uint32_t underWay_ = 0;
};

}  // namespace rdmacp::unit

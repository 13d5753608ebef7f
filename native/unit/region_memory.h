// region_memory.h -- a region's bytes in one piece: extents of the pool, back to back.
//
// Any thread. One extent is used where the pool is mapped; several are mapped again, in order, into a range reserved
// for them. Owns that mapping and the region's registrations, one a fabric, made for the region and never pool-wide.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "fabric/fabric.h"
#include "media/medium.h"

namespace rdmacp::unit {

class RegionMemory : public std::enable_shared_from_this<RegionMemory> {
 public:
  static Result<std::shared_ptr<RegionMemory>> map(std::shared_ptr<media::Medium> medium,
                                                   std::span<const media::ByteRange> extents, std::uint64_t length);
  ~RegionMemory();
  RegionMemory(const RegionMemory&) = delete;
  RegionMemory& operator=(const RegionMemory&) = delete;

  std::span<std::byte> bytes() const { return bytes_; }
  std::uint64_t length() const { return bytes_.size(); }
  std::uint64_t blockSize() const { return medium_->blockSize(); }
  // What peers have placed since it was made durable; null where the medium makes nothing durable.
  DirtyMap* dirty() const { return dirty_.get(); }

  // The pool's ranges behind a range of the region, which must lie in it, appended.
  void appendPoolRanges(std::uint64_t offset, std::uint64_t length, std::vector<media::ByteRange>& poolRanges) const;

  // The registration with this fabric, made at the first call. It keeps the mapping alive.
  Result<std::shared_ptr<const fabric::MemoryRegion>> registration(fabric::Fabric& fabric);

 private:
  struct Extent {
    std::uint64_t start = 0;  // in the region
    media::ByteRange pool;
  };

  RegionMemory(std::shared_ptr<media::Medium> medium, std::span<const media::ByteRange> extents);
  Status mapBackToBack();

  const std::shared_ptr<media::Medium> medium_;
  std::vector<Extent> extents_;
  std::uint64_t extentBytes_ = 0;
  std::span<std::byte> ownMapping_;  // empty with a single extent
  std::span<std::byte> bytes_;
  std::unique_ptr<DirtyMap> dirty_;
  std::mutex mutex_;
  std::map<const fabric::Fabric*, std::shared_ptr<fabric::MemoryRegion>> registrations_;
};

}  // namespace rdmacp::unit

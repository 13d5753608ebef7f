// region_memory.cpp -- mapping, translation and registration of a region's extents. Any thread.
#include "unit/region_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

namespace rdmacp::unit {
namespace {

Status checkExtents(const media::Medium& medium, std::span<const media::ByteRange> extents, std::uint64_t length) {
  const auto poolBytes = medium.memory().size();
  const auto block = medium.blockSize();
  std::uint64_t total = 0;
  std::uint64_t beforeLast = 0;
  for (const auto& extent : extents) {
    const bool inPool = extent.offset <= poolBytes && extent.length <= poolBytes - extent.offset;
    if (!inPool || extent.length == 0 || extent.offset % block != 0 || extent.length % block != 0) {
      return Error{ErrorCode::invalidArgument,
                   "an extent of " + std::to_string(extent.length) + " bytes at " + std::to_string(extent.offset) +
                       " is not made of whole blocks of a pool of " + std::to_string(poolBytes) + " bytes",
                   0};
    }
    beforeLast = total;
    total += extent.length;
    if (total > poolBytes) {
      return Error{ErrorCode::invalidArgument, "the extents of a region are larger than the pool together", 0};
    }
  }
  if (length == 0 || length > total || length <= beforeLast) {
    return Error{ErrorCode::invalidArgument,
                 "a region of " + std::to_string(length) +
                     " bytes does not end in the last of its extents, which hold " + std::to_string(total),
                 0};
  }
  return {};
}

Error mappingError(int error) {
  const auto code = error == ENOMEM ? ErrorCode::noMemory : ErrorCode::systemError;
  std::string message = std::string("could not map the extents of a region: ") + std::strerror(error);
  if (error == ENOMEM) message += "; vm.max_map_count limits the number of mappings";
  return {code, message, error};
}

}  // namespace

RegionMemory::RegionMemory(std::shared_ptr<media::Medium> medium, std::span<const media::ByteRange> extents)
    : medium_(std::move(medium)) {
  for (const auto& extent : extents) {
    extents_.push_back({extentBytes_, extent});
    extentBytes_ += extent.length;
  }
}

Result<std::shared_ptr<RegionMemory>> RegionMemory::map(std::shared_ptr<media::Medium> medium,
                                                        std::span<const media::ByteRange> extents,
                                                        std::uint64_t length) {
  if (auto checked = checkExtents(*medium, extents, length); !checked) return checked.error();
  std::shared_ptr<RegionMemory> memory(new RegionMemory(std::move(medium), extents));
  if (extents.size() == 1) {
    memory->bytes_ = memory->medium_->memory().subspan(extents[0].offset, length);
  } else {
    if (auto mapped = memory->mapBackToBack(); !mapped) return mapped.error();
    memory->bytes_ = memory->ownMapping_.first(length);
  }
  if (memory->medium_->durable()) memory->dirty_ = std::make_unique<DirtyMap>(length);
  return memory;
}

Status RegionMemory::mapBackToBack() {
  const int fd = medium_->memoryFd();
  if (fd < 0) {
    return Error{ErrorCode::notSupported, "a region of several extents needs a medium that can be mapped again", 0};
  }
  // Reserved first, so that no other thread's mapping can come between two extents; with room to begin where the medium
  // lets a mapping begin.
  const std::uint64_t alignment = medium_->mapAlignment();
  const std::uint64_t bytes = extentBytes_ + alignment;
  void* reserved = ::mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) return mappingError(errno);
  auto* const begin = static_cast<std::byte*>(reserved);
  const std::uint64_t before = (alignment - reinterpret_cast<std::uintptr_t>(begin) % alignment) % alignment;
  if (before > 0) ::munmap(begin, before);
  ::munmap(begin + before + extentBytes_, alignment - before);
  ownMapping_ = {begin + before, static_cast<std::size_t>(extentBytes_)};
  for (const auto& extent : extents_) {
    void* mapped = ::mmap(ownMapping_.data() + extent.start, extent.pool.length, PROT_READ | PROT_WRITE,
                          MAP_SHARED | MAP_FIXED, fd, static_cast<off_t>(extent.pool.offset));
    if (mapped == MAP_FAILED) return mappingError(errno);
  }
  return {};
}

RegionMemory::~RegionMemory() {
  registrations_.clear();
  if (!ownMapping_.empty()) ::munmap(ownMapping_.data(), ownMapping_.size());
}

void RegionMemory::appendPoolRanges(std::uint64_t offset, std::uint64_t length,
                                    std::vector<media::ByteRange>& poolRanges) const {
  if (length == 0) return;
  const auto after = std::upper_bound(extents_.begin(), extents_.end(), offset,
                                      [](std::uint64_t at, const Extent& extent) { return at < extent.start; });
  for (auto extent = std::prev(after); extent != extents_.end() && length > 0; ++extent) {
    const auto within = offset - extent->start;
    const auto piece = std::min(length, extent->pool.length - within);
    poolRanges.push_back({extent->pool.offset + within, piece});
    offset += piece;
    length -= piece;
  }
}

Result<std::shared_ptr<const fabric::MemoryRegion>> RegionMemory::registration(fabric::Fabric& fabric) {
  const std::lock_guard lock(mutex_);
  auto& registered = registrations_[&fabric];
  if (!registered) {
    auto made = fabric.registerMemory(bytes_, dirty_.get(), medium_->persistentMemory());
    if (!made) return made.error();
    registered = std::move(made).value();
  }
  // Whoever holds a registration holds the mapping under it.
  return std::shared_ptr<const fabric::MemoryRegion>(shared_from_this(), registered.get());
}

}  // namespace rdmacp::unit

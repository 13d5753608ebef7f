// pool_memory.h -- the memfd that a pool lives in while a unit serves it, and its one mapping.
//
// Any thread may read and write the bytes. Owns the descriptor and the mapping.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/file_descriptor.h"
#include "media/medium.h"

namespace rdmacp::media {

inline constexpr std::uint64_t kBlockSize = 4096;

class PoolMemory {
 public:
  // bytes: a multiple of kBlockSize, not 0.
  static Result<PoolMemory> create(std::uint64_t bytes);
  PoolMemory(const PoolMemory&) = delete;
  PoolMemory& operator=(const PoolMemory&) = delete;
  PoolMemory(PoolMemory&& other) noexcept;
  PoolMemory& operator=(PoolMemory&&) = delete;
  ~PoolMemory();

  std::span<std::byte> bytes() const { return bytes_; }
  int fd() const { return fd_.get(); }

  // Gives the pages of a block-aligned range back; they read as zeros.
  Status zero(ByteRange range);

  // The part of a block-aligned range from its first block on that has pages; empty when none has. What nobody has touched
  // reads as zeros, and reading it through the mapping would take memory for it.
  ByteRange fromPages(ByteRange range) const;
  // Whether every block of the range, which begins with one that has, has pages.
  bool hasAllPages(ByteRange range) const;
  // A copy that takes no pages.
  Status copyOut(std::uint64_t offset, std::span<std::byte> into) const;
  // The same the other way: blocks of zeros take no pages. The range must be without pages.
  void copyInSparsely(std::uint64_t offset, std::span<const std::byte> from);

 private:
  PoolMemory(FileDescriptor fd, std::span<std::byte> bytes) : fd_(std::move(fd)), bytes_(bytes) {}

  FileDescriptor fd_;
  std::span<std::byte> bytes_;
};

}  // namespace rdmacp::media

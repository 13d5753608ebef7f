// pool_file.h -- the file behind a file pool: made, locked, read and written in whole blocks, synced.
//
// Any thread; calls are independent of each other. Owns the descriptor and with it the lock. Nothing here decides what is
// written when: that is file_medium.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <string>

#include "../base/file_descriptor.h"
#include "file_io.h"
#include "medium.h"

namespace rdmacp::media {

class PoolFile {
 public:
  // Makes the file with all of its space reserved, or fills an empty one; what it made is removed when a step fails.
  static Result<std::unique_ptr<PoolFile>> create(const std::string& path, std::uint64_t bytes,
                                                  std::unique_ptr<FileIo> io);
  // Opens and locks, and sees to it that what is read is durable; changes nothing in the file. mediumFailed when what an
  // earlier process wrote cannot be synced.
  static Result<std::unique_ptr<PoolFile>> open(const std::string& path, std::unique_ptr<FileIo> io);

  std::uint64_t size() const { return size_; }

  // Offsets, lengths and memory are aligned to kBlockSize.
  // That the file still has the range: what is beyond its end would pass for a hole.
  Status reaches(ByteRange range);
  // The part of the range from its first block on that may hold anything but zeros; empty when there is none.
  ByteRange fromData(ByteRange range);
  Status read(std::span<std::byte> into, std::uint64_t offset);
  Status write(std::span<const std::byte> from, std::uint64_t offset);
  Status writeZeros(ByteRange range);
  Status sync();

 private:
  PoolFile(std::string path, std::unique_ptr<FileIo> io) : path_(std::move(path)), io_(std::move(io)) {}

  Status lock();
  Status settle();
  Status reserve(std::uint64_t bytes);
  Status fill(std::uint64_t bytes);
  Status syncDirectory();
  void undoCreate(bool made);
  void tryDirect();
  bool fallBackToBuffered(int error, bool direct);
  Error failure(const std::string& what, int error) const;

  const std::string path_;
  const std::unique_ptr<FileIo> io_;
  FileDescriptor fd_;
  std::uint64_t size_ = 0;
  std::atomic<bool> direct_{false};
  std::atomic<bool> zeroRange_{true};  // until the file system says that it has none
};

}  // namespace rdmacp::media

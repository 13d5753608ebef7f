// pool_file.h -- the file behind a file pool: made, locked, read and written in whole blocks, synced.
//
// Any thread; calls are independent of each other. Owns the descriptor and with it the lock. Nothing here decides what is
// written when: that is file_medium.
//
// The lock keeps other units away and nobody else: the file can be removed, replaced, cut short or written over while it
// is open, and every call on the descriptor goes on to succeed. whole() and inPlace() find that out.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <span>
#include <string>

#include "base/file_descriptor.h"
#include "media/file_io.h"
#include "media/medium.h"
#include "media/pool_memory.h"

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

  // That the open file still has its name and its length, in a file system that can be written. Reads nothing.
  Status whole();
  // The same, and that a unit started on the path now would find this file, beginning with what was last read or written
  // there; and that it can be read.
  Status inPlace();

 private:
  // The first block as the file holds it, as far as this process knows.
  struct alignas(kBlockSize) FirstBlock {
    std::array<std::byte, kBlockSize> bytes;
    bool known = false;
  };

  PoolFile(const std::string& path, std::unique_ptr<FileIo> io);

  Status lock();
  Status settle();
  Status reserve(std::uint64_t bytes);
  Status fill(std::uint64_t bytes);
  Status syncDirectory();
  void undoCreate(bool made);
  void tryDirect();
  bool fallBackToBuffered(int error, bool direct);
  Status examine(FileLook& look);
  Status writeAll(std::span<const std::byte> from, std::uint64_t offset);
  ssize_t readBack(std::span<std::byte> into, std::uint64_t offset);
  void noteFirstRead(std::span<const std::byte> bytes);   // with firstMutex_
  void noteFirstBlock(std::span<const std::byte> bytes);  // with firstMutex_
  Status beginsAsWritten();                               // with firstMutex_
  Status beforeFirstBlock();                              // with firstMutex_
  Error failure(const std::string& what, int error) const;

  const std::string path_;
  const std::string absolutePath_;  // the process may change its directory
  const std::unique_ptr<FileIo> io_;
  FileDescriptor fd_;
  std::uint64_t size_ = 0;
  std::atomic<bool> direct_{false};
  std::atomic<bool> zeroRange_{true};  // until the file system says that it has none
  std::mutex firstMutex_;              // held while the first block is written, and while it is compared
  std::unique_ptr<FirstBlock> first_;
};

}  // namespace rdmacp::media

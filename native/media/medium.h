// medium.h -- the memory that a pool lives in, and what makes ranges of it durable.
//
// Threads: memory() may be read and written by any thread at any time (peers do, by RDMA). flush, writeBack, sync, zero and
// load block and may be called by several threads at once; concurrent flushes share one sync. They are never called on an event
// loop or on the JavaScript thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "base/result.h"

namespace rdmacp::media {

// Bytes of the pool, not of a region.
struct ByteRange {
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
};

class Medium {
 public:
  virtual ~Medium() = default;

  virtual std::span<std::byte> memory() const = 0;
  // The memfd behind memory(), for mapping extents back to back; -1 where there is none.
  virtual int memoryFd() const = 0;
  // Every mapping of memoryFd() begins and ends at a multiple of it, in the address space and in the medium.
  virtual std::uint64_t mapAlignment() const { return 4096; }
  // Unit of write-back: two things that must not tear each other never share a block. 4096 for memory and file.
  virtual std::uint64_t blockSize() const = 0;
  virtual bool durable() const = 0;
  // What was placed and never flushed can still be there when the medium is opened again, and is not durable.
  virtual bool keepsUnflushed() const { return false; }
  // memory() is persistent memory itself: what an RDMA device has written back to it (RDMA FLUSH) is durable.
  virtual bool persistentMemory() const { return false; }

  // Makes the ranges, rounded out to blocks, durable as they are now (a stable copy is taken). Ranges that the caller
  // wrote before the call are covered. notDurable on a medium that cannot; mediumFailed after the first failed write
  // or sync, and from then on always: what the kernel dropped cannot be known.
  virtual Status flush(std::span<const ByteRange> ranges) = 0;
  // The two halves of flush, so that a large one can be done in slices: ranges that were written back, by however many
  // calls, are durable once a sync that began after them has succeeded. Errors are those of flush.
  virtual Status writeBack(std::span<const ByteRange> ranges) { return flush(ranges); }
  virtual Status sync() { return {}; }
  // Makes a block-aligned range read as zeros, durably where the medium is durable.
  virtual Status zero(ByteRange range) = 0;
  // Brings a range of the medium into memory() (file: read; others: nothing to do). Nobody uses the range yet.
  virtual Status load(ByteRange range) = 0;
  // A copy of bytes within memory(); where nothing was placed yet it takes no memory.
  virtual Status peek(std::uint64_t offset, std::span<std::byte> into) const {
    std::memcpy(into.data(), memory().data() + offset, into.size());
    return {};
  }

  // ok until a write or sync has failed, or a look has found that the medium is not what was opened; then that error, for
  // good.
  virtual Status failure() const { return {}; }
  // Called once, when the first failure is found, on the thread that found it, before anybody is answered; it must not
  // block. For one caller, before the medium is shared.
  virtual void whenFailed(std::function<void()>) {}
  // Looks, now and whenever so much time has passed, whether the medium is still what was opened: on a thread of the
  // medium's own, so that it is found whether or not anything is written. Once, after whenFailed.
  virtual Status watch(std::chrono::milliseconds) { return {}; }
};

// memory: a memfd, gone with the process.
Result<std::unique_ptr<Medium>> openMemoryMedium(std::uint64_t bytes);

// file: a memfd, written back to the file on flush. The file is locked for the life of the medium (poolInUse).
// create: makes the file with all its space reserved (mediumFull), and fails with exists when there already is one
// that is not empty. Without create the size comes from the file, and nothing in it is changed by opening.
struct FileMediumOptions {
  std::string path;
  bool create = false;
  std::uint64_t bytes = 0;  // create only; a multiple of 4096
};
Result<std::unique_ptr<Medium>> openFileMedium(const FileMediumOptions& options);

// devdax: a device such as /dev/dax0.0, mapped whole. It is locked for the life of the medium (poolInUse), and its size is
// the device's. invalidArgument when it is no such device, notSupported where the CPU's caches cannot be written back.
Result<std::unique_ptr<Medium>> openDevdaxMedium(const std::string& path);

}  // namespace rdmacp::media

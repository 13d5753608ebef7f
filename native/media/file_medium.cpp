// file_medium.cpp -- a pool in memory that is written back to its file on flush.
//
// Called by flush threads and by whoever creates and loads regions, several at once. Owns memory, file and lock.
// A flush: per piece of a range, under the range lock, a stable copy into a bounce buffer and from there to the file;
// then one sync, shared with the flushes that wait at the same time.
#include "file_medium.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <mutex>
#include <utility>

#include "block_ranges.h"
#include "bounce_buffers.h"
#include "group_sync.h"
#include "pool_file.h"
#include "pool_memory.h"
#include "range_lock.h"

namespace rdmacp::media {
namespace {

// Peers may write while this reads, by design: what is copied is written as it was copied, and checksums decide above.
// ThreadSanitizer is not told of that one read; memcpy would be watched wherever it is called from.
#if defined(__SANITIZE_THREAD__)
__attribute__((no_sanitize("thread"))) void copyWhilePeersWrite(std::span<std::byte> target, const std::byte* source) {
  const volatile std::byte* from = source;
  for (std::size_t i = 0; i < target.size(); ++i)
    target[i] = from[i];
}
#else
void copyWhilePeersWrite(std::span<std::byte> target, const std::byte* source) {
  std::memcpy(target.data(), source, target.size());
}
#endif

class FileMedium final : public Medium {
 public:
  FileMedium(PoolMemory memory, std::unique_ptr<PoolFile> file)
      : memory_(std::move(memory)), file_(std::move(file)), sync_([this] { return kept(file_->sync()); }) {}

  std::span<std::byte> memory() const override { return memory_.bytes(); }
  int memoryFd() const override { return memory_.fd(); }
  std::uint64_t blockSize() const override { return kBlockSize; }
  bool durable() const override { return true; }

  Status flush(std::span<const ByteRange> ranges) override {
    if (auto written = writeBack(ranges); !written) return written;
    const bool nothing =
        std::all_of(ranges.begin(), ranges.end(), [](const ByteRange& range) { return range.length == 0; });
    return nothing ? Status{} : sync();
  }

  Status writeBack(std::span<const ByteRange> ranges) override {
    const auto blocks = roundOutAndMerge(ranges, kBlockSize, memory_.bytes().size());
    if (!blocks) return blocks.error();
    if (auto trusted = failure(); !trusted) return trusted;
    for (const auto& range : blocks.value()) {
      if (auto written = kept(copyOut(range)); !written) return written;
    }
    return {};
  }

  Status sync() override { return sync_.wait(); }

  Status zero(ByteRange range) override {
    if (auto checked = checkWholeBlocks(range, kBlockSize, memory_.bytes().size()); !checked) return checked;
    if (auto trusted = failure(); !trusted) return trusted;
    if (range.length == 0) return {};
    {
      const RangeLock::Guard guard(inUse_, range);
      if (auto cleared = memory_.zero(range); !cleared) return cleared;
      if (auto written = kept(file_->writeZeros(range)); !written) return written;
    }
    return sync_.wait();
  }

  Status load(ByteRange range) override {
    if (auto checked = checkWholeBlocks(range, kBlockSize, memory_.bytes().size()); !checked) return checked;
    // What the file has as holes or zeros stays without pages, so that a pool takes the memory that it took before.
    const RangeLock::Guard guard(inUse_, range);
    if (auto whole = file_->reaches(range); !whole) return whole;
    if (auto cleared = memory_.zero(range); !cleared) return cleared;
    const BounceBuffers::Borrowed buffer(buffers_);
    while ((range = file_->fromData(range)).length > 0) {
      const ByteRange piece{range.offset, std::min<std::uint64_t>(range.length, BounceBuffers::kBytes)};
      const auto copy = buffer.bytes().first(static_cast<std::size_t>(piece.length));
      if (auto read = file_->read(copy, piece.offset); !read) return read;
      memory_.copyInSparsely(piece.offset, copy);
      range.offset += piece.length;
      range.length -= piece.length;
    }
    return {};
  }

  Status peek(std::uint64_t offset, std::span<std::byte> into) const override { return memory_.copyOut(offset, into); }

  Status failure() const override {
    const std::lock_guard lock(failureMutex_);
    return failure_;
  }

  void whenFailed(std::function<void()> call) override {
    const std::lock_guard lock(failureMutex_);
    onFailed_ = std::move(call);
  }

 private:
  Status copyOut(ByteRange range) {
    const BounceBuffers::Borrowed buffer(buffers_);
    // Memory without pages was neither read from the file nor written since: it is zero in the file, too.
    while ((range = memory_.fromPages(range)).length > 0) {
      const ByteRange piece{range.offset, std::min<std::uint64_t>(range.length, BounceBuffers::kBytes)};
      const auto copy = buffer.bytes().first(static_cast<std::size_t>(piece.length));
      const RangeLock::Guard guard(inUse_, piece);
      if (memory_.hasAllPages(piece)) {
        copyWhilePeersWrite(copy, memory_.bytes().data() + piece.offset);
      } else if (auto copied = memory_.copyOut(piece.offset, copy); !copied) {
        return copied;
      }
      if (auto written = file_->write(copy, piece.offset); !written) return written;
      range.offset += piece.length;
      range.length -= piece.length;
    }
    return {};
  }

  // Remembers the first failure, after which nothing is reported durable any more: the kernel may have dropped what it could
  // not write, calls its pages clean, and reports the error once.
  Status kept(Status status) {
    if (status) return status;
    std::function<void()> tell;
    Status told;
    {
      const std::lock_guard lock(failureMutex_);
      if (failure_) {
        failure_ =
            Error{ErrorCode::mediumFailed,
                  status.error().message + "; nothing of this pool is made durable any more until it is reopened",
                  status.error().systemError};
        tell = std::exchange(onFailed_, nullptr);
      }
      told = failure_;
    }
    if (tell) tell();
    return told;
  }

  PoolMemory memory_;
  std::unique_ptr<PoolFile> file_;
  BounceBuffers buffers_;
  RangeLock inUse_;
  GroupSync sync_;
  mutable std::mutex failureMutex_;
  Status failure_;  // ok until the first failed write or sync
  std::function<void()> onFailed_;
};

}  // namespace

Result<std::unique_ptr<Medium>> openFileMedium(const FileMediumOptions& options, std::unique_ptr<FileIo> io) {
  if (options.path.empty() || options.path.find('\0') != std::string::npos) {
    return Error{ErrorCode::invalidArgument, "a file pool needs a path", 0};
  }
  if (options.create) {
    // Memory first: what cannot be had shall not leave a file behind.
    auto memory = PoolMemory::create(options.bytes);
    if (!memory) return memory.error();
    auto file = PoolFile::create(options.path, options.bytes, std::move(io));
    if (!file) return file.error();
    return std::unique_ptr<Medium>(std::make_unique<FileMedium>(std::move(memory).value(), std::move(file).value()));
  }
  auto file = PoolFile::open(options.path, std::move(io));
  if (!file) return file.error();
  const auto bytes = file.value()->size();
  if (bytes == 0 || bytes % kBlockSize != 0) {
    return Error{ErrorCode::invalidArgument,
                 options.path + " holds " + std::to_string(bytes) + " bytes, which is not a positive multiple of " +
                     std::to_string(kBlockSize) + ": it is not a pool",
                 0};
  }
  auto memory = PoolMemory::create(bytes);
  if (!memory) return memory.error();
  return std::unique_ptr<Medium>(std::make_unique<FileMedium>(std::move(memory).value(), std::move(file).value()));
}

Result<std::unique_ptr<Medium>> openFileMedium(const FileMediumOptions& options) {
  return openFileMedium(options, makeFileIo());
}

}  // namespace rdmacp::media

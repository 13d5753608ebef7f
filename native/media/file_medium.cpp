// file_medium.cpp -- a pool in memory that is written back to its file on flush.
//
// Called by flush threads and by whoever creates and loads regions, several at once, and by its watch. Owns memory, file
// and lock. Memory is a memfd and no mapping of the file, so that nothing that becomes of the file takes pages away.
//
// Invariant: what is answered as durable lies in a file that was whole, in its place by name, when the sync had ended; and
// once anything has failed, or was found not to be so, nothing is durable any more (failure_latch.h).
// A flush: per piece of a range, under the range lock, a stable copy into a bounce buffer and from there to the file;
// then one sync, shared with the flushes that wait at the same time.
#include "media/file_medium.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <utility>

#include "media/block_ranges.h"
#include "media/bounce_buffers.h"
#include "media/failure_latch.h"
#include "media/group_sync.h"
#include "media/medium_watch.h"
#include "media/pool_file.h"
#include "media/pool_memory.h"
#include "media/range_lock.h"

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
      : memory_(std::move(memory)), file_(std::move(file)), sync_([this] {
          auto synced = latch_.keep(file_->sync());
          return synced ? latch_.keep(file_->whole()) : synced;
        }) {}

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
    // What was cut short would grow again by the write, and look whole.
    if (auto whole = latch_.keep(file_->whole()); !whole) return whole;
    for (const auto& range : blocks.value()) {
      if (auto written = latch_.keep(copyOut(range)); !written) return written;
    }
    return {};
  }

  // A sync that succeeded says nothing of a medium that something else has failed on meanwhile.
  Status sync() override {
    auto synced = sync_.wait();
    return synced ? failure() : synced;
  }

  Status zero(ByteRange range) override {
    if (auto checked = checkWholeBlocks(range, kBlockSize, memory_.bytes().size()); !checked) return checked;
    if (auto trusted = failure(); !trusted) return trusted;
    if (range.length == 0) return {};
    {
      const RangeLock::Guard guard(inUse_, range);
      if (auto whole = latch_.keep(file_->whole()); !whole) return whole;
      if (auto cleared = memory_.zero(range); !cleared) return cleared;
      if (auto written = latch_.keep(file_->writeZeros(range)); !written) return written;
    }
    return sync();
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

  Status failure() const override { return latch_.failure(); }
  void whenFailed(std::function<void()> call) override { latch_.whenFailed(std::move(call)); }

  Status watch(std::chrono::milliseconds between) override {
    return watch_.start(between, [this] { return latch_.keep(file_->inPlace()); });
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

  PoolMemory memory_;
  std::unique_ptr<PoolFile> file_;
  BounceBuffers buffers_;
  RangeLock inUse_;
  GroupSync sync_;
  FailureLatch latch_;
  MediumWatch watch_;  // last: its thread uses the others
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

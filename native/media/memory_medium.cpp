// memory_medium.cpp -- a pool that lives in memory only and is gone with its process. Any thread.
#include <memory>

#include "media/block_ranges.h"
#include "media/medium.h"
#include "media/pool_memory.h"

namespace rdmacp::media {
namespace {

class MemoryMedium final : public Medium {
 public:
  explicit MemoryMedium(PoolMemory memory) : memory_(std::move(memory)) {}

  std::span<std::byte> memory() const override { return memory_.bytes(); }
  int memoryFd() const override { return memory_.fd(); }
  std::uint64_t blockSize() const override { return kBlockSize; }
  bool durable() const override { return false; }

  Status flush(std::span<const ByteRange> ranges) override {
    const auto blocks = roundOutAndMerge(ranges, kBlockSize, memory_.bytes().size());
    if (!blocks) return blocks.error();
    return Error{ErrorCode::notDurable,
                 "a pool in memory does not survive its unit; use a file pool for durable writes", 0};
  }

  Status zero(ByteRange range) override {
    auto checked = checkWholeBlocks(range, kBlockSize, memory_.bytes().size());
    return checked ? memory_.zero(range) : checked;
  }

  Status peek(std::uint64_t offset, std::span<std::byte> into) const override { return memory_.copyOut(offset, into); }

  Status load(ByteRange range) override { return checkWholeBlocks(range, kBlockSize, memory_.bytes().size()); }

 private:
  PoolMemory memory_;
};

}  // namespace

Result<std::unique_ptr<Medium>> openMemoryMedium(std::uint64_t bytes) {
  auto memory = PoolMemory::create(bytes);
  if (!memory) return memory.error();
  return std::unique_ptr<Medium>(std::make_unique<MemoryMedium>(std::move(memory).value()));
}

}  // namespace rdmacp::media

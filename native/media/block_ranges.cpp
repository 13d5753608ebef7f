// block_ranges.cpp -- rounding and merging of pool ranges.
#include "media/block_ranges.h"

#include <algorithm>
#include <string>

namespace rdmacp::media {
namespace {

bool isWithin(ByteRange range, std::uint64_t poolBytes) {
  return range.offset <= poolBytes && range.length <= poolBytes - range.offset;
}

Error outside(ByteRange range, std::uint64_t poolBytes) {
  return {ErrorCode::outOfBounds,
          "the range of " + std::to_string(range.length) + " bytes at " + std::to_string(range.offset) +
              " reaches beyond the pool of " + std::to_string(poolBytes) + " bytes",
          0};
}

}  // namespace

Result<std::vector<ByteRange>> roundOutAndMerge(std::span<const ByteRange> ranges, std::uint64_t blockSize,
                                                std::uint64_t poolBytes) {
  std::vector<ByteRange> blocks;
  blocks.reserve(ranges.size());
  for (const auto& range : ranges) {
    if (!isWithin(range, poolBytes)) return outside(range, poolBytes);
    if (range.length == 0) continue;
    const auto begin = range.offset / blockSize * blockSize;
    const auto last = range.offset + range.length - 1;
    const auto end = (last / blockSize + 1) * blockSize;
    blocks.push_back({begin, end - begin});
  }
  std::sort(blocks.begin(), blocks.end(), [](const ByteRange& a, const ByteRange& b) { return a.offset < b.offset; });
  std::vector<ByteRange> merged;
  for (const auto& block : blocks) {
    if (!merged.empty() && block.offset <= merged.back().offset + merged.back().length) {
      auto& before = merged.back();
      before.length = std::max(before.offset + before.length, block.offset + block.length) - before.offset;
    } else {
      merged.push_back(block);
    }
  }
  return merged;
}

Status checkWholeBlocks(ByteRange range, std::uint64_t blockSize, std::uint64_t poolBytes) {
  if (!isWithin(range, poolBytes)) return outside(range, poolBytes);
  if (range.offset % blockSize != 0 || range.length % blockSize != 0) {
    return Error{ErrorCode::invalidArgument,
                 "the range of " + std::to_string(range.length) + " bytes at " + std::to_string(range.offset) +
                     " is not made of whole blocks of " + std::to_string(blockSize) + " bytes",
                 0};
  }
  return {};
}

}  // namespace rdmacp::media

// block_ranges.h -- ranges of a pool as whole blocks. Pure functions, any thread.
#pragma once

#include <span>
#include <vector>

#include "media/medium.h"

namespace rdmacp::media {

// The ranges rounded out to blocks, in order, with those that touch or overlap made one; empty ones dropped.
// outOfBounds when one reaches beyond poolBytes, which is itself a multiple of blockSize.
Result<std::vector<ByteRange>> roundOutAndMerge(std::span<const ByteRange> ranges, std::uint64_t blockSize,
                                                std::uint64_t poolBytes);

// outOfBounds or invalidArgument unless the range lies in the pool and is made of whole blocks.
Status checkWholeBlocks(ByteRange range, std::uint64_t blockSize, std::uint64_t poolBytes);

}  // namespace rdmacp::media

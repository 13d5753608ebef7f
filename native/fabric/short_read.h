// short_read.h -- how much of a read may be asked for in one request of a peer that may be Linux's soft-iWARP (siw).
// Pure function, any thread.
//
// siw copies the answer to a read of up to 32 bytes into its header buffer (siw_qp_tx.c, siw_try_1seg, MAX_HDR_INLINE).
// Where the bytes lie across a page border it takes the number of those behind the border for the number of those
// before it: the answer holds other bytes, under a good checksum. A request that ends at the border is answered rightly.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rdmacp::fabric {

inline constexpr std::size_t kShortRead = 32;
inline constexpr std::size_t kSmallestPage = 4096;

// length, or for a short read across a page border what lies before the border.
constexpr std::size_t readWithinPage(std::uint64_t remoteAddress, std::size_t length) {
  const std::size_t before = kSmallestPage - static_cast<std::size_t>(remoteAddress % kSmallestPage);
  return length <= kShortRead && length > before ? before : length;
}

}  // namespace rdmacp::fabric

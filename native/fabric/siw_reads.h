// siw_reads.h -- reads that Linux's soft-iWARP (siw, kernel 6.1) does not get right, and how they are asked for instead.
// Both fabrics keep to it, for a peer or a device that may be siw. Pure functions, any thread.
//
// A short read: siw copies the answer, if it is of up to 32 bytes, behind its header (siw_qp_tx.c, siw_try_1seg,
// MAX_HDR_INLINE). Where the bytes lie across a page border it takes the number of those behind the border for the
// number of those before it: the answer holds other bytes, under a good checksum. What ends at the border is right.
//
// A read of no bytes: siw leaves the length alone that the slot of its queue had before, both when it asks (a read
// without a segment, siw_activate_tx_from_sq) and when it answers while another answer is on its way (siw_activate_tx).
// RFC 5040 has nothing checked for no bytes, so that a write of no bytes does as well.
#pragma once

#include <cstddef>
#include <cstdint>

#include "fabric/fabric.h"

namespace rdmacp::fabric::siw {

inline constexpr std::size_t kShortRead = 32;
inline constexpr std::size_t kSmallestPage = 4096;

// length, or for a short read across a page border what lies before the border.
constexpr std::size_t readAtOnce(std::uint64_t remoteAddress, std::size_t length) {
  const std::size_t before = kSmallestPage - static_cast<std::size_t>(remoteAddress % kSmallestPage);
  return length <= kShortRead && length > before ? before : length;
}

constexpr WorkRequest::Kind kindFor(WorkRequest::Kind kind, std::size_t length) {
  return kind == WorkRequest::Kind::read && length == 0 ? WorkRequest::Kind::write : kind;
}

}  // namespace rdmacp::fabric::siw

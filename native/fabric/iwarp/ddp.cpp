// ddp.cpp -- see ddp.h. Pure functions, any thread; owns nothing.
#include "fabric/iwarp/ddp.h"

#include "base/big_endian.h"

namespace rdmacp::fabric::iwarp::ddp {
namespace {

// RFC 5041 section 4.1: T, L, four reserved bits, DV.  RFC 5040 section 4.1: RV, two reserved bits, opcode.
constexpr unsigned kTagged = 0x80;
constexpr unsigned kLast = 0x40;
constexpr unsigned kVersionMask = 0x03;
constexpr unsigned kRdmapVersionShift = 6;
constexpr unsigned kOpcodeMask = 0x0f;

}  // namespace

std::size_t encodeHeader(const Header& header, std::byte* bytes) {
  bytes[0] = static_cast<std::byte>((header.tagged ? kTagged : 0U) | (header.last ? kLast : 0U) | header.version);
  bytes[1] = static_cast<std::byte>((static_cast<unsigned>(header.rdmapVersion) << kRdmapVersionShift) | header.opcode);
  storeBigEndian(bytes + 2, header.stag);
  if (header.tagged) {
    storeBigEndian(bytes + 6, header.taggedOffset);
    return kTaggedBytes;
  }
  storeBigEndian(bytes + 6, header.queue);
  storeBigEndian(bytes + 10, header.sequence);
  storeBigEndian(bytes + 14, header.messageOffset);
  return kUntaggedBytes;
}

Header parseHeader(const std::byte* bytes) {
  const auto control = std::to_integer<unsigned>(bytes[0]);
  const auto rdmap = std::to_integer<unsigned>(bytes[1]);
  Header header;
  header.tagged = (control & kTagged) != 0;
  header.last = (control & kLast) != 0;
  header.version = static_cast<std::uint8_t>(control & kVersionMask);
  header.rdmapVersion = static_cast<std::uint8_t>(rdmap >> kRdmapVersionShift);
  header.opcode = static_cast<std::uint8_t>(rdmap & kOpcodeMask);
  header.stag = loadBigEndian<std::uint32_t>(bytes + 2);
  if (header.tagged) {
    header.taggedOffset = loadBigEndian<std::uint64_t>(bytes + 6);
  } else {
    header.queue = loadBigEndian<std::uint32_t>(bytes + 6);
    header.sequence = loadBigEndian<std::uint32_t>(bytes + 10);
    header.messageOffset = loadBigEndian<std::uint32_t>(bytes + 14);
  }
  return header;
}

}  // namespace rdmacp::fabric::iwarp::ddp

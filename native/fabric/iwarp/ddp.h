// ddp.h -- DDP (RFC 5041): the headers of tagged and untagged segments, together with the byte of control that RDMAP
// has in them (RFC 5040 section 4.1).
//
// Encoders and parsers only: no sockets, no state, callable alone and from any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace rdmacp::fabric::iwarp::ddp {

inline constexpr std::size_t kControlBytes = 2;    // DDP control, RDMAP control: enough to know the header's length
inline constexpr std::size_t kTaggedBytes = 14;    // RFC 5041 section 4.2: control, STag, tagged offset
inline constexpr std::size_t kUntaggedBytes = 18;  // RFC 5041 section 4.3: control, ULP's 4 bytes, QN, MSN, MO
inline constexpr std::size_t kMaxHeaderBytes = kUntaggedBytes;
inline constexpr std::uint8_t kVersion = 1;

struct Header {
  bool tagged = false;
  bool last = false;
  std::uint8_t version = kVersion;
  std::uint8_t rdmapVersion = 1;
  std::uint8_t opcode = 0;
  std::uint32_t stag = 0;           // tagged; of an untagged one the ULP's field: the STag that a Send invalidates
  std::uint64_t taggedOffset = 0;   // tagged
  std::uint32_t queue = 0;          // untagged
  std::uint32_t sequence = 0;       // untagged: message sequence number (MSN)
  std::uint32_t messageOffset = 0;  // untagged
};

constexpr std::size_t headerBytes(bool tagged) {
  return tagged ? kTaggedBytes : kUntaggedBytes;
}
inline bool isTagged(std::byte control) {
  return (std::to_integer<unsigned>(control) & 0x80U) != 0;
}

// Both give and take headerBytes(tagged) bytes.
std::size_t encodeHeader(const Header& header, std::byte* bytes);
Header parseHeader(const std::byte* bytes);

}  // namespace rdmacp::fabric::iwarp::ddp

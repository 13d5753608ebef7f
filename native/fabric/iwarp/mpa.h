// mpa.h -- MPA (RFC 5044) and its enhanced set-up (RFC 6581): set-up frames and the arithmetic of FPDUs.
//
// Encoders and parsers only: no sockets, no state, callable alone and from any thread. All integers are big-endian,
// but for the CRC, which is sent least significant byte first (RFC 5044 section 4.4, as in iSCSI).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/result.h"

namespace rdmacp::fabric::iwarp::mpa {

using ConstBytes = std::span<const std::byte>;

// RFC 5044 section 7.1.1: 16 bytes of key, flags, revision, length of the private data.
inline constexpr std::size_t kSetupHeaderBytes = 20;
inline constexpr std::size_t kMaxSetupPrivateData = 512;
inline constexpr std::size_t kMaxSetupFrame = kSetupHeaderBytes + kMaxSetupPrivateData;
// RFC 6581 section 9.1: IRD and ORD, before the private data of a frame with the S flag.
inline constexpr std::size_t kEnhancedBytes = 4;
inline constexpr std::uint16_t kMaxDepth = 0x3ffe;
inline constexpr std::uint16_t kNoDepth = 0x3fff;  // "not negotiated here"

// RFC 5044 section 4.1: length, ULPDU, 0-3 bytes of padding, CRC.
inline constexpr std::size_t kLengthBytes = 2;
inline constexpr std::size_t kCrcBytes = 4;
inline constexpr std::size_t kMaxUlpdu = 65535;

enum class FrameKind : std::uint8_t { request, reply };

struct Enhanced {
  std::uint16_t inboundReads = 0;   // IRD of the sender
  std::uint16_t outboundReads = 0;  // ORD of the sender
  bool peerToPeer = false;          // A: the accepting side may send first, after a ready-to-receive frame
  bool sendReady = false;           // B: an empty Send may be that frame
  bool writeReady = false;          // C: an empty RDMA Write may be
  bool readReady = false;           // D: an empty RDMA Read may be
};

struct SetupFrame {
  FrameKind kind = FrameKind::request;
  bool markers = false;
  bool crc = false;
  bool rejected = false;  // replies
  std::uint8_t revision = 1;
  std::optional<Enhanced> enhanced;  // the S flag
  std::vector<std::byte> privateData;
};

std::vector<std::byte> encodeSetup(const SetupFrame& frame);

struct ParsedSetup {
  SetupFrame frame;
  std::size_t bytes = 0;  // what the frame took
};

// No value: more bytes are needed. An error as soon as the bytes cannot become a frame of that kind any more.
Result<std::optional<ParsedSetup>> parseSetup(FrameKind kind, ConstBytes bytes);

// What the accepting side answers to the request's IRD and ORD, and what both then keep to (RFC 6581 section 9.1).
struct Depths {
  std::uint32_t inbound = 0;
  std::uint32_t outbound = 0;
};
Depths negotiateAsResponder(Depths own, const std::optional<Enhanced>& request);
// No value: the peer wants to have more reads in flight than we offered.
std::optional<Depths> negotiateAsInitiator(Depths own, const std::optional<Enhanced>& reply);

constexpr std::size_t padding(std::size_t ulpdu) {
  return (4 - (kLengthBytes + ulpdu) % 4) % 4;
}
constexpr std::size_t fpduBytes(std::size_t ulpdu) {
  return kLengthBytes + ulpdu + padding(ulpdu) + kCrcBytes;
}

// The largest ULPDU (MULPDU) whose FPDU fits a TCP segment (RFC 5044 section 4.2), at least 128 bytes.
// Never more than Linux siw sends itself: on loopback the size of a segment changes, and siw finds wrong CRCs in frames
// that are cut inside of their trailer.
inline constexpr std::size_t kMaxForeignUlpdu = 32762;
std::size_t maxUlpdu(std::size_t segmentBytes);

}  // namespace rdmacp::fabric::iwarp::mpa

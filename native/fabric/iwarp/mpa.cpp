// mpa.cpp -- see mpa.h. Pure functions, any thread; owns nothing.
#include "fabric/iwarp/mpa.h"

#include <algorithm>
#include <cstring>

#include "base/big_endian.h"

namespace rdmacp::fabric::iwarp::mpa {
namespace {

// RFC 5044 section 7.1.1
constexpr char kRequestKey[] = "MPA ID Req Frame";
constexpr char kReplyKey[] = "MPA ID Rep Frame";
constexpr std::size_t kKeyBytes = 16;
constexpr std::uint8_t kMarkers = 0x80;
constexpr std::uint8_t kCrc = 0x40;
constexpr std::uint8_t kRejected = 0x20;
constexpr std::uint8_t kEnhanced = 0x10;  // RFC 6581 section 9.1

constexpr std::uint16_t kHighBit = 0x8000;
constexpr std::uint16_t kSecondBit = 0x4000;
constexpr std::uint16_t kDepthMask = 0x3fff;

constexpr std::size_t kMinUlpdu = 128;  // RFC 5044 section 4.2

const char* keyOf(FrameKind kind) {
  return kind == FrameKind::request ? kRequestKey : kReplyKey;
}

std::uint16_t bits(bool high, bool second) {
  return static_cast<std::uint16_t>((high ? kHighBit : 0) | (second ? kSecondBit : 0));
}

Error refuse(const std::string& why) {
  return Error{ErrorCode::protocolViolation, "MPA set-up: " + why, 0};
}

}  // namespace

std::vector<std::byte> encodeSetup(const SetupFrame& frame) {
  const std::size_t extra = frame.enhanced ? kEnhancedBytes : 0;
  std::vector<std::byte> bytes(kSetupHeaderBytes + extra + frame.privateData.size());
  std::memcpy(bytes.data(), keyOf(frame.kind), kKeyBytes);
  bytes[16] = static_cast<std::byte>((frame.markers ? kMarkers : 0) | (frame.crc ? kCrc : 0) |
                                     (frame.rejected ? kRejected : 0) | (frame.enhanced ? kEnhanced : 0));
  bytes[17] = static_cast<std::byte>(frame.revision);
  storeBigEndian(&bytes[18], static_cast<std::uint16_t>(extra + frame.privateData.size()));
  if (frame.enhanced) {
    const Enhanced& own = *frame.enhanced;
    const auto ird = static_cast<std::uint16_t>((own.inboundReads & kDepthMask) | bits(own.peerToPeer, own.sendReady));
    const auto ord = static_cast<std::uint16_t>((own.outboundReads & kDepthMask) | bits(own.writeReady, own.readReady));
    storeBigEndian(&bytes[20], ird);
    storeBigEndian(&bytes[22], ord);
  }
  std::copy(frame.privateData.begin(), frame.privateData.end(),
            bytes.begin() + static_cast<std::ptrdiff_t>(kSetupHeaderBytes + extra));
  return bytes;
}

Result<std::optional<ParsedSetup>> parseSetup(FrameKind kind, ConstBytes bytes) {
  const std::size_t comparable = std::min(bytes.size(), kKeyBytes);
  if (std::memcmp(bytes.data(), keyOf(kind), comparable) != 0) return refuse("the peer does not speak MPA");
  if (bytes.size() < kSetupHeaderBytes) return std::optional<ParsedSetup>{};

  const auto flags = std::to_integer<std::uint8_t>(bytes[16]);
  const auto revision = std::to_integer<std::uint8_t>(bytes[17]);
  const std::size_t length = loadBigEndian<std::uint16_t>(&bytes[18]);
  if (revision < 1 || revision > 2) return refuse("revision " + std::to_string(revision) + " is neither 1 nor 2");
  if (length > kMaxSetupPrivateData) return refuse(std::to_string(length) + " bytes of private data, 512 are allowed");
  // In revision 1 the bit is reserved and not looked at (RFC 5044 section 7.1.1).
  const bool enhanced = revision == 2 && (flags & kEnhanced) != 0;
  if (enhanced && length < kEnhancedBytes) return refuse("the enhanced set-up without its IRD and ORD");
  if (bytes.size() < kSetupHeaderBytes + length) return std::optional<ParsedSetup>{};

  ParsedSetup parsed;
  parsed.bytes = kSetupHeaderBytes + length;
  parsed.frame.kind = kind;
  parsed.frame.markers = (flags & kMarkers) != 0;
  parsed.frame.crc = (flags & kCrc) != 0;
  parsed.frame.rejected = kind == FrameKind::reply && (flags & kRejected) != 0;
  parsed.frame.revision = revision;
  ConstBytes privateData = bytes.subspan(kSetupHeaderBytes, length);
  if (enhanced) {
    const auto ird = loadBigEndian<std::uint16_t>(&privateData[0]);
    const auto ord = loadBigEndian<std::uint16_t>(&privateData[2]);
    parsed.frame.enhanced = Enhanced{static_cast<std::uint16_t>(ird & kDepthMask),
                                     static_cast<std::uint16_t>(ord & kDepthMask),
                                     (ird & kHighBit) != 0,
                                     (ird & kSecondBit) != 0,
                                     (ord & kHighBit) != 0,
                                     (ord & kSecondBit) != 0};
    privateData = privateData.subspan(kEnhancedBytes);
  }
  parsed.frame.privateData.assign(privateData.begin(), privateData.end());
  return std::optional<ParsedSetup>{std::move(parsed)};
}

Depths negotiateAsResponder(Depths own, const std::optional<Enhanced>& request) {
  if (!request) return own;
  Depths agreed = own;
  if (request->outboundReads != kNoDepth) agreed.inbound = std::min<std::uint32_t>(own.inbound, request->outboundReads);
  if (request->inboundReads != kNoDepth) agreed.outbound = std::min<std::uint32_t>(own.outbound, request->inboundReads);
  return agreed;
}

std::optional<Depths> negotiateAsInitiator(Depths own, const std::optional<Enhanced>& reply) {
  if (!reply) return own;
  Depths agreed = own;
  if (reply->inboundReads != kNoDepth) agreed.outbound = std::min<std::uint32_t>(own.outbound, reply->inboundReads);
  if (reply->outboundReads != kNoDepth && reply->outboundReads > own.inbound) return std::nullopt;
  return agreed;
}

std::size_t maxUlpdu(std::size_t segmentBytes) {
  const std::size_t overhead = kLengthBytes + kCrcBytes + segmentBytes % 4;
  const std::size_t fitting = segmentBytes > overhead ? segmentBytes - overhead : 0;
  return std::clamp(fitting, kMinUlpdu, kMaxForeignUlpdu);
}

}  // namespace rdmacp::fabric::iwarp::mpa

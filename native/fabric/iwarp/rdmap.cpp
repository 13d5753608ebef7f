// rdmap.cpp -- see rdmap.h. Pure functions, any thread; owns nothing.
#include "fabric/iwarp/rdmap.h"

#include <cstdio>

#include "base/big_endian.h"

namespace rdmacp::fabric::iwarp::rdmap {
namespace {

// RFC 5040 section 4.8, HdrCt: which of the fields that follow are there.
constexpr unsigned kHasLength = 0x80;
constexpr unsigned kHasDdpHeader = 0x40;
constexpr unsigned kHasRdmapHeader = 0x20;

struct Description {
  TerminateCode code;
  const char* text;
};

constexpr Description kDescriptions[] = {
    {terminate_code::kReadInvalidStag, "unknown key in a read request or an invalidation"},
    {terminate_code::kReadBounds, "read out of bounds"},
    {terminate_code::kAccessRights, "the key does not give that right"},
    {terminate_code::kReadOffsetWrap, "read address wraps around"},
    {terminate_code::kCannotInvalidate, "the key is in use and cannot be invalidated"},
    {terminate_code::kRdmapVersion, "RDMAP version not supported"},
    {terminate_code::kUnexpectedOpcode, "unexpected RDMAP opcode"},
    {terminate_code::kOperationUnspecified, "malformed RDMAP message"},
    {terminate_code::kTaggedInvalidStag, "unknown key"},
    {terminate_code::kTaggedBounds, "out of bounds"},
    {terminate_code::kTaggedOffsetWrap, "address wraps around"},
    {terminate_code::kTaggedVersion, "DDP version of a tagged segment not supported"},
    {terminate_code::kInvalidQueue, "unknown DDP queue"},
    {terminate_code::kSequenceNoBuffer, "no buffer for the message (too many reads or messages in flight)"},
    {terminate_code::kSequenceRange, "message sequence number out of range"},
    {terminate_code::kInvalidOffset, "wrong message offset"},
    {terminate_code::kMessageTooLong, "message too long"},
    {terminate_code::kUntaggedVersion, "DDP version of an untagged segment not supported"},
    {terminate_code::kCrcMismatch, "CRC mismatch"},
    {terminate_code::kLengthMismatch, "FPDU shorter than its headers"},
    {terminate_code::kInsufficientReads, "more reads wanted in flight than offered"},
};

}  // namespace

void encodeReadRequest(const ReadRequest& request, std::byte* bytes) {
  storeBigEndian(bytes, request.sinkStag);
  storeBigEndian(bytes + 4, request.sinkOffset);
  storeBigEndian(bytes + 12, request.length);
  storeBigEndian(bytes + 16, request.sourceStag);
  storeBigEndian(bytes + 20, request.sourceOffset);
}

ReadRequest parseReadRequest(const std::byte* bytes) {
  return {loadBigEndian<std::uint32_t>(bytes), loadBigEndian<std::uint64_t>(bytes + 4),
          loadBigEndian<std::uint32_t>(bytes + 12), loadBigEndian<std::uint32_t>(bytes + 16),
          loadBigEndian<std::uint64_t>(bytes + 20)};
}

std::string describe(TerminateCode code) {
  char number[48];
  std::snprintf(number, sizeof number, "Terminate layer %u type %u code 0x%02x", unsigned{code.layer},
                unsigned{code.type}, unsigned{code.code});
  for (const Description& known : kDescriptions) {
    if (known.code == code) return std::string(known.text) + " (" + number + ")";
  }
  return number;
}

std::vector<std::byte> encodeTerminate(TerminateCode code, const Culprit& culprit) {
  const bool withHeaders = culprit.headerLength != 0;
  std::vector<std::byte> bytes(4);
  bytes[0] = static_cast<std::byte>((static_cast<unsigned>(code.layer) << 4) | code.type);
  bytes[1] = static_cast<std::byte>(code.code);
  bytes[2] = static_cast<std::byte>((withHeaders ? kHasLength | kHasDdpHeader : 0U) |
                                    (withHeaders && culprit.hasReadRequest ? kHasRdmapHeader : 0U));
  if (!withHeaders) return bytes;
  bytes.resize(6);
  storeBigEndian(&bytes[4], culprit.segmentLength);
  const auto headerEnd = culprit.header.begin() + static_cast<std::ptrdiff_t>(culprit.headerLength);
  bytes.insert(bytes.end(), culprit.header.begin(), headerEnd);
  if (culprit.hasReadRequest) bytes.insert(bytes.end(), culprit.readRequest.begin(), culprit.readRequest.end());
  return bytes;
}

std::optional<TerminateCode> parseTerminate(ConstBytes payload) {
  if (payload.size() < 4) return std::nullopt;
  const auto first = std::to_integer<unsigned>(payload[0]);
  return TerminateCode{static_cast<std::uint8_t>(first >> 4), static_cast<std::uint8_t>(first & 0xfU),
                       std::to_integer<std::uint8_t>(payload[1])};
}

Error terminateError(TerminateCode code, bool swappedNibbles) {
  // Remote protection errors of RDMAP (0, 1), tagged buffer errors of DDP (1, 1) but for the version.
  const bool rdmapProtection = code.layer == 0 && code.type == 1;
  const bool swappedProtection = swappedNibbles && code.layer == 1 && code.type == 0;
  const bool taggedBuffer = code.layer == 1 && code.type == 1 && code != terminate_code::kTaggedVersion;
  if (rdmapProtection || swappedProtection || taggedBuffer) {
    return {ErrorCode::remoteAccess, "the peer refused access: " + describe(code), 0};
  }
  return {ErrorCode::connectionBroken, "the peer ended the connection: " + describe(code), 0};
}

}  // namespace rdmacp::fabric::iwarp::rdmap

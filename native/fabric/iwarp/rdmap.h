// rdmap.h -- RDMAP (RFC 5040): opcodes, the Read Request and the Terminate message.
//
// Encoders and parsers only: no sockets, no state, callable alone and from any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "fabric/iwarp/ddp.h"

namespace rdmacp::fabric::iwarp::rdmap {

using ConstBytes = std::span<const std::byte>;

inline constexpr std::uint8_t kVersion = 1;

// RFC 5040 section 4.2
enum class Opcode : std::uint8_t {
  write = 0,
  readRequest = 1,
  readResponse = 2,
  send = 3,
  sendInvalidate = 4,
  sendSolicited = 5,
  sendSolicitedInvalidate = 6,
  terminate = 7,
};

// RFC 5040 section 4.2: which untagged queue a message uses.
inline constexpr std::uint32_t kSendQueue = 0;
inline constexpr std::uint32_t kReadQueue = 1;
inline constexpr std::uint32_t kTerminateQueue = 2;

// RFC 5040 section 4.4
inline constexpr std::size_t kReadRequestBytes = 28;
struct ReadRequest {
  std::uint32_t sinkStag = 0;
  std::uint64_t sinkOffset = 0;
  std::uint32_t length = 0;
  std::uint32_t sourceStag = 0;
  std::uint64_t sourceOffset = 0;
};
void encodeReadRequest(const ReadRequest& request, std::byte* bytes);
ReadRequest parseReadRequest(const std::byte* bytes);

// RFC 5040 section 4.8: what a Terminate says. layer 0 RDMAP, 1 DDP, 2 LLP (MPA).
struct TerminateCode {
  std::uint8_t layer = 0;
  std::uint8_t type = 0;
  std::uint8_t code = 0;
  friend bool operator==(const TerminateCode&, const TerminateCode&) = default;
};

namespace terminate_code {
// RDMAP, remote protection errors
inline constexpr TerminateCode kReadInvalidStag{0, 1, 0x00};
inline constexpr TerminateCode kReadBounds{0, 1, 0x01};
inline constexpr TerminateCode kAccessRights{0, 1, 0x02};
inline constexpr TerminateCode kReadOffsetWrap{0, 1, 0x04};
inline constexpr TerminateCode kCannotInvalidate{0, 1, 0x09};
// RDMAP, remote operation errors
inline constexpr TerminateCode kRdmapVersion{0, 2, 0x05};
inline constexpr TerminateCode kUnexpectedOpcode{0, 2, 0x06};
inline constexpr TerminateCode kOperationUnspecified{0, 2, 0xff};
// DDP, tagged buffer errors (RFC 5041 section 7)
inline constexpr TerminateCode kTaggedInvalidStag{1, 1, 0x00};
inline constexpr TerminateCode kTaggedBounds{1, 1, 0x01};
inline constexpr TerminateCode kTaggedOffsetWrap{1, 1, 0x03};
inline constexpr TerminateCode kTaggedVersion{1, 1, 0x04};
// DDP, untagged buffer errors
inline constexpr TerminateCode kInvalidQueue{1, 2, 0x01};
inline constexpr TerminateCode kSequenceNoBuffer{1, 2, 0x02};
inline constexpr TerminateCode kSequenceRange{1, 2, 0x03};
inline constexpr TerminateCode kInvalidOffset{1, 2, 0x04};
inline constexpr TerminateCode kMessageTooLong{1, 2, 0x05};
inline constexpr TerminateCode kUntaggedVersion{1, 2, 0x06};
// MPA (RFC 5044 section 8, RFC 6581 section 8)
inline constexpr TerminateCode kCrcMismatch{2, 0, 0x02};
inline constexpr TerminateCode kLengthMismatch{2, 0, 0x03};
inline constexpr TerminateCode kInsufficientReads{2, 0, 0x06};
}  // namespace terminate_code

std::string describe(TerminateCode code);

// What broke the rule, for the Terminate to carry.
struct Culprit {
  std::uint16_t segmentLength = 0;  // ULPDU
  std::array<std::byte, ddp::kMaxHeaderBytes> header{};
  std::size_t headerLength = 0;  // 0: no headers go along
  std::array<std::byte, kReadRequestBytes> readRequest{};
  bool hasReadRequest = false;
};

inline constexpr std::size_t kMaxTerminateBytes = 4 + 2 + ddp::kMaxHeaderBytes + kReadRequestBytes;

// The payload of a Terminate message, and back. Anything shorter than the four bytes of control has no code.
std::vector<std::byte> encodeTerminate(TerminateCode code, const Culprit& culprit);
std::optional<TerminateCode> parseTerminate(ConstBytes payload);

// What a Terminate from the peer says to the one who posted: remoteAccess or connectionBroken.
// swappedNibbles: Linux siw sends the layer in the low half of its byte; told apart only from a foreign peer.
Error terminateError(TerminateCode code, bool swappedNibbles);

}  // namespace rdmacp::fabric::iwarp::rdmap

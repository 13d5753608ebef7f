// messages.h -- the data protocol: private data of a connect, and the few two-sided messages of a connection.
//
// Encoders and parsers only: no sockets, no state, callable alone. docs/data-protocol.md describes the same, byte by
// byte. All integers are little-endian. A message is one Send; a parser takes exactly the bytes received and refuses
// what is too short, too long for its counts, of another magic, or with a count over its limit.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace rdmacp::protocol {

using ConstBytes = std::span<const std::byte>;

inline constexpr std::uint16_t kVersionMin = 1;
inline constexpr std::uint16_t kVersionMax = 1;
inline constexpr std::size_t kTokenBytes = 32;
inline constexpr std::size_t kMaxMessage = 4096;
// (kMaxMessage - sizeof flush header) / 16
inline constexpr std::size_t kMaxFlushRanges = 250;

// Capability of a hello: the client posts RDMA FLUSH where the grant says that it may. Of a grant: the window has the right,
// and what the operation has completed for is durable.
inline constexpr std::uint32_t kCapabilityFlushVerb = 1;

inline constexpr std::uint16_t kMethodNone = 0;
inline constexpr std::uint16_t kMethodFlushVerb = 1;
inline constexpr std::uint16_t kMethodUnitFlush = 2;

using Token = std::array<std::byte, kTokenBytes>;

enum class ConnectionKind : std::uint8_t { data = 1, session = 2 };

// Private data of connect, after the fabric's preamble: 36 bytes (devices may pad it with zeros).
//   0  1  ConnectionKind    1  3  zero    4  32  token
struct ConnectData {
  ConnectionKind kind = ConnectionKind::data;
  Token token{};
};

// Private data of a reject: 8 bytes.   0  2  ErrorCode   2  2  version min   4  2  version max   6  2  zero
struct RejectData {
  ErrorCode code = ErrorCode::ok;
  std::uint16_t versionMin = kVersionMin, versionMax = kVersionMax;
};

enum class MessageType : std::uint16_t {
  hello = 1,          // client -> unit, the first message on every connection (data and session)
  grant = 2,          // unit -> client, the answer on a data connection
  welcome = 3,        // unit -> client, the answer on a session connection
  refuse = 4,         // unit -> client, instead of grant or welcome; the unit closes after it
  flush = 5,          // client -> unit
  flushed = 6,        // unit -> client
  heartbeat = 7,      // client -> unit, session
  heartbeatEcho = 8,  // unit -> client, session
  fenced = 9,         // unit -> client, session: a region handle of the client's lost its region to a later epoch
};

// Every message begins with:   0  4  magic "RDCM"    4  2  MessageType    6  2  version (0 in hello and refuse)

struct Hello {                             // 24 bytes: header, then
  std::uint16_t versionMin = kVersionMin;  //  8  2
  std::uint16_t versionMax = kVersionMax;  // 10  2
  std::uint32_t capabilities = 0;          // 12  4   bits that the client understands; unknown bits are ignored
  std::uint32_t maxMessage = kMaxMessage;  // 16  4   largest message the client takes
  std::uint32_t reserved = 0;              // 20  4
};

struct Grant {                     // 80 bytes: header, then
  std::uint32_t capabilities = 0;  //  8  4   bits of the hello's that the client may make use of
  std::uint32_t remoteKey = 0;     // 12  4
  std::uint64_t base = 0;          // 16  8
  std::uint64_t length = 0;        // 24  8   bytes
  std::uint64_t epoch = 0;         // 32  8
  std::uint64_t unitStart = 0;     // 40  8   number of this start of the unit on its pool
  std::uint32_t rights = 0;        // 48  4   fabric::Access bits
  std::uint32_t credits = 0;       // 52  4   flush messages in flight at most
  std::uint32_t maxMessage = 0;    // 56  4
  std::uint32_t promises = 0;      // 60  4   bit 0 visible, bit 1 durable
  std::uint64_t handle = 0;        // 64  8   the open that the token was issued for
  std::uint64_t reserved = 0;      // 72  8
};

struct Welcome {                   // 72 bytes: header, then
  std::uint32_t capabilities = 0;  //  8  4
  std::uint32_t heartbeatMs = 0;   // 12  4   how often the client shall send one
  std::uint64_t session = 0;       // 16  8
  std::uint64_t unitStart = 0;     // 24  8
  std::uint64_t reserved = 0;      // 32  8
  Token spare{};                   // 40 32   for the session's next connection; all 0: none
};

struct Refuse {                            // 16 bytes + text: header, then
  ErrorCode code = ErrorCode::ok;          //  8  2
  std::uint16_t versionMin = kVersionMin;  // 10  2   of the unit
  std::uint16_t versionMax = kVersionMax;  // 12  2
  std::string text;                        // 14  2 length (<= 256), then UTF-8
};

struct FlushRange {
  std::uint64_t offset = 0;  // in the region
  std::uint64_t length = 0;
};

struct Flush {                     // 24 bytes + 16 a range: header, then
  std::uint64_t request = 0;       //  8  8   the client's number, echoed
  std::vector<FlushRange> ranges;  // 16  4 count (1..kMaxFlushRanges), 4 zero, then offset 8, length 8 each
};

struct Flushed {                   // 32 bytes: header, then
  std::uint64_t request = 0;       //  8  8
  ErrorCode code = ErrorCode::ok;  // 16  2
  std::uint16_t method = 0;        // 18  2   0 none, 1 flush-verb, 2 unit-flush, 3 read-after-write
  std::int32_t systemError = 0;    // 20  4   errno of the medium
  std::uint64_t epoch = 0;         // 24  8
};

struct Heartbeat {              // 32 bytes: header, then (also the echo, with everything but loopAgeMs sent back)
  std::uint64_t sequence = 0;   //  8  8
  std::uint64_t sentAtNs = 0;   // 16  8   the client's monotonic clock, echoed
  std::uint32_t loopAgeMs = 0;  // 24  4   since the client's event loop last turned
  std::uint32_t reserved = 0;   // 28  4
};

struct Fenced {                // 32 bytes: header, then
  std::uint64_t handle = 0;    //  8  8
  std::uint64_t epoch = 0;     // 16  8   the epoch that owns the region now
  std::uint64_t reserved = 0;  // 24  8
};

std::vector<std::byte> encode(const ConnectData& data);
std::vector<std::byte> encode(const RejectData& data);
std::vector<std::byte> encode(const Hello& message);
std::vector<std::byte> encode(const Grant& message, std::uint16_t version);
std::vector<std::byte> encode(const Welcome& message, std::uint16_t version);
std::vector<std::byte> encode(const Refuse& message);
std::vector<std::byte> encode(const Flush& message, std::uint16_t version);
std::vector<std::byte> encode(const Flushed& message, std::uint16_t version);
std::vector<std::byte> encode(const Heartbeat& message, MessageType type, std::uint16_t version);
std::vector<std::byte> encode(const Fenced& message, std::uint16_t version);

struct MessageHeader {
  MessageType type{};
  std::uint16_t version = 0;
};

// protocolViolation with a message that names what was wrong.
Result<MessageHeader> parseHeader(ConstBytes bytes);
Result<ConnectData> parseConnectData(ConstBytes bytes);
Result<RejectData> parseRejectData(ConstBytes bytes);
Result<Hello> parseHello(ConstBytes bytes);
Result<Grant> parseGrant(ConstBytes bytes);
Result<Welcome> parseWelcome(ConstBytes bytes);
Result<Refuse> parseRefuse(ConstBytes bytes);
Result<Flush> parseFlush(ConstBytes bytes);
Result<Flushed> parseFlushed(ConstBytes bytes);
Result<Heartbeat> parseHeartbeat(ConstBytes bytes);
Result<Fenced> parseFenced(ConstBytes bytes);

// The highest version both ranges hold, or nothing.
std::optional<std::uint16_t> commonVersion(std::uint16_t minA, std::uint16_t maxA, std::uint16_t minB,
                                           std::uint16_t maxB);

}  // namespace rdmacp::protocol

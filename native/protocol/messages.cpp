// messages.cpp -- encoders and parsers of the data protocol (docs/data-protocol.md). Any thread; nothing is owned.
//
// Lengths are checked before anything is read, counts before anything is allocated.
#include "protocol/messages.h"

#include <algorithm>

#include "protocol/wire_bytes.h"

namespace rdmacp::protocol {
namespace {

constexpr std::uint32_t kMagic = 0x4d434452;  // "RDCM" as little-endian bytes
constexpr std::size_t kHeaderBytes = 8;
constexpr std::size_t kConnectDataBytes = 36;
constexpr std::size_t kRejectDataBytes = 8;
constexpr std::size_t kHelloBytes = 24;
constexpr std::size_t kGrantBytes = 80;
constexpr std::size_t kWelcomeBytes = 72;
constexpr std::size_t kRefuseFixedBytes = 16;
constexpr std::size_t kMaxRefuseText = 256;
constexpr std::size_t kFlushFixedBytes = 24;
constexpr std::size_t kFlushRangeBytes = 16;
constexpr std::size_t kFlushedBytes = 32;
constexpr std::size_t kHeartbeatBytes = 32;
constexpr std::size_t kFencedBytes = 32;
constexpr std::uint32_t kAllRights = 3;
constexpr std::uint16_t kLastFlushMethod = 3;

static_assert(kFlushFixedBytes + kMaxFlushRanges * kFlushRangeBytes <= kMaxMessage);

Error violation(std::string message) {
  return Error{ErrorCode::protocolViolation, std::move(message), 0};
}

std::string quantity(std::size_t bytes) {
  return std::to_string(bytes) + " bytes";
}

const char* nameOf(MessageType type) {
  switch (type) {
    case MessageType::hello:
      return "hello";
    case MessageType::grant:
      return "grant";
    case MessageType::welcome:
      return "welcome";
    case MessageType::refuse:
      return "refuse";
    case MessageType::flush:
      return "flush";
    case MessageType::flushed:
      return "flushed";
    case MessageType::heartbeat:
      return "heartbeat";
    case MessageType::heartbeatEcho:
      return "heartbeat echo";
    case MessageType::fenced:
      return "fenced";
  }
  return "unknown";
}

bool isKnown(std::uint16_t type) {
  return type >= static_cast<std::uint16_t>(MessageType::hello) &&
         type <= static_cast<std::uint16_t>(MessageType::fenced);
}

// Hello and refuse are exchanged before a version is agreed on.
bool hasVersion(MessageType type) {
  return type != MessageType::hello && type != MessageType::refuse;
}

WireWriter begin(MessageType type, std::uint16_t version, std::size_t bytes) {
  WireWriter writer(bytes);
  writer.put(kMagic);
  writer.put(static_cast<std::uint16_t>(type));
  writer.put(version);
  return writer;
}

// The body of a message that must be of this type and exactly this long.
Result<WireReader> bodyOf(ConstBytes bytes, MessageType type, std::size_t exactBytes) {
  const auto header = parseHeader(bytes);
  if (!header) return header.error();
  if (header.value().type != type) {
    return violation(std::string("a ") + nameOf(type) + " message was expected, a " + nameOf(header.value().type) +
                     " message came");
  }
  if (bytes.size() != exactBytes) {
    return violation(std::string("a ") + nameOf(type) + " message is " + quantity(exactBytes) + " long, " +
                     quantity(bytes.size()) + " came");
  }
  return WireReader(bytes.subspan(kHeaderBytes));
}

bool allZero(ConstBytes bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

// Cut at a character's first byte, so that the text stays UTF-8.
std::string_view withinRefuseText(std::string_view text) {
  if (text.size() <= kMaxRefuseText) return text;
  std::size_t end = kMaxRefuseText;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80)
    --end;
  return text.substr(0, end);
}

}  // namespace

std::vector<std::byte> encode(const ConnectData& data) {
  WireWriter writer(kConnectDataBytes);
  writer.put(static_cast<std::uint8_t>(data.kind));
  for (int i = 0; i < 3; ++i)
    writer.put(std::uint8_t{0});
  writer.put(std::span<const std::byte>(data.token));
  return writer.take();
}

std::vector<std::byte> encode(const RejectData& data) {
  WireWriter writer(kRejectDataBytes);
  writer.put(static_cast<std::uint16_t>(data.code));
  writer.put(data.versionMin);
  writer.put(data.versionMax);
  writer.put(std::uint16_t{0});
  return writer.take();
}

std::vector<std::byte> encode(const Hello& message) {
  auto writer = begin(MessageType::hello, 0, kHelloBytes);
  writer.put(message.versionMin);
  writer.put(message.versionMax);
  writer.put(message.capabilities);
  writer.put(message.maxMessage);
  writer.put(message.reserved);
  return writer.take();
}

std::vector<std::byte> encode(const Grant& message, std::uint16_t version) {
  auto writer = begin(MessageType::grant, version, kGrantBytes);
  writer.put(message.capabilities);
  writer.put(message.remoteKey);
  writer.put(message.base);
  writer.put(message.length);
  writer.put(message.epoch);
  writer.put(message.unitStart);
  writer.put(message.rights);
  writer.put(message.credits);
  writer.put(message.maxMessage);
  writer.put(message.promises);
  writer.put(message.handle);
  writer.put(message.reserved);
  return writer.take();
}

std::vector<std::byte> encode(const Welcome& message, std::uint16_t version) {
  auto writer = begin(MessageType::welcome, version, kWelcomeBytes);
  writer.put(message.capabilities);
  writer.put(message.heartbeatMs);
  writer.put(message.session);
  writer.put(message.unitStart);
  writer.put(message.reserved);
  writer.put(std::span(message.spare));
  return writer.take();
}

std::vector<std::byte> encode(const Refuse& message) {
  const auto text = withinRefuseText(message.text);
  auto writer = begin(MessageType::refuse, 0, kRefuseFixedBytes + text.size());
  writer.put(static_cast<std::uint16_t>(message.code));
  writer.put(message.versionMin);
  writer.put(message.versionMax);
  writer.put(static_cast<std::uint16_t>(text.size()));
  writer.put(std::as_bytes(std::span(text)));
  return writer.take();
}

std::vector<std::byte> encode(const Flush& message, std::uint16_t version) {
  auto writer = begin(MessageType::flush, version, kFlushFixedBytes + message.ranges.size() * kFlushRangeBytes);
  writer.put(message.request);
  writer.put(static_cast<std::uint32_t>(message.ranges.size()));
  writer.put(std::uint32_t{0});
  for (const auto& range : message.ranges) {
    writer.put(range.offset);
    writer.put(range.length);
  }
  return writer.take();
}

std::vector<std::byte> encode(const Flushed& message, std::uint16_t version) {
  auto writer = begin(MessageType::flushed, version, kFlushedBytes);
  writer.put(message.request);
  writer.put(static_cast<std::uint16_t>(message.code));
  writer.put(message.method);
  writer.put(static_cast<std::uint32_t>(message.systemError));
  writer.put(message.epoch);
  return writer.take();
}

std::vector<std::byte> encode(const Heartbeat& message, MessageType type, std::uint16_t version) {
  auto writer = begin(type, version, kHeartbeatBytes);
  writer.put(message.sequence);
  writer.put(message.sentAtNs);
  writer.put(message.loopAgeMs);
  writer.put(message.reserved);
  return writer.take();
}

std::vector<std::byte> encode(const Fenced& message, std::uint16_t version) {
  auto writer = begin(MessageType::fenced, version, kFencedBytes);
  writer.put(message.handle);
  writer.put(message.epoch);
  writer.put(message.reserved);
  return writer.take();
}

Result<MessageHeader> parseHeader(ConstBytes bytes) {
  if (bytes.size() < kHeaderBytes) {
    return violation("a message has a header of 8 bytes, " + quantity(bytes.size()) + " came");
  }
  if (bytes.size() > kMaxMessage) {
    return violation("a message is at most " + quantity(kMaxMessage) + " long, " + quantity(bytes.size()) + " came");
  }
  WireReader reader(bytes);
  if (reader.take<std::uint32_t>() != kMagic) return violation("a message begins with RDCM; this one does not");
  const auto type = reader.take<std::uint16_t>();
  const auto version = reader.take<std::uint16_t>();
  if (!isKnown(type)) return violation("message type " + std::to_string(type) + " is not known");
  const auto known = static_cast<MessageType>(type);
  if (hasVersion(known) != (version != 0)) {
    return violation(std::string("a ") + nameOf(known) + " message cannot have version " + std::to_string(version));
  }
  return MessageHeader{known, version};
}

Result<ConnectData> parseConnectData(ConstBytes bytes) {
  if (bytes.size() < kConnectDataBytes) {
    return violation("the private data of a connect is " + quantity(kConnectDataBytes) + " long, " +
                     quantity(bytes.size()) + " came");
  }
  WireReader reader(bytes);
  const auto kind = reader.take<std::uint8_t>();
  if (kind != static_cast<std::uint8_t>(ConnectionKind::data) &&
      kind != static_cast<std::uint8_t>(ConnectionKind::session)) {
    return violation("connection kind " + std::to_string(kind) + " is not known");
  }
  if (!allZero(reader.takeBytes(3))) return violation("bytes 1 to 3 of the private data of a connect are not zero");
  ConnectData data;
  data.kind = static_cast<ConnectionKind>(kind);
  const auto token = reader.takeBytes(kTokenBytes);
  std::copy(token.begin(), token.end(), data.token.begin());
  if (!allZero(reader.takeBytes(reader.left())))
    return violation("the private data of a connect has bytes after the token");
  return data;
}

Result<RejectData> parseRejectData(ConstBytes bytes) {
  if (bytes.size() < kRejectDataBytes) {
    return violation("the private data of a reject is " + quantity(kRejectDataBytes) + " long, " +
                     quantity(bytes.size()) + " came");
  }
  WireReader reader(bytes);
  RejectData data;
  data.code = static_cast<ErrorCode>(reader.take<std::uint16_t>());
  data.versionMin = reader.take<std::uint16_t>();
  data.versionMax = reader.take<std::uint16_t>();
  if (!allZero(reader.takeBytes(reader.left())))
    return violation("the private data of a reject has bytes after its end");
  return data;
}

Result<Hello> parseHello(ConstBytes bytes) {
  auto body = bodyOf(bytes, MessageType::hello, kHelloBytes);
  if (!body) return body.error();
  auto& reader = body.value();
  Hello message;
  message.versionMin = reader.take<std::uint16_t>();
  message.versionMax = reader.take<std::uint16_t>();
  message.capabilities = reader.take<std::uint32_t>();
  message.maxMessage = reader.take<std::uint32_t>();
  message.reserved = reader.take<std::uint32_t>();
  if (message.versionMin == 0 || message.versionMin > message.versionMax) {
    return violation("a hello with versions " + std::to_string(message.versionMin) + " to " +
                     std::to_string(message.versionMax) + " makes no sense");
  }
  return message;
}

Result<Grant> parseGrant(ConstBytes bytes) {
  auto body = bodyOf(bytes, MessageType::grant, kGrantBytes);
  if (!body) return body.error();
  auto& reader = body.value();
  Grant message;
  message.capabilities = reader.take<std::uint32_t>();
  message.remoteKey = reader.take<std::uint32_t>();
  message.base = reader.take<std::uint64_t>();
  message.length = reader.take<std::uint64_t>();
  message.epoch = reader.take<std::uint64_t>();
  message.unitStart = reader.take<std::uint64_t>();
  message.rights = reader.take<std::uint32_t>();
  message.credits = reader.take<std::uint32_t>();
  message.maxMessage = reader.take<std::uint32_t>();
  message.promises = reader.take<std::uint32_t>();
  message.handle = reader.take<std::uint64_t>();
  message.reserved = reader.take<std::uint64_t>();
  if (message.rights == 0 || message.rights > kAllRights) {
    return violation("a grant with rights " + std::to_string(message.rights) + " makes no sense");
  }
  if (message.base + message.length < message.base) return violation("the range of a grant wraps around");
  return message;
}

Result<Welcome> parseWelcome(ConstBytes bytes) {
  auto body = bodyOf(bytes, MessageType::welcome, kWelcomeBytes);
  if (!body) return body.error();
  auto& reader = body.value();
  Welcome message;
  message.capabilities = reader.take<std::uint32_t>();
  message.heartbeatMs = reader.take<std::uint32_t>();
  message.session = reader.take<std::uint64_t>();
  message.unitStart = reader.take<std::uint64_t>();
  message.reserved = reader.take<std::uint64_t>();
  const auto spare = reader.takeBytes(kTokenBytes);
  std::copy(spare.begin(), spare.end(), message.spare.begin());
  if (message.heartbeatMs == 0) return violation("a welcome that asks for a heartbeat every 0 ms makes no sense");
  return message;
}

Result<Refuse> parseRefuse(ConstBytes bytes) {
  const auto header = parseHeader(bytes);
  if (!header) return header.error();
  if (bytes.size() < kRefuseFixedBytes) {
    return violation("a refuse message has at least " + quantity(kRefuseFixedBytes) + ", " + quantity(bytes.size()) +
                     " came");
  }
  const auto textBytes = WireReader(bytes.subspan(14)).take<std::uint16_t>();
  if (textBytes > kMaxRefuseText) {
    return violation("the text of a refuse message is at most " + quantity(kMaxRefuseText) + " long, this one says " +
                     std::to_string(textBytes));
  }
  auto body = bodyOf(bytes, MessageType::refuse, kRefuseFixedBytes + textBytes);
  if (!body) return body.error();
  auto& reader = body.value();
  Refuse message;
  message.code = static_cast<ErrorCode>(reader.take<std::uint16_t>());
  message.versionMin = reader.take<std::uint16_t>();
  message.versionMax = reader.take<std::uint16_t>();
  reader.take<std::uint16_t>();
  message.text.reserve(textBytes);
  for (const auto b : reader.takeBytes(textBytes))
    message.text.push_back(static_cast<char>(b));
  return message;
}

Result<Flush> parseFlush(ConstBytes bytes) {
  const auto header = parseHeader(bytes);
  if (!header) return header.error();
  if (bytes.size() < kFlushFixedBytes) {
    return violation("a flush message has at least " + quantity(kFlushFixedBytes) + ", " + quantity(bytes.size()) +
                     " came");
  }
  const auto count = WireReader(bytes.subspan(16)).take<std::uint32_t>();
  if (count == 0 || count > kMaxFlushRanges) {
    return violation("a flush message has 1 to " + std::to_string(kMaxFlushRanges) + " ranges, this one says " +
                     std::to_string(count));
  }
  auto body = bodyOf(bytes, MessageType::flush, kFlushFixedBytes + count * kFlushRangeBytes);
  if (!body) return body.error();
  auto& reader = body.value();
  Flush message;
  message.request = reader.take<std::uint64_t>();
  reader.take<std::uint32_t>();
  if (reader.take<std::uint32_t>() != 0) return violation("bytes 20 to 23 of a flush message are not zero");
  message.ranges.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    FlushRange range;
    range.offset = reader.take<std::uint64_t>();
    range.length = reader.take<std::uint64_t>();
    message.ranges.push_back(range);
  }
  return message;
}

Result<Flushed> parseFlushed(ConstBytes bytes) {
  auto body = bodyOf(bytes, MessageType::flushed, kFlushedBytes);
  if (!body) return body.error();
  auto& reader = body.value();
  Flushed message;
  message.request = reader.take<std::uint64_t>();
  message.code = static_cast<ErrorCode>(reader.take<std::uint16_t>());
  message.method = reader.take<std::uint16_t>();
  message.systemError = static_cast<std::int32_t>(reader.take<std::uint32_t>());
  message.epoch = reader.take<std::uint64_t>();
  if (message.method > kLastFlushMethod) {
    return violation("flush method " + std::to_string(message.method) + " is not known");
  }
  return message;
}

Result<Heartbeat> parseHeartbeat(ConstBytes bytes) {
  const auto header = parseHeader(bytes);
  if (!header) return header.error();
  const auto type =
      header.value().type == MessageType::heartbeatEcho ? MessageType::heartbeatEcho : MessageType::heartbeat;
  auto body = bodyOf(bytes, type, kHeartbeatBytes);
  if (!body) return body.error();
  auto& reader = body.value();
  Heartbeat message;
  message.sequence = reader.take<std::uint64_t>();
  message.sentAtNs = reader.take<std::uint64_t>();
  message.loopAgeMs = reader.take<std::uint32_t>();
  message.reserved = reader.take<std::uint32_t>();
  return message;
}

Result<Fenced> parseFenced(ConstBytes bytes) {
  auto body = bodyOf(bytes, MessageType::fenced, kFencedBytes);
  if (!body) return body.error();
  auto& reader = body.value();
  Fenced message;
  message.handle = reader.take<std::uint64_t>();
  message.epoch = reader.take<std::uint64_t>();
  message.reserved = reader.take<std::uint64_t>();
  return message;
}

std::optional<std::uint16_t> commonVersion(std::uint16_t minA, std::uint16_t maxA, std::uint16_t minB,
                                           std::uint16_t maxB) {
  const auto lowest = std::max(minA, minB);
  const auto highest = std::min(maxA, maxB);
  if (lowest > highest) return std::nullopt;
  return highest;
}

}  // namespace rdmacp::protocol

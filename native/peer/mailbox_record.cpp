// mailbox_record.cpp -- see mailbox_record.h. Pure functions, any thread.
#include "peer/mailbox_record.h"

#include <algorithm>

#include "base/crc32c.h"
#include "peer/status_block.h"
#include "protocol/wire_bytes.h"

namespace rdmacp::peer {

namespace {

constexpr std::uint32_t kMagic = 0x4d504452;  // "RDPM"
constexpr std::size_t kChecked = kMailboxBytes - 4;
constexpr std::size_t kReserved = 44;

Error violation(const std::string& what) {
  return {ErrorCode::protocolViolation, "the record in the mailbox: " + what, 0};
}

}  // namespace

std::array<std::byte, kMailboxBytes> encode(const MailboxRecord& record) {
  protocol::WireWriter out(kMailboxBytes);
  out.put(kMagic);
  out.put(record.version);
  out.put(static_cast<std::uint16_t>(kMailboxBytes));
  out.put(static_cast<std::uint32_t>(record.step));
  out.put(record.status.key);
  out.put(record.status.base);
  out.put(record.status.length);
  out.put(record.sender);
  out.put(record.receiver);
  out.put(record.connection);
  out.put(std::array<std::byte, kReserved>{});
  const auto written = out.take();
  protocol::WireWriter checksum(4);
  checksum.put(crc32c(0, written));
  std::array<std::byte, kMailboxBytes> bytes{};
  std::copy(written.begin(), written.end(), bytes.begin());
  std::ranges::copy(checksum.take(), bytes.begin() + kChecked);
  return bytes;
}

Result<std::optional<MailboxRecord>> parseMailboxRecord(std::span<const std::byte, kMailboxBytes> bytes,
                                                        std::uint16_t version) {
  if (crc32c(0, bytes.first(kChecked)) != protocol::WireReader(bytes.subspan(kChecked)).take<std::uint32_t>()) {
    return std::optional<MailboxRecord>{};
  }
  protocol::WireReader in(bytes);
  // The checksum of zeros does not hold by itself: an empty mailbox does not come this far.
  if (in.take<std::uint32_t>() != kMagic) return violation("it does not begin with its magic");
  MailboxRecord record;
  record.version = in.take<std::uint16_t>();
  if (record.version != version) {
    return Error{ErrorCode::versionMismatch,
                 "the record in the mailbox has version " + std::to_string(record.version) + ", and version " +
                     std::to_string(version) + " was agreed on",
                 0};
  }
  if (const auto length = in.take<std::uint16_t>(); length != kMailboxBytes) {
    return violation("it says that it has " + std::to_string(length) + " bytes");
  }
  const auto step = in.take<std::uint32_t>();
  record.step = static_cast<MailStep>(step);
  if (record.step != MailStep::introduction && record.step != MailStep::confirmation) {
    return violation("step " + std::to_string(step));
  }
  record.status.key = in.take<std::uint32_t>();
  record.status.base = in.take<std::uint64_t>();
  record.status.length = in.take<std::uint64_t>();
  std::ranges::copy(in.takeBytes(kIdentityBytes), record.sender.begin());
  std::ranges::copy(in.takeBytes(kIdentityBytes), record.receiver.begin());
  std::ranges::copy(in.takeBytes(kIdentityBytes), record.connection.begin());
  if (Status window = checkWindow(record.status, kStatusBytes, "status block"); !window) return window.error();
  return std::optional<MailboxRecord>{record};
}

Status checkWindow(const fabric::RemoteWindow& window, std::size_t bytes, const char* what) {
  if (window.length == bytes && window.base + window.length >= window.base) return {};
  return Error{ErrorCode::protocolViolation,
               std::string("the partner's ") + what + " is to have " + std::to_string(bytes) + " bytes, not " +
                   std::to_string(window.length) + " at " + std::to_string(window.base),
               0};
}

}  // namespace rdmacp::peer

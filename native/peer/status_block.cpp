// status_block.cpp -- see status_block.h. Pure functions, any thread.
#include "peer/status_block.h"

#include <algorithm>

#include "base/crc32c.h"
#include "protocol/wire_bytes.h"

namespace rdmacp::peer {

namespace {

constexpr std::uint32_t kMagic = 0x53504452;  // "RDPS"
constexpr std::size_t kChecked = kStatusBytes - 4;
constexpr std::size_t kReserved = 16;

bool isPrintable(char character) {
  return character > ' ' && character <= '~';
}

Error violation(const std::string& what) {
  return {ErrorCode::protocolViolation, "the partner's status block: " + what, 0};
}

}  // namespace

bool isState(std::string_view text) {
  return !text.empty() && text.size() <= kMaxState && std::all_of(text.begin(), text.end(), isPrintable);
}

std::array<std::byte, kStatusBytes> encode(const StatusBlock& block) {
  protocol::WireWriter out(kStatusBytes);
  out.put(kMagic);
  out.put(block.version);
  out.put(static_cast<std::uint16_t>(kStatusBytes));
  out.put(block.sequence);
  out.put(block.bootId);
  std::array<std::byte, kMaxState> state{};
  for (std::size_t i = 0; i < std::min(block.state.size(), kMaxState); ++i)
    state[i] = static_cast<std::byte>(block.state[i]);
  out.put(state);
  out.put(block.epoch);
  out.put(block.progress);
  out.put(block.clockMs);
  out.put(block.turnedMs);
  out.put(block.greeted);
  out.put(block.greetedStep);
  out.put(std::array<std::byte, kReserved>{});
  const auto written = out.take();
  protocol::WireWriter checksum(4);
  checksum.put(crc32c(0, written));
  std::array<std::byte, kStatusBytes> bytes{};
  std::copy(written.begin(), written.end(), bytes.begin());
  std::ranges::copy(checksum.take(), bytes.begin() + kChecked);
  return bytes;
}

Result<std::optional<StatusBlock>> parseStatusBlock(std::span<const std::byte, kStatusBytes> bytes,
                                                    std::uint16_t version) {
  protocol::WireReader in(bytes);
  StatusBlock block;
  // These never change, so that they are what they are even in a block that is being written.
  if (in.take<std::uint32_t>() != kMagic) return violation("it does not begin with its magic");
  block.version = in.take<std::uint16_t>();
  if (block.version != version) {
    return Error{ErrorCode::versionMismatch,
                 "the partner's status block has version " + std::to_string(block.version) + ", and version " +
                     std::to_string(version) + " was agreed on",
                 0};
  }
  if (const auto length = in.take<std::uint16_t>(); length != kStatusBytes) {
    return violation("it says that it has " + std::to_string(length) + " bytes");
  }
  if (crc32c(0, bytes.first(kChecked)) != protocol::WireReader(bytes.subspan(kChecked)).take<std::uint32_t>()) {
    return std::optional<StatusBlock>{};
  }
  block.sequence = in.take<std::uint64_t>();
  std::ranges::copy(in.takeBytes(kIdentityBytes), block.bootId.begin());
  for (const std::byte byte : in.takeBytes(kMaxState))
    block.state.push_back(static_cast<char>(byte));
  const auto end = block.state.find('\0');
  if (end != std::string::npos && block.state.find_first_not_of('\0', end) != std::string::npos) {
    return violation("its state goes on behind its end");
  }
  block.state.resize(std::min(end, block.state.size()));
  if (!isState(block.state)) return violation("its state is no printable text");
  block.epoch = in.take<std::uint64_t>();
  block.progress = in.take<std::uint64_t>();
  block.clockMs = in.take<std::uint64_t>();
  block.turnedMs = in.take<std::uint64_t>();
  if (block.turnedMs > block.clockMs) return violation("its event loop turned in the future");
  std::ranges::copy(in.takeBytes(kIdentityBytes), block.greeted.begin());
  block.greetedStep = in.take<std::uint32_t>();
  return std::optional<StatusBlock>{std::move(block)};
}

}  // namespace rdmacp::peer

// status_block.h -- what a process says about itself, where its partner reads it by RDMA.
//
// Encoder and parser only, any thread. docs/peer-protocol.md describes the same, byte by byte; integers are little-endian.
// No atomicity is assumed: a block that is read while it changes fails its checksum and is read again.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/result.h"
#include "peer/identity.h"

namespace rdmacp::peer {

inline constexpr std::size_t kStatusBytes = 128;
inline constexpr std::size_t kMaxState = 24;

struct StatusBlock {              //   0  4  magic "RDPS"
  std::uint16_t version = 0;      //   4  2     6  2  bytes of the block
  std::uint64_t sequence = 0;     //   8  8   grows whenever the block is written
  BootId bootId{};                //  16 16
  std::string state;              //  32 24   1 to 24 printable ASCII characters without space, padded with zeros
  std::uint64_t epoch = 0;        //  56  8
  std::uint64_t progress = 0;     //  64  8
  std::uint64_t clockMs = 0;      //  72  8   since the link was started; a native thread keeps it going
  std::uint64_t turnedMs = 0;     //  80  8   the clock when the event loop last turned
  Nonce greeted{};                //  88 16   of the connection whose mail was taken last
  std::uint32_t greetedStep = 0;  // 104  4   0 none, 1 introduction, 2 confirmation
                                  // 108 16  zero   124  4  CRC32C of bytes 0..123
};

std::array<std::byte, kStatusBytes> encode(const StatusBlock& block);

// Nothing: its checksum does not hold, as when it was written meanwhile. versionMismatch; protocolViolation with what
// was wrong.
Result<std::optional<StatusBlock>> parseStatusBlock(std::span<const std::byte, kStatusBytes> bytes,
                                                    std::uint16_t version);

// Whether a text may be the state of a block.
bool isState(std::string_view text);

}  // namespace rdmacp::peer

// mailbox_record.h -- what the connecting side of a peer link writes by RDMA into the other's mailbox.
//
// Encoder and parser only, any thread. docs/peer-protocol.md describes the same, byte by byte; integers are little-endian.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/result.h"
#include "fabric/fabric.h"
#include "peer/identity.h"

namespace rdmacp::peer {

inline constexpr std::size_t kMailboxBytes = 128;

enum class MailStep : std::uint32_t { introduction = 1, confirmation = 2 };

struct MailboxRecord {                     //   0  4  magic "RDPM"
  std::uint16_t version = 0;               //   4  2     6  2  bytes of the record
  MailStep step = MailStep::introduction;  //   8  4
  fabric::RemoteWindow status;             //  12  4  key   16  8  base   24  8  length of the sender's status block
  BootId sender{};                         //  32 16
  BootId receiver{};                       //  48 16
  Nonce connection{};                      //  64 16   the connecting side's nonce of this connection
                                           //  80 44  zero   124  4  CRC32C of bytes 0..123
};

std::array<std::byte, kMailboxBytes> encode(const MailboxRecord& record);

// Nothing: empty, or its checksum does not hold (yet). versionMismatch; protocolViolation with what was wrong.
Result<std::optional<MailboxRecord>> parseMailboxRecord(std::span<const std::byte, kMailboxBytes> bytes,
                                                        std::uint16_t version);

// A window that comes from the network and is to hold so many bytes; protocolViolation.
Status checkWindow(const fabric::RemoteWindow& window, std::size_t bytes, const char* what);

}  // namespace rdmacp::peer

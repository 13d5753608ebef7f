// greeting.h -- how two ends of a peer link get to know each other: private data of connect and accept, a proof, an offer.
//
// Encoders, parsers and proofs only, any thread. docs/peer-protocol.md describes the same, byte by byte; integers are
// little-endian. A reject carries protocol::RejectData and a refusal is protocol::Refuse, so that a client of a unit
// that comes to the wrong port understands them, and the other way round.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/sha256.h"
#include "fabric/fabric.h"
#include "peer/identity.h"

namespace rdmacp::peer {

inline constexpr std::uint16_t kVersionMin = 1;
inline constexpr std::uint16_t kVersionMax = 1;
// The longest is a refusal: 16 bytes and 256 of text.
inline constexpr std::size_t kMaxMessage = 512;

// What of a connect shows, before anything is kept for it, that its sender knows the pair's key. Whoever has heard one can say
// it again: the proof, which covers both ends' nonces, comes after it.
using Ticket = std::array<std::byte, 8>;

// Private data of connect, and of accept: 48 bytes (devices may pad them with zeros).
struct Introduction {            //  0  4  magic "RDPL"
  std::uint16_t versionMin = 0;  //  4  2   of an accept: the version agreed on
  std::uint16_t versionMax = 0;  //  6  2   of an accept: the same
  BootId bootId{};               //  8 16
  Nonce nonce{};                 // 24 16
  Ticket ticket{};               // 40  8   of an accept: zero
};
static_assert(fabric::kMaxPrivateData >= 48);

// The connecting side's first message: 40 bytes.
struct Proof {                //  0  4  magic "RDPL"   4  2  type 1
  std::uint16_t version = 0;  //  6  2
  Sha256 proof{};             //  8 32
};

// The accepting side's answer: 88 bytes.
struct Offer {                   //  0  4  magic "RDPL"   4  2  type 2
  std::uint16_t version = 0;     //  6  2
  fabric::RemoteWindow status;   //  8  4  key   16  8  base   24  8  length
  fabric::RemoteWindow mailbox;  // 12  4  key   32  8  base   40  8  length
                                 // 48  8  zero
  Sha256 proof{};                // 56 32
};

std::vector<std::byte> encode(const Introduction& introduction);
std::vector<std::byte> encode(const Proof& proof);
std::vector<std::byte> encode(const Offer& offer);

// protocolViolation, with what was wrong.
Result<Introduction> parseIntroduction(fabric::ConstBytes bytes);
Result<Proof> parseProof(fabric::ConstBytes bytes);
Result<Offer> parseOffer(fabric::ConstBytes bytes);

// What both ends of a pair know and nobody else: derived from their secret (may be empty) and the pair's name.
Sha256 pairKey(std::span<const std::byte> secret, std::span<const std::byte> name);

// The ticket that belongs into an introduction, whatever ticket it has.
Ticket ticketOf(const Sha256& key, const Introduction& introduction);

// One connection as both ends have seen it set up. The proofs cover it all, so that none fits another connection, the
// other direction or other windows.
struct Acquaintance {
  Introduction connecting;
  Introduction accepting;
};
Sha256 proofOf(const Sha256& key, const Acquaintance& acquaintance);
Sha256 proofOf(const Sha256& key, const Acquaintance& acquaintance, const Offer& offer);

}  // namespace rdmacp::peer

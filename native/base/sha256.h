// sha256.h -- SHA-256 (FIPS 180-4) and HMAC-SHA-256 (RFC 2104), for proofs that a peer knows a secret.
//
// Pure functions, any thread. For messages of a few hundred bytes: no attempt at speed.
#pragma once

#include <array>
#include <cstddef>
#include <span>

namespace rdmacp {

using Sha256 = std::array<std::byte, 32>;

Sha256 sha256(std::span<const std::byte> bytes);
Sha256 hmacSha256(std::span<const std::byte> key, std::span<const std::byte> bytes);

// Takes as long for equal as for unequal ones.
bool sameProof(const Sha256& a, const Sha256& b);

}  // namespace rdmacp

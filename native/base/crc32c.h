// crc32c.h -- the Castagnoli CRC (RFC 3720 appendix B.4) that MPA, the pool and the checkpoint records use.
//
// Pure functions, any thread. The seed of the first call is 0; a running checksum is continued by passing the last
// result as the seed: crc32c(crc32c(0, a), b) == crc32c(0, ab).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace rdmacp {

std::uint32_t crc32c(std::uint32_t seed, std::span<const std::byte> bytes);

// Copies source to target and checksums what it copied, in one pass: every byte is loaded once, so that the checksum is
// that of the copy even while another thread changes the source. The two must not overlap.
std::uint32_t copyCrc32c(std::uint32_t seed, std::byte* target, std::span<const std::byte> source);

namespace crc32c_detail {

// The implementations, apart so that tests can hold each against the others. They work on the raw (inverted) state.
using Function = std::uint32_t (*)(std::uint32_t state, const std::byte* source, std::size_t length);
using CopyFunction = std::uint32_t (*)(std::uint32_t state, std::byte* target, const std::byte* source,
                                       std::size_t length);

struct Implementation {
  const char* name;
  Function checksum;
  CopyFunction copy;
};

const Implementation& tableImplementation();
const Implementation& chosenImplementation();  // the fastest that this machine has
const Implementation* sse42Implementation();   // null elsewhere than on x86-64; needs SSE 4.2 and PCLMUL to be called

// x^exponent modulo the Castagnoli polynomial, bits reflected: the constant that moves a checksum over zeros.
constexpr std::uint32_t powerOfX(std::uint64_t exponent) {
  std::uint32_t value = 0x80000000U;
  for (std::uint64_t i = 0; i < exponent; ++i)
    value = (value >> 1) ^ ((value & 1U) != 0 ? 0x82f63b78U : 0U);
  return value;
}

}  // namespace crc32c_detail
}  // namespace rdmacp

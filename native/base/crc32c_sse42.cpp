// crc32c_sse42.cpp -- CRC32C by the x86-64 instruction. One crc32 has a latency of three cycles and a throughput of one
// a cycle, so three runs of a block are checksummed at once and joined by a carry-less multiplication.
// Pure functions, any thread. Compiled with -msse4.2 -mpclmul and called only where the processor has both.
#if defined(__x86_64__)

#include <nmmintrin.h>
#include <wmmintrin.h>

#include <cstring>

#include "base/crc32c.h"

namespace rdmacp::crc32c_detail {
namespace {

constexpr std::size_t kLongRun = 1024;
constexpr std::size_t kShortRun = 128;

// The empty assembly keeps the compiler from loading the source twice, once for the copy and once for the checksum.
[[gnu::always_inline, gnu::no_sanitize("thread")]] inline std::uint64_t loadOnce(const std::byte* source) {
  std::uint64_t word;
  std::memcpy(&word, source, sizeof word);
  __asm__ volatile("" : "+r"(word));
  return word;
}

[[gnu::always_inline]] inline __m128i low64(std::uint64_t value) {
  return _mm_cvtsi64_si128(static_cast<long long>(value));
}

template <bool kCopy>
[[gnu::always_inline, gnu::no_sanitize("thread")]] inline std::uint64_t step(std::uint64_t state, std::byte* target,
                                                                             const std::byte* source) {
  const std::uint64_t word = loadOnce(source);
  if constexpr (kCopy) std::memcpy(target, &word, sizeof word);
  return _mm_crc32_u64(state, word);
}

// Three runs of kRun bytes. A checksum moves over n zero bytes by a multiplication with x^(8n); the product of two
// reflected 32-bit values comes out one bit low and the final crc32 of 64 bits moves by 32 more: hence the 33.
template <bool kCopy, std::size_t kRun>
[[gnu::always_inline, gnu::no_sanitize("thread")]] inline std::uint64_t triple(std::uint64_t state, std::byte* target,
                                                                               const std::byte* source) {
  static constexpr std::uint32_t kOverTwo = powerOfX(16 * kRun - 33);
  static constexpr std::uint32_t kOverOne = powerOfX(8 * kRun - 33);
  std::uint64_t first = state;
  std::uint64_t second = 0;
  std::uint64_t third = 0;
  for (std::size_t at = 0; at < kRun; at += 8) {
    first = step<kCopy>(first, kCopy ? target + at : nullptr, source + at);
    second = step<kCopy>(second, kCopy ? target + kRun + at : nullptr, source + kRun + at);
    third = step<kCopy>(third, kCopy ? target + 2 * kRun + at : nullptr, source + 2 * kRun + at);
  }
  const __m128i joined = _mm_xor_si128(_mm_clmulepi64_si128(low64(first), low64(kOverTwo), 0),
                                       _mm_clmulepi64_si128(low64(second), low64(kOverOne), 0));
  return third ^ _mm_crc32_u64(0, static_cast<std::uint64_t>(_mm_cvtsi128_si64(joined)));
}

template <bool kCopy>
[[gnu::no_sanitize("thread")]] std::uint32_t run(std::uint32_t start, std::byte* target, const std::byte* source,
                                                 std::size_t length) {
  std::uint64_t state = start;
  const auto advance = [&](std::size_t bytes) {
    source += bytes;
    if constexpr (kCopy) target += bytes;
    length -= bytes;
  };
  while (length >= 3 * kLongRun) {
    state = triple<kCopy, kLongRun>(state, target, source);
    advance(3 * kLongRun);
  }
  while (length >= 3 * kShortRun) {
    state = triple<kCopy, kShortRun>(state, target, source);
    advance(3 * kShortRun);
  }
  while (length >= 8) {
    state = step<kCopy>(state, target, source);
    advance(8);
  }
  while (length > 0) {
    auto value = static_cast<unsigned char>(*source);
    __asm__ volatile("" : "+r"(value));
    if constexpr (kCopy) *target = std::byte{value};
    state = _mm_crc32_u8(static_cast<std::uint32_t>(state), value);
    advance(1);
  }
  return static_cast<std::uint32_t>(state);
}

[[gnu::no_sanitize("thread")]] std::uint32_t checksum(std::uint32_t state, const std::byte* source,
                                                      std::size_t length) {
  return run<false>(state, nullptr, source, length);
}

}  // namespace

const Implementation* sse42Implementation() {
  static constexpr Implementation sse42{"sse4.2", checksum, run<true>};
  return &sse42;
}

}  // namespace rdmacp::crc32c_detail

#endif

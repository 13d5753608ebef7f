// crc32c.cpp -- table-driven CRC32C (eight tables, eight bytes a step), the Arm instruction where the
// processor has it, and the choice among the implementations. Pure functions, any thread; the tables are constants.
#include "base/crc32c.h"

#include <array>
#include <bit>
#include <cstring>

#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace rdmacp {
namespace crc32c_detail {
namespace {

using Tables = std::array<std::array<std::uint32_t, 256>, 8>;

constexpr Tables makeTables() {
  Tables tables{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit)
      value = (value >> 1) ^ ((value & 1U) != 0 ? 0x82f63b78U : 0U);
    tables[0][i] = value;
  }
  for (std::size_t t = 1; t < 8; ++t) {
    for (std::size_t i = 0; i < 256; ++i) {
      const std::uint32_t before = tables[t - 1][i];
      tables[t][i] = (before >> 8) ^ tables[0][before & 0xffU];
    }
  }
  return tables;
}

constexpr Tables kTables = makeTables();

// The empty assembly keeps the compiler from loading the source twice, once for the copy and once for the checksum.
template <class Word>
[[gnu::no_sanitize("thread")]] inline Word loadOnce(const std::byte* source) {
  Word word;
  std::memcpy(&word, source, sizeof word);
  __asm__ volatile("" : "+r"(word));
  return word;
}

inline std::uint32_t tableStep1(std::uint32_t state, std::uint8_t value) {
  return (state >> 8) ^ kTables[0][(state ^ value) & 0xffU];
}

inline std::uint32_t tableStep8(std::uint32_t state, std::uint64_t word) {
  if constexpr (std::endian::native == std::endian::big) word = __builtin_bswap64(word);
  const std::uint32_t low = static_cast<std::uint32_t>(word) ^ state;
  const auto high = static_cast<std::uint32_t>(word >> 32);
  return kTables[7][low & 0xffU] ^ kTables[6][(low >> 8) & 0xffU] ^ kTables[5][(low >> 16) & 0xffU] ^
         kTables[4][low >> 24] ^ kTables[3][high & 0xffU] ^ kTables[2][(high >> 8) & 0xffU] ^
         kTables[1][(high >> 16) & 0xffU] ^ kTables[0][high >> 24];
}

template <bool kCopy, class Step8, class Step1>
[[gnu::no_sanitize("thread")]] inline std::uint32_t run(std::uint32_t state, std::byte* target, const std::byte* source,
                                                        std::size_t length, Step8 step8, Step1 step1) {
  for (; length >= 8; length -= 8, source += 8) {
    const auto word = loadOnce<std::uint64_t>(source);
    if constexpr (kCopy) {
      std::memcpy(target, &word, sizeof word);
      target += 8;
    }
    state = step8(state, word);
  }
  for (; length > 0; --length, ++source) {
    const auto value = loadOnce<std::uint8_t>(source);
    if constexpr (kCopy) *target++ = std::byte{value};
    state = step1(state, value);
  }
  return state;
}

[[gnu::no_sanitize("thread")]] std::uint32_t tableChecksum(std::uint32_t state, const std::byte* source,
                                                           std::size_t length) {
  return run<false>(state, nullptr, source, length, tableStep8, tableStep1);
}

[[gnu::no_sanitize("thread")]] std::uint32_t tableCopy(std::uint32_t state, std::byte* target, const std::byte* source,
                                                       std::size_t length) {
  return run<true>(state, target, source, length, tableStep8, tableStep1);
}

#if defined(__aarch64__)
// By assembly, since the first version of the architecture has no such instruction and compilers stay with it: whether the
// processor has it is known at run time.
inline std::uint32_t armStep8(std::uint32_t state, std::uint64_t word) {
  std::uint32_t next;
  __asm__(".arch_extension crc\n\tcrc32cx %w0, %w1, %x2" : "=r"(next) : "r"(state), "r"(word));
  return next;
}
inline std::uint32_t armStep1(std::uint32_t state, std::uint8_t value) {
  std::uint32_t next;
  __asm__(".arch_extension crc\n\tcrc32cb %w0, %w1, %w2" : "=r"(next) : "r"(state), "r"(std::uint32_t{value}));
  return next;
}

std::uint32_t armChecksum(std::uint32_t state, const std::byte* source, std::size_t length) {
  return run<false>(state, nullptr, source, length, armStep8, armStep1);
}

std::uint32_t armCopy(std::uint32_t state, std::byte* target, const std::byte* source, std::size_t length) {
  return run<true>(state, target, source, length, armStep8, armStep1);
}
#endif

const Implementation& choose() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul")) return *sse42Implementation();
#endif
#if defined(__aarch64__)
  static constexpr Implementation arm{"arm64", armChecksum, armCopy};
  if ((::getauxval(AT_HWCAP) & HWCAP_CRC32) != 0) return arm;
#endif
  return tableImplementation();
}

}  // namespace

const Implementation& tableImplementation() {
  static constexpr Implementation table{"table", tableChecksum, tableCopy};
  return table;
}

const Implementation& chosenImplementation() {
  static const Implementation& chosen = choose();
  return chosen;
}

#if !defined(__x86_64__)
const Implementation* sse42Implementation() {
  return nullptr;
}
#endif

}  // namespace crc32c_detail

std::uint32_t crc32c(std::uint32_t seed, std::span<const std::byte> bytes) {
  return ~crc32c_detail::chosenImplementation().checksum(~seed, bytes.data(), bytes.size());
}

std::uint32_t copyCrc32c(std::uint32_t seed, std::byte* target, std::span<const std::byte> source) {
  return ~crc32c_detail::chosenImplementation().copy(~seed, target, source.data(), source.size());
}

}  // namespace rdmacp

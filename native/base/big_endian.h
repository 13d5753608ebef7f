// big_endian.h -- numbers in network byte order, from and to unaligned bytes. Pure functions, any thread.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rdmacp {

template <class Number>
Number loadBigEndian(const std::byte* bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < sizeof(Number); ++i)
    value = (value << 8) | std::to_integer<std::uint64_t>(bytes[i]);
  return static_cast<Number>(value);
}

template <class Number>
void storeBigEndian(std::byte* bytes, Number number) {
  auto value = static_cast<std::uint64_t>(number);
  for (std::size_t i = sizeof(Number); i-- > 0; value >>= 8)
    bytes[i] = static_cast<std::byte>(value & 0xffU);
}

}  // namespace rdmacp

// identity.h -- the random numbers that tell processes and connections of a peer link apart.
//
// Pure functions, any thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>

namespace rdmacp::peer {

inline constexpr std::size_t kIdentityBytes = 16;

// Of a process, from start to end: a partner that was restarted has another. Ordered byte by byte.
using BootId = std::array<std::byte, kIdentityBytes>;
// Of one side of one connection.
using Nonce = std::array<std::byte, kIdentityBytes>;

// From the operating system's random numbers; never all zeros, which stands for none.
inline std::array<std::byte, kIdentityBytes> randomIdentity() {
  std::random_device device;
  std::array<std::byte, kIdentityBytes> bytes{};
  do {
    for (std::byte& byte : bytes)
      byte = static_cast<std::byte>(device() & 0xffU);
  } while (bytes == std::array<std::byte, kIdentityBytes>{});
  return bytes;
}

inline std::string hex(const std::array<std::byte, kIdentityBytes>& bytes) {
  constexpr const char* kDigits = "0123456789abcdef";
  std::string text;
  for (const std::byte byte : bytes) {
    text += kDigits[std::to_integer<unsigned>(byte) >> 4U];
    text += kDigits[std::to_integer<unsigned>(byte) & 0xfU];
  }
  return text;
}

}  // namespace rdmacp::peer

// preamble.h -- the eight bytes before the private data by which two ends of this package know each other (fabric.h).
//
// Pure functions, any thread; owns nothing.
#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "fabric/fabric.h"

namespace rdmacp::fabric::preamble {

inline constexpr std::uint8_t kVersion = 1;
inline constexpr std::array<std::byte, 4> kMagic{std::byte{'R'}, std::byte{'D'}, std::byte{'C'}, std::byte{'P'}};

inline std::vector<std::byte> prepend(Transport transport, ConstBytes privateData) {
  std::vector<std::byte> bytes(kPreambleBytes);
  std::copy(kMagic.begin(), kMagic.end(), bytes.begin());
  bytes[4] = std::byte{kVersion};
  bytes[5] = static_cast<std::byte>(transport);
  bytes.insert(bytes.end(), privateData.begin(), privateData.end());
  return bytes;
}

inline bool present(ConstBytes privateData) {
  return privateData.size() >= kPreambleBytes && std::equal(kMagic.begin(), kMagic.end(), privateData.begin());
}

// From this product, and from that fabric of it: behind a verbs fabric is a device, which is a foreigner on the wire.
inline bool sentBy(Transport transport, ConstBytes privateData) {
  return present(privateData) && privateData[5] == static_cast<std::byte>(transport);
}

// The private data behind the preamble; all of it when there is none.
inline ConstBytes strip(ConstBytes privateData) {
  return present(privateData) ? privateData.subspan(kPreambleBytes) : privateData;
}

}  // namespace rdmacp::fabric::preamble

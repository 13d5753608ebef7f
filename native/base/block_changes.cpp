// block_changes.cpp -- compares with memcmp, which the C library has at memory speed on every machine.
#include "base/block_changes.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

namespace rdmacp {

namespace {

void putLittleEndian(std::byte* target, std::uint64_t value) {
  for (std::size_t i = 0; i < 8; ++i)
    target[i] = static_cast<std::byte>((value >> (8 * i)) & 0xffU);
}

bool isChanged(std::span<const std::byte> base, std::span<const std::byte> state, std::size_t from, std::size_t to) {
  return to > base.size() || std::memcmp(base.data() + from, state.data() + from, to - from) != 0;
}

}  // namespace

bool takeChanges(std::span<std::byte> base, std::span<const std::byte> state, std::size_t blockBytes,
                 std::size_t mostBytes, std::vector<std::byte>& runs) {
  const auto endOfBlock = [&](std::size_t from) {
    return state.size() - from <= blockBytes ? state.size() : from + blockBytes;
  };
  for (std::size_t from = 0; from < state.size();) {
    std::size_t to = endOfBlock(from);
    if (!isChanged(base, state, from, to)) {
      from = to;
      continue;
    }
    while (to < state.size() && isChanged(base, state, to, endOfBlock(to)))
      to = endOfBlock(to);
    const std::size_t length = to - from;
    if (runs.size() > mostBytes || mostBytes - runs.size() < kRunHeaderBytes) return false;
    if (length > mostBytes - runs.size() - kRunHeaderBytes) return false;
    std::array<std::byte, kRunHeaderBytes> header{};
    putLittleEndian(header.data(), from);
    putLittleEndian(header.data() + 8, length);
    runs.insert(runs.end(), header.begin(), header.end());
    const auto changed = state.subspan(from, length);
    runs.insert(runs.end(), changed.begin(), changed.end());
    if (from < base.size()) {
      const std::byte* taken = runs.data() + (runs.size() - length);
      std::memcpy(base.data() + from, taken, std::min(length, base.size() - from));
    }
    from = to;
  }
  return true;
}

}  // namespace rdmacp

// block_changes.h -- what changed in a state since the checkpoint before, by comparing all of it, block by block.
//
// A pure function, any thread. A run is an offset and a length (8 bytes each, little-endian) and that many bytes of the
// state: docs/checkpoint-format.md, "Deltas".
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace rdmacp {

inline constexpr std::size_t kRunHeaderBytes = 16;

// Appends to runs what is in state and not in base: whole blocks (the last may be shorter), neighbours joined. What lies
// beyond base counts as changed. Brings base up to date as far as it reaches, with the bytes that went into the runs,
// also when another thread changes state meanwhile. False as soon as runs would grow beyond mostBytes: then base is
// neither the old nor the new state. blockBytes must not be 0.
bool takeChanges(std::span<std::byte> base, std::span<const std::byte> state, std::size_t blockBytes,
                 std::size_t mostBytes, std::vector<std::byte>& runs);

}  // namespace rdmacp

// cache_lines.h -- writing cache lines back to the memory behind them. Pure functions, any thread.
#pragma once

#include <cstddef>
#include <span>

namespace rdmacp::media {

// How this CPU writes a line back: CLWB keeps it in the cache, CLFLUSHOPT drops it, CLFLUSH drops it and waits each time.
enum class WriteBack : unsigned char { none, clflush, clflushopt, clwb };

// The best that the CPU has; none on an architecture that is not known here.
WriteBack bestWriteBack();
const char* nameOf(WriteBack instruction);

// Writes every line that holds a byte of the range back, and fences: when it returns, they are in the memory
// controller's power-fail domain. With none it does nothing.
void writeBackLines(WriteBack instruction, std::span<const std::byte> range);

}  // namespace rdmacp::media

// cache_lines.cpp -- CLWB, CLFLUSHOPT or CLFLUSH with a fence, by what CPUID says (Intel SDM volume 2, "CLWB",
// "CLFLUSHOPT", "CLFLUSH"; volume 1, 19.1 "Processor identification"). Any thread.
#include "media/devdax/cache_lines.h"

#include <cstdint>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace rdmacp::media {

#if defined(__x86_64__)

namespace {

constexpr std::size_t kLine = 64;
constexpr unsigned kClflushoptBit = 1U << 23;  // CPUID.(EAX=7,ECX=0):EBX
constexpr unsigned kClwbBit = 1U << 24;        // the same

// Written out, so that no part of the build needs the instruction's compiler flag.
void clwb(const std::byte* line) {
  __asm__ volatile("clwb %0" : : "m"(*line) : "memory");
}
void clflushopt(const std::byte* line) {
  __asm__ volatile("clflushopt %0" : : "m"(*line) : "memory");
}
void clflush(const std::byte* line) {
  __asm__ volatile("clflush %0" : : "m"(*line) : "memory");
}

template <class Instruction>
void eachLine(std::span<const std::byte> range, Instruction instruction) {
  const std::size_t before = reinterpret_cast<std::uintptr_t>(range.data()) % kLine;
  const std::byte* const end = range.data() + range.size();
  for (const std::byte* line = range.data() - before; line < end; line += kLine)
    instruction(line);
}

}  // namespace

WriteBack bestWriteBack() {
  unsigned eax = 0;
  unsigned ebx = 0;
  unsigned ecx = 0;
  unsigned edx = 0;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0) {
    if ((ebx & kClwbBit) != 0) return WriteBack::clwb;
    if ((ebx & kClflushoptBit) != 0) return WriteBack::clflushopt;
  }
  return WriteBack::clflush;  // part of every x86-64
}

void writeBackLines(WriteBack instruction, std::span<const std::byte> range) {
  if (range.empty() || instruction == WriteBack::none) return;
  // What a device placed before it was told of is ordered before the lines are written back.
  __asm__ volatile("mfence" : : : "memory");
  switch (instruction) {
    case WriteBack::clwb:
      eachLine(range, clwb);
      break;
    case WriteBack::clflushopt:
      eachLine(range, clflushopt);
      break;
    case WriteBack::clflush:
    case WriteBack::none:
      eachLine(range, clflush);
      break;
  }
  __asm__ volatile("sfence" : : : "memory");
}

#else

WriteBack bestWriteBack() {
  return WriteBack::none;
}

void writeBackLines(WriteBack, std::span<const std::byte>) {}

#endif

const char* nameOf(WriteBack instruction) {
  switch (instruction) {
    case WriteBack::clwb:
      return "clwb";
    case WriteBack::clflushopt:
      return "clflushopt";
    case WriteBack::clflush:
      return "clflush";
    case WriteBack::none:
      break;
  }
  return "none";
}

}  // namespace rdmacp::media

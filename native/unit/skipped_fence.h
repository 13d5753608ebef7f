// skipped_fence.h -- test builds only: with RC_TEST_SKIP_FENCE=1 a fence raises the epoch and ends nobody, so that a test of
// fencing can show that it would see a writer that goes on. Any thread.
#pragma once

#if RC_TEST_FAULTS

#include <cstdlib>
#include <cstring>

namespace rdmacp::unit {

inline bool fenceIsSkipped() {
  static const bool skipped = [] {
    const char* text = std::getenv("RC_TEST_SKIP_FENCE");
    return text != nullptr && std::strcmp(text, "1") == 0;
  }();
  return skipped;
}

}  // namespace rdmacp::unit

#else

namespace rdmacp::unit {

constexpr bool fenceIsSkipped() {
  return false;
}

}  // namespace rdmacp::unit

#endif

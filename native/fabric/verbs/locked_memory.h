// locked_memory.h -- the part of the process's locked memory that goes to registrations which are a gain and no need.
//
// A registration pins its memory, and RLIMIT_MEMLOCK bounds what a process may pin. Connections cannot do without some (their
// messages, and what unregistered memory is copied through: up to 5 MiB each). So what only saves a copy gets half of the
// limit at most, and nothing of a limit below 32 MiB. One account for the process, all devices and threads. Any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

namespace rdmacp::fabric::verbs {

class LockedShare {
 public:
  // Nothing when it is not to be had now.
  static std::optional<LockedShare> take(std::size_t bytes);
  // Grows whenever a share is given back: before that asking again is in vain.
  static std::uint64_t returns();

  ~LockedShare();
  LockedShare(LockedShare&& other) noexcept;
  LockedShare& operator=(LockedShare&& other) noexcept;
  LockedShare(const LockedShare&) = delete;
  LockedShare& operator=(const LockedShare&) = delete;

 private:
  explicit LockedShare(std::size_t bytes) : bytes_(bytes) {}
  std::size_t bytes_;
};

}  // namespace rdmacp::fabric::verbs

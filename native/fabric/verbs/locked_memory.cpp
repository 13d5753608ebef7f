// locked_memory.cpp -- what the kernel allows this process to lock, and how much of it is shared out. Any thread.
#include "fabric/verbs/locked_memory.h"

#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <fstream>
#include <limits>
#include <utility>

namespace rdmacp::fabric::verbs {

namespace {

constexpr std::size_t kLeast = std::size_t{32} << 20;

std::atomic<std::size_t> taken{0};
std::atomic<std::uint64_t> returned{0};

// The kernel asks for the capability in the first user namespace: root of a container has it in its own only.
bool inFirstUserNamespace() {
  std::ifstream map("/proc/self/uid_map");
  std::uint64_t inside = 1;
  std::uint64_t outside = 1;
  std::uint64_t count = 0;
  return map >> inside >> outside >> count && inside == 0 && outside == 0 && count >= 0xffffffffU;
}

bool mayLockEverything() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> data{};
  if (::syscall(SYS_capget, &header, data.data()) != 0) return false;
  return (data[0].effective & (1U << CAP_IPC_LOCK)) != 0 && inFirstUserNamespace();
}

std::size_t mostShared() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_MEMLOCK, &limit) != 0) return 0;
  if (limit.rlim_cur == RLIM_INFINITY || mayLockEverything()) return std::numeric_limits<std::size_t>::max();
  return limit.rlim_cur < kLeast ? 0 : static_cast<std::size_t>(limit.rlim_cur) / 2;
}

}  // namespace

std::optional<LockedShare> LockedShare::take(std::size_t bytes) {
  const std::size_t most = mostShared();
  std::size_t before = taken;
  do {
    if (before > most || bytes > most - before) return std::nullopt;
  } while (!taken.compare_exchange_weak(before, before + bytes));
  return LockedShare(bytes);
}

std::uint64_t LockedShare::returns() {
  return returned;
}

LockedShare::~LockedShare() {
  if (bytes_ == 0) return;
  taken -= bytes_;
  ++returned;
}

LockedShare::LockedShare(LockedShare&& other) noexcept : bytes_(std::exchange(other.bytes_, 0)) {}

LockedShare& LockedShare::operator=(LockedShare&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  return *this;
}

}  // namespace rdmacp::fabric::verbs

// allocations.cpp -- which allocation a range lies in, and whether it is registered. The JavaScript thread.
#include "binding/allocations.h"

#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

namespace rdmacp::binding {

namespace {

bool mayLockEverything() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> data{};
  if (::syscall(SYS_capget, &header, data.data()) != 0) return false;
  return (data[0].effective & (1U << CAP_IPC_LOCK)) != 0;
}

std::size_t mostRegistered() {
  constexpr std::size_t kUnlimited = std::numeric_limits<std::size_t>::max();
  rlimit limit{};
  if (::getrlimit(RLIMIT_MEMLOCK, &limit) != 0) return 0;
  if (limit.rlim_cur == RLIM_INFINITY || mayLockEverything()) return kUnlimited;
  return static_cast<std::size_t>(limit.rlim_cur) / 2;
}

}  // namespace

void Allocations::add(std::span<std::byte> memory) {
  allocations_[memory.data()] = {memory, {}};
}

void Allocations::remove(const std::byte* address) {
  const auto found = allocations_.find(address);
  if (found == allocations_.end()) return;
  drop(found->second, nullptr);
  allocations_.erase(found);
}

const fabric::MemoryRegion* Allocations::registration(fabric::Fabric& fabric, std::span<const std::byte> range,
                                                      const Prepare& prepare) {
  if (range.empty()) return nullptr;
  auto found = allocations_.upper_bound(range.data());
  if (found == allocations_.begin()) return nullptr;
  Allocation& allocation = (--found)->second;
  const auto offset = static_cast<std::size_t>(range.data() - allocation.memory.data());
  if (offset > allocation.memory.size() || range.size() > allocation.memory.size() - offset) return nullptr;

  Use* use = useOf(allocation, fabric);
  if (use == nullptr || use->failed) return nullptr;
  if (most_ == 0) most_ = mostRegistered();
  if (!use->counted && allocation.memory.size() > most_ - std::min(most_, registered_)) return nullptr;
  const fabric::Readiness readiness = prepare(*use->region);
  use->failed = readiness == fabric::Readiness::failed;
  if (readiness != fabric::Readiness::ready) return nullptr;
  if (!std::exchange(use->counted, true)) registered_ += allocation.memory.size();
  return use->region.get();
}

Allocations::Use* Allocations::useOf(Allocation& allocation, fabric::Fabric& fabric) {
  for (Use& use : allocation.uses) {
    if (use.fabric == &fabric) return &use;
  }
  auto region = fabric.registerMemory(allocation.memory, nullptr, false);
  if (!region) return nullptr;
  return &allocation.uses.emplace_back(Use{&fabric, std::move(region).value()});
}

// null: of all fabrics.
void Allocations::drop(Allocation& allocation, const fabric::Fabric* fabric) {
  std::erase_if(allocation.uses, [&](const Use& use) {
    if (fabric != nullptr && use.fabric != fabric) return false;
    if (use.counted) registered_ -= allocation.memory.size();
    return true;
  });
}

void Allocations::forget(const fabric::Fabric* fabric) {
  if (fabric == nullptr) return;
  for (auto& [address, allocation] : allocations_)
    drop(allocation, fabric);
}

void Allocations::forgetAll() {
  for (auto& [address, allocation] : allocations_)
    drop(allocation, nullptr);
}

}  // namespace rdmacp::binding

// allocations.cpp -- which allocation a range lies in, and its registration. The JavaScript thread.
#include "binding/allocations.h"

#include <algorithm>
#include <utility>

namespace rdmacp::binding {

void Allocations::add(std::span<std::byte> memory) {
  allocations_[memory.data()] = {memory, {}};
}

void Allocations::remove(const std::byte* address) {
  allocations_.erase(address);
}

const fabric::MemoryRegion* Allocations::registration(fabric::Fabric& fabric, std::span<const std::byte> range,
                                                      const Prepare& prepare) {
  auto found = allocations_.upper_bound(range.data());
  if (found == allocations_.begin()) return nullptr;
  auto& [memory, uses] = (--found)->second;
  const auto offset = static_cast<std::size_t>(range.data() - memory.data());
  if (offset > memory.size() || range.size() > memory.size() - offset) return nullptr;

  auto use = std::find_if(uses.begin(), uses.end(), [&](const Use& one) { return one.fabric == &fabric; });
  if (use == uses.end()) {
    auto region = fabric.registerMemory(memory, nullptr, false);
    if (!region) return nullptr;
    use = uses.insert(uses.end(), {&fabric, std::move(region).value()});
  }
  return prepare(*use->region) ? use->region.get() : nullptr;
}

void Allocations::forget(const fabric::Fabric* fabric) {
  for (auto& [address, allocation] : allocations_)
    std::erase_if(allocation.uses, [&](const Use& use) { return use.fabric == fabric; });
}

void Allocations::forgetAll() {
  for (auto& [address, allocation] : allocations_)
    allocation.uses.clear();
}

}  // namespace rdmacp::binding

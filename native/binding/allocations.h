// allocations.h -- the memory that allocate() has handed out in one environment, and its registrations with fabrics.
//
// A transfer out of such memory needs no copy: what it names is registered at its first use on a device, once for all
// connections there, and until the memory is collected or the engine that used it is closed. The JavaScript thread only.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "fabric/fabric.h"

namespace rdmacp::binding {

class Allocations {
 public:
  // Connection::prepare of the one that is going to use it.
  using Prepare = std::function<bool(const fabric::MemoryRegion&)>;

  void add(std::span<std::byte> memory);
  // Before the memory is unmapped. Nobody transfers from or to it any more.
  void remove(const std::byte* address);
  // The registration that covers the whole range, or null where there is none.
  const fabric::MemoryRegion* registration(fabric::Fabric& fabric, std::span<const std::byte> range,
                                           const Prepare& prepare);
  // None of the fabric's connections is left.
  void forget(const fabric::Fabric* fabric);
  void forgetAll();

 private:
  struct Use {
    const fabric::Fabric* fabric = nullptr;
    std::shared_ptr<fabric::MemoryRegion> region;
  };
  struct Allocation {
    std::span<std::byte> memory;
    std::vector<Use> uses;
  };

  std::map<const std::byte*, Allocation> allocations_;  // by their first byte
};

}  // namespace rdmacp::binding

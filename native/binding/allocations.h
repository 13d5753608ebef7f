// allocations.h -- page-aligned memory of the package's own: what allocate() hands out, and copies of other memory.
//
// An ArrayBuffer of JavaScript's may lose its memory at any moment: a transfer (structuredClone, postMessage, transfer())
// moves it to another owner, and whoever collects that one frees it. Node-API cannot hold it. So native threads work on this
// memory only, and an operation under way holds it by itself, whatever JavaScript does with the buffer over it.
//
// A transfer out of it needs no copy on a device either: it is registered at its first use there, once for all connections, and
// until it is unmapped or the engine that used it is closed.
//
// The JavaScript thread, but for the end of an Allocation: any.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "base/result.h"
#include "fabric/fabric.h"

namespace rdmacp::binding {

class AllocationIndex;

class Allocation {
 public:
  // Connection::prepare of the one that is going to use it.
  using Prepare = std::function<bool(const fabric::MemoryRegion&)>;

  Allocation(std::span<std::byte> mapped, bool lasting, std::weak_ptr<AllocationIndex> index);
  ~Allocation();
  Allocation(const Allocation&) = delete;
  Allocation& operator=(const Allocation&) = delete;

  std::span<std::byte> memory() const { return memory_; }
  // All of it, or null where there is none.
  const fabric::MemoryRegion* registration(fabric::Fabric& fabric, const Prepare& prepare);
  void forget(const fabric::Fabric* fabric);
  void forgetAll() { uses_.clear(); }

 private:
  struct Use {
    const fabric::Fabric* fabric = nullptr;
    std::shared_ptr<fabric::MemoryRegion> region;
  };

  const std::span<std::byte> memory_;
  const bool lasting_;
  const std::weak_ptr<AllocationIndex> index_;
  std::vector<Use> uses_;
};

// Which allocation an address lies in.
class AllocationIndex {
 public:
  void add(const std::shared_ptr<Allocation>& allocation);
  void remove(const std::byte* address);
  std::shared_ptr<Allocation> find(std::span<const std::byte> range) const;
  std::vector<std::shared_ptr<Allocation>> all() const;

 private:
  mutable std::mutex mutex_;
  std::map<const std::byte*, std::weak_ptr<Allocation>> allocations_;  // by their first byte
};

// Memory for a copy: of little a plain piece, of more an allocation that is used again.
struct CopyMemory {
  std::byte* data = nullptr;
  std::unique_ptr<std::byte[]> little;
  std::shared_ptr<Allocation> much;
};

class Allocations {
 public:
  // lasting: it will be used again, which registering pays for. noMemory.
  Result<std::shared_ptr<Allocation>> make(std::size_t bytes, bool lasting);
  // The one that the whole range lies in, or null.
  std::shared_ptr<Allocation> find(std::span<const std::byte> range) const { return index_->find(range); }

  // noMemory.
  Result<CopyMemory> takeCopy(std::size_t bytes);
  void giveBack(CopyMemory copy);

  // None of the fabric's connections is left.
  void forget(const fabric::Fabric* fabric);
  void forgetAll();

 private:
  std::shared_ptr<AllocationIndex> index_ = std::make_shared<AllocationIndex>();
  std::map<std::size_t, std::vector<std::shared_ptr<Allocation>>> free_;  // by size
  std::size_t kept_ = 0;                                                  // bytes in free_
};

}  // namespace rdmacp::binding

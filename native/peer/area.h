// area.h -- a few bytes in pages of their own, registered by themselves: what a partner may read, or may write.
//
// Any thread may make one; who writes into it is its owner's rule.
#pragma once

#include <sys/mman.h>

#include <cerrno>
#include <memory>

#include "fabric/fabric.h"

namespace rdmacp::peer {

class Area {
 public:
  static Result<std::shared_ptr<Area>> make(fabric::Fabric& fabric, std::size_t bytes) {
    void* mapped = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED) return Error{ErrorCode::noMemory, "no memory for a peer link", errno};
    auto area = std::make_shared<Area>(fabric::Bytes{static_cast<std::byte*>(mapped), bytes});
    auto registered = fabric.registerMemory(area->bytes_, nullptr, false);
    if (!registered) return registered.error();
    area->registration_ = std::move(registered).value();
    return area;
  }

  explicit Area(fabric::Bytes bytes) : bytes_(bytes) {}
  ~Area() {
    registration_.reset();
    ::munmap(bytes_.data(), bytes_.size());
  }
  Area(const Area&) = delete;
  Area& operator=(const Area&) = delete;

  fabric::Bytes bytes() const { return bytes_; }

  // A registration that keeps its area: a grant holds it until the connection is over.
  static std::shared_ptr<const fabric::MemoryRegion> registration(std::shared_ptr<Area> area) {
    const auto* region = area->registration_.get();
    return {std::move(area), region};
  }

 private:
  fabric::Bytes bytes_;
  std::shared_ptr<fabric::MemoryRegion> registration_;
};

}  // namespace rdmacp::peer

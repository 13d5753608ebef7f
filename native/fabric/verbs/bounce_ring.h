// bounce_ring.h -- registered memory of the package's own, handed out and given back first-in first-out.
//
// For local memory that is not registered: small or foreign buffers go through here, and so do the sinks of reads on
// iWARP devices, which need remote-write rights that no user's memory is given. Guarded by the connection's mutex.
#pragma once

#include <cstddef>
#include <memory>

#include "fabric/fabric.h"
#include "fabric/verbs/handles.h"

namespace rdmacp::fabric::verbs {

// An anonymous mapping, page-aligned, not inherited by a fork.
class Mapping {
 public:
  static Result<Mapping> make(std::size_t bytes);
  Mapping() = default;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  Mapping(Mapping&& other) noexcept;
  Mapping& operator=(Mapping&& other) noexcept;
  ~Mapping();
  Bytes memory() const { return {data_, length_}; }

 private:
  Mapping(std::byte* data, std::size_t length) : data_(data), length_(length) {}
  std::byte* data_ = nullptr;
  std::size_t length_ = 0;
};

class BounceRing {
 public:
  static Result<std::unique_ptr<BounceRing>> make(const Library& library, ibv_pd* domain, std::size_t bytes,
                                                  int access);

  std::size_t size() const { return mapping_.memory().size(); }
  std::uint32_t localKey() const { return registration_->lkey; }
  // Contiguous memory, or null while there is no room. length <= size().
  std::byte* take(std::size_t length);
  // Gives back the oldest piece taken.
  void giveBack(const std::byte* piece, std::size_t length);

 private:
  Mapping mapping_;
  Registration registration_;
  std::size_t head_ = 0;  // where the next piece goes
  std::size_t tail_ = 0;  // where the oldest piece begins
  std::size_t pieces_ = 0;
};

}  // namespace rdmacp::fabric::verbs

// bounce_ring.cpp -- see bounce_ring.h; no locks of its own.
#include "fabric/verbs/bounce_ring.h"

#include <sys/mman.h>

#include <cerrno>
#include <utility>

#include "fabric/verbs/device.h"

namespace rdmacp::fabric::verbs {

Result<Mapping> Mapping::make(std::size_t bytes) {
  const std::size_t rounded = (bytes + 4095) & ~std::size_t{4095};
  void* at = ::mmap(nullptr, rounded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) return verbsError("mmap", errno);
  // A child that wrote to it would take the pages from under the device.
  (void)::madvise(at, rounded, MADV_DONTFORK);
  return Mapping(static_cast<std::byte*>(at), rounded);
}

Mapping::Mapping(Mapping&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), length_(std::exchange(other.length_, 0)) {}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(length_, other.length_);
  return *this;
}

Mapping::~Mapping() {
  if (data_ != nullptr) ::munmap(data_, length_);
}

Result<std::unique_ptr<BounceRing>> BounceRing::make(const Library& library, ibv_pd* domain, std::size_t bytes,
                                                     int access) {
  auto mapping = Mapping::make(bytes);
  if (!mapping) return mapping.error();
  auto registration = registerOn(library, domain, mapping.value().memory(), access);
  if (!registration) return registration.error();
  auto ring = std::make_unique<BounceRing>();
  ring->mapping_ = std::move(mapping).value();
  ring->registration_ = std::move(registration).value();
  return ring;
}

std::byte* BounceRing::take(std::size_t length) {
  if (pieces_ == 0) head_ = tail_ = 0;
  const bool wrapped = pieces_ > 0 && head_ <= tail_;
  if (wrapped) {
    if (tail_ - head_ < length) return nullptr;
  } else if (size() - head_ < length) {
    if (tail_ < length) return nullptr;
    head_ = 0;
  }
  std::byte* piece = mapping_.memory().data() + head_;
  head_ += length;
  ++pieces_;
  return piece;
}

void BounceRing::giveBack(const std::byte* piece, std::size_t length) {
  tail_ = static_cast<std::size_t>(piece - mapping_.memory().data()) + length;
  --pieces_;
}

}  // namespace rdmacp::fabric::verbs

// allocations.cpp -- see allocations.h.
#include "binding/allocations.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <new>
#include <string>
#include <utility>

namespace rdmacp::binding {

namespace {

// A copy of less is no mapping of its own: it is made and freed faster than looked for, and no device is asked to pin it.
constexpr std::size_t kLeastMapped = 4096;
// Kept for the next copies, in all. Fresh pages cost more than the copy itself.
constexpr std::size_t kMostKept = std::size_t{32} << 20;

}  // namespace

Allocation::Allocation(std::span<std::byte> mapped, bool lasting, std::weak_ptr<AllocationIndex> index)
    : memory_(mapped), lasting_(lasting), index_(std::move(index)) {}

Allocation::~Allocation() {
  if (const auto index = index_.lock()) index->remove(memory_.data());
  uses_.clear();
  (void)munmap(memory_.data(), memory_.size());
}

const fabric::MemoryRegion* Allocation::registration(fabric::Fabric& fabric, const Prepare& prepare) {
  if (!lasting_) return nullptr;
  auto use = std::find_if(uses_.begin(), uses_.end(), [&](const Use& one) { return one.fabric == &fabric; });
  if (use == uses_.end()) {
    auto region = fabric.registerMemory(memory_, nullptr, false);
    if (!region) return nullptr;
    use = uses_.insert(uses_.end(), {&fabric, std::move(region).value()});
  }
  return prepare(*use->region) ? use->region.get() : nullptr;
}

void Allocation::forget(const fabric::Fabric* fabric) {
  std::erase_if(uses_, [&](const Use& use) { return use.fabric == fabric; });
}

void AllocationIndex::add(const std::shared_ptr<Allocation>& allocation) {
  const std::lock_guard lock(mutex_);
  allocations_[allocation->memory().data()] = allocation;
}

void AllocationIndex::remove(const std::byte* address) {
  const std::lock_guard lock(mutex_);
  allocations_.erase(address);
}

std::shared_ptr<Allocation> AllocationIndex::find(std::span<const std::byte> range) const {
  // Let go of after the mutex: what is found and not wanted may have no other owner by then, and its end takes the mutex.
  std::shared_ptr<Allocation> allocation;
  const std::lock_guard lock(mutex_);
  auto after = allocations_.upper_bound(range.data());
  if (after == allocations_.begin()) return nullptr;
  allocation = (--after)->second.lock();
  if (!allocation) return nullptr;
  const auto memory = allocation->memory();
  const auto offset = static_cast<std::size_t>(range.data() - memory.data());
  return offset <= memory.size() && range.size() <= memory.size() - offset ? allocation : nullptr;
}

std::vector<std::shared_ptr<Allocation>> AllocationIndex::all() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::shared_ptr<Allocation>> alive;
  for (const auto& [address, weak] : allocations_) {
    if (auto allocation = weak.lock()) alive.push_back(std::move(allocation));
  }
  return alive;
}

Result<std::shared_ptr<Allocation>> Allocations::make(std::size_t bytes, bool lasting) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const std::size_t length = (bytes + page - 1) / page * page;
  void* address = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (address == MAP_FAILED) {
    const int number = errno;
    return Error{ErrorCode::noMemory, "mapping " + std::to_string(length) + " bytes: " + std::strerror(number), number};
  }
  auto allocation = std::make_shared<Allocation>(std::span(static_cast<std::byte*>(address), length), lasting, index_);
  index_->add(allocation);
  return allocation;
}

Result<CopyMemory> Allocations::takeCopy(std::size_t bytes) {
  CopyMemory copy;
  if (bytes < kLeastMapped) {
    copy.little.reset(new (std::nothrow) std::byte[bytes]);
    copy.data = copy.little.get();
    if (copy.data == nullptr) return Error{ErrorCode::noMemory, "no memory for a copy"};
    return copy;
  }
  const std::size_t size = std::bit_ceil(bytes);
  if (const auto found = free_.find(size); found != free_.end() && !found->second.empty()) {
    copy.much = std::move(found->second.back());
    found->second.pop_back();
    kept_ -= size;
  } else {
    auto made = make(size, size <= kMostKept);
    if (!made) return made.error();
    copy.much = std::move(made).value();
  }
  copy.data = copy.much->memory().data();
  return copy;
}

void Allocations::giveBack(CopyMemory copy) {
  if (!copy.much) return;
  const std::size_t size = copy.much->memory().size();
  if (size > kMostKept - kept_) return;
  kept_ += size;
  free_[size].push_back(std::move(copy.much));
}

void Allocations::forget(const fabric::Fabric* fabric) {
  for (const auto& allocation : index_->all())
    allocation->forget(fabric);
}

void Allocations::forgetAll() {
  for (const auto& allocation : index_->all())
    allocation->forgetAll();
}

}  // namespace rdmacp::binding

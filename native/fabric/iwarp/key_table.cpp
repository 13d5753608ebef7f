// key_table.cpp -- see key_table.h. Loop thread of the connection.
#include "fabric/iwarp/key_table.h"

#include <random>

namespace rdmacp::fabric::iwarp {
namespace {

// A permutation of the 32-bit numbers: distinct counters give distinct keys that do not look like a sequence.
std::uint32_t scramble(std::uint32_t value) {
  value ^= value >> 16;
  value *= 0x7feb352dU;
  value ^= value >> 15;
  value *= 0x846ca68bU;
  return value ^ (value >> 16);
}

bool includes(Access has, Access wanted) {
  const auto bits = static_cast<unsigned>(wanted);
  return (static_cast<unsigned>(has) & bits) == bits;
}

}  // namespace

KeyTable::KeyTable() {
  std::random_device device;
  counter_ = device();
  secret_ = device();
}

std::uint32_t KeyTable::nextKey() {
  for (;;) {
    const std::uint32_t key = scramble(++counter_) ^ secret_;
    if (key != 0 && !grants_.contains(key)) return key;
  }
}

Result<RemoteWindow> KeyTable::grant(std::shared_ptr<const MemoryRegion> region, std::uint64_t offset,
                                     std::uint64_t length, Access access) {
  if (region == nullptr) return Error{ErrorCode::invalidArgument, "a grant needs a registration", 0};
  const Bytes memory = region->memory();
  if (offset > memory.size() || length > memory.size() - offset) {
    return Error{ErrorCode::invalidArgument,
                 "a grant of " + std::to_string(length) + " bytes at " + std::to_string(offset) +
                     " reaches beyond its registration of " + std::to_string(memory.size()) + " bytes",
                 0};
  }
  const std::uint32_t key = nextKey();
  // Not the local address, which is nobody else's business, and not 0, which would hide who forgets to add the base.
  const std::uint64_t base = (std::uint64_t{scramble(key ^ secret_)} | 1U) << 12;
  grants_.emplace(key, Grant{std::move(region), memory.data() + offset, base, length, access});
  return RemoteWindow{key, base, length};
}

KeyTable::Lookup KeyTable::find(std::uint32_t key, std::uint64_t address, std::uint64_t length, Access wanted) const {
  const auto found = grants_.find(key);
  if (found == grants_.end()) return {Verdict::unknownKey};
  const Grant& grant = found->second;
  if (!includes(grant.access, wanted)) return {Verdict::missingRight};
  if (address + length < address) return {Verdict::wraps};
  if (address < grant.base || address - grant.base > grant.length || length > grant.length - (address - grant.base)) {
    return {Verdict::outOfBounds};
  }
  return {Verdict::ok, grant.start + (address - grant.base), &grant};
}

}  // namespace rdmacp::fabric::iwarp

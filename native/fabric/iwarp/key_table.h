// key_table.h -- the keys (STags) of one connection: which memory the peer may use, and for what.
//
// Loop thread of the connection. Holds the registrations that it names; a key is never given out twice.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>

#include "fabric/fabric.h"

namespace rdmacp::fabric::iwarp {

class KeyTable {
 public:
  struct Grant {
    std::shared_ptr<const MemoryRegion> region;
    std::byte* start = nullptr;
    std::uint64_t base = 0;  // remote address of start
    std::uint64_t length = 0;
    Access access = Access::none;
  };

  enum class Verdict : std::uint8_t { ok, unknownKey, missingRight, wraps, outOfBounds };
  struct Lookup {
    Verdict verdict = Verdict::unknownKey;
    std::byte* address = nullptr;  // ok: where the range begins
    const Grant* grant = nullptr;  // ok
  };

  KeyTable();
  Result<RemoteWindow> grant(std::shared_ptr<const MemoryRegion> region, std::uint64_t offset, std::uint64_t length,
                             Access access);
  bool revoke(std::uint32_t key) { return grants_.erase(key) != 0; }
  bool contains(std::uint32_t key) const { return grants_.contains(key); }
  void clear() { grants_.clear(); }
  // Whether the peer may do that with length bytes at address; length is not 0.
  Lookup find(std::uint32_t key, std::uint64_t address, std::uint64_t length, Access wanted) const;
  // A key that no grant has or had.
  std::uint32_t nextKey();

 private:
  std::unordered_map<std::uint32_t, Grant> grants_;
  std::uint32_t counter_;
  std::uint32_t secret_;
};

}  // namespace rdmacp::fabric::iwarp

// region.h -- a region as the data plane knows it: its memory, its epoch, and who is connected to it.
//
// Any thread. Its mutex makes a fence exact: the epoch, the members and the unspent tokens change only under it, and a
// grant is made under it. Lock order: region, then session table, then token table; region, then the fabric (grant).
// Links are ended after the mutex has been released.
#pragma once

#include <memory>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "unit/connection_ref.h"
#include "unit/region_flushes.h"
#include "unit/region_memory.h"
#include "unit/session_table.h"
#include "unit/token_table.h"

namespace rdmacp::unit {

// A connection to a region, from the moment that its token was taken, half-open or not.
struct RegionMember {
  TokenBinding binding;
  std::shared_ptr<ConnectionRef> ref;
  bool revoked = false;  // under the region's mutex
};

struct GrantedWindow {
  fabric::RemoteWindow window;
  std::uint64_t epoch = 0;
  bool flush = false;  // has remoteFlush
};

class Region {
 public:
  Region(RegionId id, std::shared_ptr<RegionMemory> memory, std::uint64_t epoch, bool readOnly)
      : memory_(std::move(memory)), flushes_(memory_), id_(id), readOnly_(readOnly), epoch_(epoch) {}

  RegionMemory& memory() const { return *memory_; }
  RegionFlushes& flushes() { return flushes_; }

  Result<protocol::Token> issueToken(TokenTable& tokens, const TokenBinding& binding, std::chrono::milliseconds life);

  // Takes the token and makes the ref a member. tokenInvalid, or fenced when a later epoch owns the region.
  Result<std::shared_ptr<RegionMember>> admit(const protocol::Token& token, TokenTable& tokens, SessionTable& sessions,
                                              std::shared_ptr<ConnectionRef> ref);
  // Loop thread of the connection. Refused when the member was revoked since it was admitted. flush: the right to flush is
  // wished for, and given where the fabric has it.
  Result<GrantedWindow> grant(const RegionMember& member, fabric::Connection& connection,
                              const std::shared_ptr<const fabric::MemoryRegion>& registration, bool flush);
  // The connection has closed.
  void forget(const std::shared_ptr<RegionMember>& member);

  // What a fence, a drop or a removal took away. The caller ends the refs.
  struct Revoked {
    std::vector<std::shared_ptr<ConnectionRef>> refs;
    std::set<std::pair<SessionId, HandleId>> handles;
  };
  Result<Revoked> raiseEpoch(std::uint64_t epoch, TokenTable& tokens);
  Revoked dropHandle(HandleId handle, TokenTable& tokens);
  Revoked remove(TokenTable& tokens);

 private:
  template <class Predicate>
  Revoked revokeIf(Predicate predicate, const std::vector<TokenBinding>& tokens);

  const std::shared_ptr<RegionMemory> memory_;
  RegionFlushes flushes_;
  const RegionId id_;
  const bool readOnly_;
  std::mutex mutex_;
  std::uint64_t epoch_;
  bool removed_ = false;
  std::set<std::shared_ptr<RegionMember>> members_;
};

}  // namespace rdmacp::unit

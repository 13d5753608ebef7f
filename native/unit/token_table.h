// token_table.h -- the one-time tokens that bind a connection to an open of a region or to a session.
//
// Any thread; one mutex of its own, the innermost lock of the unit. Bounded: tokens that nobody uses expire.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <list>
#include <map>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <vector>

#include "fabric/fabric.h"
#include "protocol/messages.h"
#include "unit/ids.h"

namespace rdmacp::unit {

// What a token stands for. Compared and revoked by these.
struct TokenBinding {
  protocol::ConnectionKind kind = protocol::ConnectionKind::data;
  RegionId region = 0;
  HandleId handle = 0;
  SessionId session = 0;
  fabric::Access rights = fabric::Access::none;
  std::uint64_t epoch = 0;
};

bool mayWrite(fabric::Access rights);

class TokenTable {
 public:
  static constexpr std::size_t kCapacity = 65536;

  explicit TokenTable(std::size_t perSession = kCapacity) : perSession_(perSession) {}

  // limitReached when the session has as many as it may have that are neither used nor expired; systemError when there is no
  // randomness. A table that is full lets the oldest go of the session that has most.
  Result<protocol::Token> issue(const TokenBinding& binding, std::chrono::milliseconds life,
                                Clock::time_point now = Clock::now());

  // What the token stands for, without using it up; nothing when it is unknown, used or expired.
  std::optional<TokenBinding> find(const protocol::Token& token, Clock::time_point now = Clock::now()) const;
  // The same, and the token is used up.
  std::optional<TokenBinding> take(const protocol::Token& token, Clock::time_point now = Clock::now());

  // Each returns what it revoked.
  std::vector<TokenBinding> revokeWriters(RegionId region, std::uint64_t belowEpoch);
  std::vector<TokenBinding> revokeHandle(RegionId region, HandleId handle);
  std::vector<TokenBinding> revokeRegion(RegionId region);
  std::vector<TokenBinding> revokeSession(SessionId session);

  std::size_t outstanding(Clock::time_point now = Clock::now());

 private:
  // The first half of a token finds it, the second half proves it: a lookup tells by its time at most the first.
  static constexpr std::size_t kHalf = protocol::kTokenBytes / 2;
  using Half = std::array<std::byte, kHalf>;
  struct HalfHash {
    std::size_t operator()(const Half& half) const;
  };
  using Expiry = std::multimap<Clock::time_point, Half>;
  struct Entry {
    Half proof{};
    TokenBinding binding;
    Expiry::iterator expiry;
    std::list<Half>::iterator place;  // among its session's
  };
  using Entries = std::unordered_map<Half, Entry, HalfHash>;

  Entries::const_iterator locate(const protocol::Token& token, Clock::time_point now) const;
  void dropExpired(Clock::time_point now);
  void dropOfMost();
  Entries::iterator drop(Entries::const_iterator entry);
  template <class Predicate>
  std::vector<TokenBinding> revokeIf(Predicate predicate);

  mutable std::mutex mutex_;
  Entries entries_;
  Expiry byExpiry_;
  std::unordered_map<SessionId, std::list<Half>> bySession_;  // the oldest first; none is empty
  const std::size_t perSession_;
};

}  // namespace rdmacp::unit

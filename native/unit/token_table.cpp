// token_table.cpp -- issue, use and revocation of one-time tokens. Any thread.
#include "unit/token_table.h"

#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace rdmacp::unit {
namespace {

bool fillWithRandom(protocol::Token& token) {
  std::size_t filled = 0;
  while (filled < token.size()) {
    const ssize_t count = ::getrandom(token.data() + filled, token.size() - filled, 0);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    filled += static_cast<std::size_t>(count);
  }
  return true;
}

// Takes the same time wherever the two differ.
template <std::size_t N>
bool equalInConstantTime(const std::array<std::byte, N>& a, const std::array<std::byte, N>& b) {
  volatile unsigned char difference = 0;
  for (std::size_t i = 0; i < N; ++i) {
    difference = static_cast<unsigned char>(difference | std::to_integer<unsigned char>(a[i] ^ b[i]));
  }
  return difference == 0;
}

template <std::size_t N>
std::pair<std::array<std::byte, N>, std::array<std::byte, N>> halves(const std::array<std::byte, 2 * N>& whole) {
  std::pair<std::array<std::byte, N>, std::array<std::byte, N>> result;
  std::copy_n(whole.begin(), N, result.first.begin());
  std::copy_n(whole.begin() + N, N, result.second.begin());
  return result;
}

}  // namespace

bool mayWrite(fabric::Access rights) {
  return (static_cast<unsigned>(rights) & static_cast<unsigned>(fabric::Access::remoteWrite)) != 0;
}

// The bytes are random already.
std::size_t TokenTable::HalfHash::operator()(const Half& half) const {
  std::size_t value = 0;
  std::memcpy(&value, half.data(), sizeof value);
  return value;
}

Result<protocol::Token> TokenTable::issue(const TokenBinding& binding, std::chrono::milliseconds life,
                                          Clock::time_point now) {
  protocol::Token token;
  if (!fillWithRandom(token)) {
    return Error{ErrorCode::systemError, std::string("no random bytes for a token: ") + std::strerror(errno), errno};
  }
  const std::lock_guard lock(mutex_);
  dropExpired(now);
  if (const auto own = bySession_.find(binding.session); own != bySession_.end() && own->second.size() >= perSession_) {
    return Error{
        ErrorCode::limitReached,
        "the session has " + std::to_string(perSession_) +
            " tokens that it has not used, and that is its limit; connect with them, or wait until they expire",
        0};
  }
  if (entries_.size() >= kCapacity) dropOfMost();
  const auto [key, proof] = halves<kHalf>(token);
  const auto expiry = byExpiry_.emplace(now + life, key);
  auto& own = bySession_[binding.session];
  entries_.insert_or_assign(key, Entry{proof, binding, expiry, own.insert(own.end(), key)});
  return token;
}

// With the mutex held, as everything that follows.
TokenTable::Entries::iterator TokenTable::drop(Entries::const_iterator entry) {
  byExpiry_.erase(entry->second.expiry);
  const auto own = bySession_.find(entry->second.binding.session);
  own->second.erase(entry->second.place);
  if (own->second.empty()) bySession_.erase(own);
  return entries_.erase(entry);
}

void TokenTable::dropOfMost() {
  const auto most = std::max_element(bySession_.begin(), bySession_.end(),
                                     [](const auto& a, const auto& b) { return a.second.size() < b.second.size(); });
  if (most != bySession_.end()) drop(entries_.find(most->second.front()));
}

std::optional<TokenBinding> TokenTable::find(const protocol::Token& token, Clock::time_point now) const {
  const std::lock_guard lock(mutex_);
  const auto found = locate(token, now);
  if (found == entries_.end()) return std::nullopt;
  return found->second.binding;
}

std::optional<TokenBinding> TokenTable::take(const protocol::Token& token, Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  const auto found = locate(token, now);
  if (found == entries_.end()) return std::nullopt;
  const auto binding = found->second.binding;
  drop(found);
  return binding;
}

TokenTable::Entries::const_iterator TokenTable::locate(const protocol::Token& token, Clock::time_point now) const {
  const auto [key, proof] = halves<kHalf>(token);
  const auto found = entries_.find(key);
  if (found == entries_.end() || !equalInConstantTime(found->second.proof, proof)) return entries_.end();
  if (found->second.expiry->first <= now) return entries_.end();
  return found;
}

void TokenTable::dropExpired(Clock::time_point now) {
  while (!byExpiry_.empty() && byExpiry_.begin()->first <= now) {
    drop(entries_.find(byExpiry_.begin()->second));
  }
}

template <class Predicate>
std::vector<TokenBinding> TokenTable::revokeIf(Predicate predicate) {
  const std::lock_guard lock(mutex_);
  std::vector<TokenBinding> revoked;
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    if (!predicate(entry->second.binding)) {
      ++entry;
      continue;
    }
    revoked.push_back(entry->second.binding);
    entry = drop(entry);
  }
  return revoked;
}

std::vector<TokenBinding> TokenTable::revokeWriters(RegionId region, std::uint64_t belowEpoch) {
  return revokeIf([=](const TokenBinding& binding) {
    return binding.kind == protocol::ConnectionKind::data && binding.region == region && mayWrite(binding.rights) &&
           binding.epoch < belowEpoch;
  });
}

std::vector<TokenBinding> TokenTable::revokeHandle(RegionId region, HandleId handle) {
  return revokeIf([=](const TokenBinding& binding) {
    return binding.kind == protocol::ConnectionKind::data && binding.region == region && binding.handle == handle;
  });
}

std::vector<TokenBinding> TokenTable::revokeRegion(RegionId region) {
  return revokeIf([=](const TokenBinding& binding) {
    return binding.kind == protocol::ConnectionKind::data && binding.region == region;
  });
}

std::vector<TokenBinding> TokenTable::revokeSession(SessionId session) {
  return revokeIf([=](const TokenBinding& binding) { return binding.session == session; });
}

std::size_t TokenTable::outstanding(Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  dropExpired(now);
  return entries_.size();
}

}  // namespace rdmacp::unit

// region.cpp -- admission, grants and revocation, each under the region's one mutex.
#include "unit/region.h"

#include <string>

#include "unit/skipped_fence.h"

namespace rdmacp::unit {
namespace {

Error fencedError(RegionId id, std::uint64_t asked, std::uint64_t epoch) {
  return {ErrorCode::fenced,
          "region " + std::to_string(id) + " is at epoch " + std::to_string(epoch) + "; a writer of epoch " +
              std::to_string(asked) + " may not write it any more",
          0};
}

Error invalidToken() {
  return {ErrorCode::tokenInvalid, "the token is unknown, used or expired", 0};
}

}  // namespace

Result<protocol::Token> Region::issueToken(TokenTable& tokens, const TokenBinding& binding,
                                           std::chrono::milliseconds life) {
  if (binding.rights == fabric::Access::none) {
    return Error{ErrorCode::invalidArgument, "a token for a region needs the right to read or to write", 0};
  }
  const std::lock_guard lock(mutex_);
  if (removed_) return Error{ErrorCode::notFound, "region " + std::to_string(id_) + " has been removed", 0};
  if (mayWrite(binding.rights)) {
    if (readOnly_) return Error{ErrorCode::invalidArgument, "region " + std::to_string(id_) + " is read-only", 0};
    if (binding.epoch < epoch_) return fencedError(id_, binding.epoch, epoch_);
    if (binding.epoch > epoch_) {
      return Error{ErrorCode::invalidArgument,
                   "region " + std::to_string(id_) + " is at epoch " + std::to_string(epoch_) +
                       "; fence it to raise the epoch to " + std::to_string(binding.epoch) + " first",
                   0};
    }
  }
  return tokens.issue(binding, life);
}

Result<std::shared_ptr<RegionMember>> Region::admit(const protocol::Token& token, TokenTable& tokens,
                                                    SessionTable& sessions, std::shared_ptr<ConnectionRef> ref) {
  const std::lock_guard lock(mutex_);
  const auto binding = tokens.take(token);
  if (!binding || removed_) return invalidToken();
  if (mayWrite(binding->rights) && binding->epoch < epoch_) return fencedError(id_, binding->epoch, epoch_);
  if (!sessions.addData(binding->session, ref)) return invalidToken();
  auto member = std::make_shared<RegionMember>(RegionMember{*binding, std::move(ref), false});
  members_.insert(member);
  return member;
}

Result<GrantedWindow> Region::grant(const RegionMember& member, fabric::Connection& connection,
                                    const std::shared_ptr<const fabric::MemoryRegion>& registration, bool flush) {
  const std::lock_guard lock(mutex_);
  if (mayWrite(member.binding.rights) && member.binding.epoch < epoch_) {
    return fencedError(id_, member.binding.epoch, epoch_);
  }
  if (removed_ || member.revoked) return Error{ErrorCode::connectionClosed, "the open of this region has ended", 0};
  const auto rights = member.binding.rights;
  if (flush && mayWrite(rights)) {
    const auto window = connection.grant(registration, 0, memory_->length(), rights | fabric::Access::remoteFlush);
    if (window) return GrantedWindow{window.value(), epoch_, true};
    if (window.error().code != ErrorCode::notSupported) return window.error();
  }
  const auto window = connection.grant(registration, 0, memory_->length(), rights);
  if (!window) return window.error();
  return GrantedWindow{window.value(), epoch_, false};
}

void Region::forget(const std::shared_ptr<RegionMember>& member) {
  const std::lock_guard lock(mutex_);
  members_.erase(member);
}

// Called with the mutex held. A member stays one until its connection has closed, so that a second fence waits for the
// same connections as the first.
template <class Predicate>
Region::Revoked Region::revokeIf(Predicate predicate, const std::vector<TokenBinding>& tokens) {
  Revoked revoked;
  for (const auto& token : tokens)
    revoked.handles.emplace(token.session, token.handle);
  for (const auto& member : members_) {
    if (!predicate(member->binding)) continue;
    if (!member->revoked) revoked.handles.emplace(member->binding.session, member->binding.handle);
    member->revoked = true;
    revoked.refs.push_back(member->ref);
  }
  return revoked;
}

Result<Region::Revoked> Region::raiseEpoch(std::uint64_t epoch, TokenTable& tokens) {
  const std::lock_guard lock(mutex_);
  if (removed_) return Error{ErrorCode::notFound, "region " + std::to_string(id_) + " has been removed", 0};
  if (epoch < epoch_) {
    return Error{ErrorCode::invalidArgument,
                 "region " + std::to_string(id_) + " is at epoch " + std::to_string(epoch_) + ", above the " +
                     std::to_string(epoch) + " asked for",
                 0};
  }
  epoch_ = epoch;
  if (fenceIsSkipped()) return Revoked{};
  return revokeIf([&](const TokenBinding& binding) { return mayWrite(binding.rights) && binding.epoch < epoch; },
                  tokens.revokeWriters(id_, epoch));
}

Region::Revoked Region::dropHandle(HandleId handle, TokenTable& tokens) {
  const std::lock_guard lock(mutex_);
  return revokeIf([&](const TokenBinding& binding) { return binding.handle == handle; },
                  tokens.revokeHandle(id_, handle));
}

Region::Revoked Region::remove(TokenTable& tokens) {
  const std::lock_guard lock(mutex_);
  removed_ = true;
  return revokeIf([](const TokenBinding&) { return true; }, tokens.revokeRegion(id_));
}

}  // namespace rdmacp::unit

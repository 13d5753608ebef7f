// handshake.cpp -- hello, refusals and the checks of grant and welcome. Pure functions, any thread.
#include "client/handshake.h"

namespace rdmacp::client {

namespace {

// JavaScript's safe integers: offsets cross into it as numbers.
constexpr std::uint64_t kMaxRegionBytes = (std::uint64_t{1} << 53) - 1;
constexpr std::uint32_t kMaxHeartbeatMs = 60'000;
// Header of a flush message and one range: a smaller limit would leave no message that this side can send.
constexpr std::uint32_t kSmallestMaxMessage = 64;

std::string range(std::uint16_t low, std::uint16_t high) {
  return low == high ? std::to_string(low) : std::to_string(low) + " to " + std::to_string(high);
}

std::string versions(std::uint16_t low, std::uint16_t high, const std::string& peer) {
  return "no data protocol version in common: this client speaks " +
         range(protocol::kVersionMin, protocol::kVersionMax) + ", the unit at " + peer + " speaks " + range(low, high) +
         "; upgrade the older of the two";
}

std::string reasonFor(ErrorCode code) {
  switch (code) {
    case ErrorCode::tokenInvalid:
      return "the token of the connection is unknown, used or expired";
    case ErrorCode::fenced:
      return "a later epoch owns the region";
    case ErrorCode::limitReached:
      return "the unit has as many connections as its limit allows";
    case ErrorCode::stopped:
      return "the unit is stopping";
    case ErrorCode::notFound:
      return "the region or session is gone";
    case ErrorCode::timedOut:
      return "the set-up took too long";
    default:
      return "error " + std::to_string(static_cast<int>(code));
  }
}

Error violation(const std::string& what) {
  return {ErrorCode::protocolViolation, what};
}

}  // namespace

protocol::Hello makeHello(std::uint32_t maxMessage, bool canFlush) {
  protocol::Hello hello;
  hello.capabilities = canFlush ? protocol::kCapabilityFlushVerb : 0;
  hello.maxMessage = maxMessage;
  return hello;
}

Error rejectedBy(fabric::ConstBytes rejectData, const std::string& peer) {
  if (rejectData.empty()) return {ErrorCode::connectionRefused, peer + " rejected the connection without a reason"};
  const auto parsed = protocol::parseRejectData(rejectData);
  if (!parsed) {
    return {ErrorCode::connectionRefused,
            peer + " rejected the connection with data that is none of this protocol: " + parsed.error().message};
  }
  const ErrorCode code = knownCode(parsed.value().code);
  if (code == ErrorCode::versionMismatch) {
    return {code, versions(parsed.value().versionMin, parsed.value().versionMax, peer)};
  }
  return {code, "the unit at " + peer + " rejected the connection: " + reasonFor(code)};
}

Error refusedBy(const protocol::Refuse& refuse, const std::string& peer) {
  const ErrorCode code = knownCode(refuse.code);
  if (code == ErrorCode::versionMismatch) return {code, versions(refuse.versionMin, refuse.versionMax, peer)};
  return {code, "the unit at " + peer + " refused: " + (refuse.text.empty() ? reasonFor(code) : refuse.text)};
}

Status checkGrant(const protocol::Grant& grant) {
  if (grant.length > kMaxRegionBytes) return violation("grant: length " + std::to_string(grant.length));
  if (grant.base + grant.length < grant.base) {
    return violation("grant: base " + std::to_string(grant.base) + " and length " + std::to_string(grant.length) +
                     " wrap around");
  }
  if ((grant.rights & ~static_cast<std::uint32_t>(fabric::Access::remoteReadWrite)) != 0) {
    return violation("grant: unknown rights " + std::to_string(grant.rights));
  }
  if (grant.credits == 0) return violation("grant: no flush credits");
  if (grant.maxMessage < kSmallestMaxMessage) {
    return violation("grant: largest message " + std::to_string(grant.maxMessage));
  }
  return {};
}

Status checkWelcome(const protocol::Welcome& welcome) {
  if (welcome.heartbeatMs == 0 || welcome.heartbeatMs > kMaxHeartbeatMs) {
    return violation("welcome: heartbeat every " + std::to_string(welcome.heartbeatMs) + " ms");
  }
  return {};
}

Status checkVersion(std::uint16_t version) {
  if (version >= protocol::kVersionMin && version <= protocol::kVersionMax) return {};
  return violation("answer in version " + std::to_string(version) + ", which the hello did not offer");
}

ErrorCode knownCode(ErrorCode code) {
  const bool known = code != ErrorCode::ok && code <= kLastErrorCode;
  return known ? code : ErrorCode::protocolViolation;
}

}  // namespace rdmacp::client

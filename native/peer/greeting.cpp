// greeting.cpp -- see greeting.h. Pure functions, any thread.
#include "peer/greeting.h"

#include <algorithm>

#include "protocol/wire_bytes.h"

namespace rdmacp::peer {

namespace {

using protocol::WireReader;
using protocol::WireWriter;

constexpr std::uint32_t kMagic = 0x4c504452;  // "RDPL"
constexpr std::uint16_t kProofType = 1;
constexpr std::uint16_t kOfferType = 2;
constexpr std::size_t kIntroductionBytes = 48;
constexpr std::size_t kTicketOffset = 40;
constexpr std::size_t kProofBytes = 40;
constexpr std::size_t kOfferBytes = 88;

Error violation(const std::string& what) {
  return {ErrorCode::protocolViolation, what, 0};
}

Status checkMessage(WireReader& in, std::size_t bytes, std::uint16_t type, const char* name) {
  if (in.left() != bytes) {
    return violation(std::string(name) + " has " + std::to_string(bytes) + " bytes, and " + std::to_string(in.left()) +
                     " came");
  }
  if (in.take<std::uint32_t>() != kMagic || in.take<std::uint16_t>() != type) {
    return violation(std::string(name) + " was expected, and something else came");
  }
  return {};
}

WireWriter begunOffer(const Offer& offer) {
  WireWriter out(kOfferBytes);
  out.put(kMagic);
  out.put(kOfferType);
  out.put(offer.version);
  out.put(offer.status.key);
  out.put(offer.mailbox.key);
  out.put(offer.status.base);
  out.put(offer.status.length);
  out.put(offer.mailbox.base);
  out.put(offer.mailbox.length);
  out.put(std::uint64_t{0});
  return out;
}

Sha256 proofOver(const Sha256& key, const Acquaintance& acquaintance, std::span<const std::byte> message) {
  std::vector<std::byte> text = encode(acquaintance.connecting);
  for (const auto& part : {encode(acquaintance.accepting), std::vector<std::byte>(message.begin(), message.end())})
    text.insert(text.end(), part.begin(), part.end());
  return hmacSha256(key, text);
}

}  // namespace

std::vector<std::byte> encode(const Introduction& introduction) {
  WireWriter out(kIntroductionBytes);
  out.put(kMagic);
  out.put(introduction.versionMin);
  out.put(introduction.versionMax);
  out.put(introduction.bootId);
  out.put(introduction.nonce);
  out.put(introduction.ticket);
  return out.take();
}

std::vector<std::byte> encode(const Proof& proof) {
  WireWriter out(kProofBytes);
  out.put(kMagic);
  out.put(kProofType);
  out.put(proof.version);
  out.put(proof.proof);
  return out.take();
}

std::vector<std::byte> encode(const Offer& offer) {
  WireWriter out = begunOffer(offer);
  out.put(offer.proof);
  return out.take();
}

Result<Introduction> parseIntroduction(fabric::ConstBytes bytes) {
  if (bytes.size() < kIntroductionBytes) {
    return violation("a peer introduces itself with " + std::to_string(kIntroductionBytes) + " bytes, and " +
                     std::to_string(bytes.size()) + " came");
  }
  const auto padding = bytes.subspan(kIntroductionBytes);
  if (std::any_of(padding.begin(), padding.end(), [](std::byte byte) { return byte != std::byte{0}; })) {
    return violation("something follows the introduction of a peer");
  }
  WireReader in(bytes);
  if (in.take<std::uint32_t>() != kMagic) return violation("the other side is no peer of this package");
  Introduction introduction;
  introduction.versionMin = in.take<std::uint16_t>();
  introduction.versionMax = in.take<std::uint16_t>();
  if (introduction.versionMin == 0 || introduction.versionMin > introduction.versionMax) {
    return violation("a peer offers versions " + std::to_string(introduction.versionMin) + " to " +
                     std::to_string(introduction.versionMax));
  }
  std::ranges::copy(in.takeBytes(kIdentityBytes), introduction.bootId.begin());
  std::ranges::copy(in.takeBytes(kIdentityBytes), introduction.nonce.begin());
  std::ranges::copy(in.takeBytes(introduction.ticket.size()), introduction.ticket.begin());
  return introduction;
}

Result<Proof> parseProof(fabric::ConstBytes bytes) {
  WireReader in(bytes);
  if (Status checked = checkMessage(in, kProofBytes, kProofType, "the proof of a peer"); !checked) {
    return checked.error();
  }
  Proof proof;
  proof.version = in.take<std::uint16_t>();
  std::ranges::copy(in.takeBytes(proof.proof.size()), proof.proof.begin());
  return proof;
}

Result<Offer> parseOffer(fabric::ConstBytes bytes) {
  WireReader in(bytes);
  if (Status checked = checkMessage(in, kOfferBytes, kOfferType, "the offer of a peer"); !checked) {
    return checked.error();
  }
  Offer offer;
  offer.version = in.take<std::uint16_t>();
  offer.status.key = in.take<std::uint32_t>();
  offer.mailbox.key = in.take<std::uint32_t>();
  offer.status.base = in.take<std::uint64_t>();
  offer.status.length = in.take<std::uint64_t>();
  offer.mailbox.base = in.take<std::uint64_t>();
  offer.mailbox.length = in.take<std::uint64_t>();
  if (in.take<std::uint64_t>() != 0) return violation("the offer of a peer has something where zeros belong");
  std::ranges::copy(in.takeBytes(offer.proof.size()), offer.proof.begin());
  return offer;
}

Sha256 pairKey(std::span<const std::byte> secret, std::span<const std::byte> name) {
  return hmacSha256(secret, name);
}

Ticket ticketOf(const Sha256& key, const Introduction& introduction) {
  const auto bytes = encode(introduction);
  const auto mac = hmacSha256(key, std::span(bytes).first(kTicketOffset));
  Ticket ticket;
  std::copy_n(mac.begin(), ticket.size(), ticket.begin());
  return ticket;
}

Sha256 proofOf(const Sha256& key, const Acquaintance& acquaintance) {
  WireWriter message(8);
  message.put(kMagic);
  message.put(kProofType);
  message.put(acquaintance.accepting.versionMax);
  return proofOver(key, acquaintance, message.take());
}

Sha256 proofOf(const Sha256& key, const Acquaintance& acquaintance, const Offer& offer) {
  return proofOver(key, acquaintance, begunOffer(offer).take());
}

}  // namespace rdmacp::peer

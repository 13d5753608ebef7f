// peer_format_test.cpp -- what docs/peer-protocol.md says of the bytes, and that no other bytes are taken for it.
#include <functional>
#include <string>
#include <vector>

#include "base/crc32c.h"
#include "check.h"
#include "peer/greeting.h"
#include "peer/mailbox_record.h"
#include "peer/status_block.h"

namespace {

using namespace rdmacp;
using namespace rdmacp::peer;
using Buffer = std::vector<std::byte>;

std::string hexOf(std::span<const std::byte> bytes) {
  std::string text;
  for (const std::byte byte : bytes) {
    char pair[3];
    std::snprintf(pair, sizeof pair, "%02x", std::to_integer<unsigned>(byte));
    text += pair;
  }
  return text;
}

template <std::size_t Size>
std::array<std::byte, Size> filled(unsigned value) {
  std::array<std::byte, Size> bytes{};
  bytes.fill(static_cast<std::byte>(value));
  return bytes;
}

StatusBlock sampleBlock() {
  StatusBlock block;
  block.version = 1;
  block.sequence = 2;
  block.bootId = filled<16>(0xb0);
  block.state = "primary";
  block.epoch = 3;
  block.progress = 4;
  block.clockMs = 5000;
  block.turnedMs = 4900;
  block.greeted = filled<16>(0xc0);
  block.greetedStep = 2;
  return block;
}

MailboxRecord sampleRecord() {
  MailboxRecord record;
  record.version = 1;
  record.step = MailStep::introduction;
  record.status = {0x11223344, 0x5566778899aabbcc, kStatusBytes};
  record.sender = filled<16>(0xb1);
  record.receiver = filled<16>(0xb2);
  record.connection = filled<16>(0xc1);
  return record;
}

// With a checksum that fits what is there now.
template <std::size_t Size>
void sign(std::array<std::byte, Size>& bytes) {
  const std::uint32_t crc = crc32c(0, std::span<const std::byte>(bytes).first(Size - 4));
  for (std::size_t i = 0; i < 4; ++i)
    bytes[Size - 4 + i] = static_cast<std::byte>((crc >> (8 * i)) & 0xffU);
}

TEST(a_status_block_lies_as_documented) {
  const auto bytes = encode(sampleBlock());
  CHECK_EQ(hexOf(std::span(bytes).first(124)),
           "52445053"
           "0100"
           "8000"
           "0200000000000000"
           "b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0"
           "7072696d617279000000000000000000"
           "0000000000000000"
           "0300000000000000"
           "0400000000000000"
           "8813000000000000"
           "2413000000000000"
           "c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0"
           "02000000"
           "00000000000000000000000000000000");
  const auto parsed = parseStatusBlock(bytes, 1);
  CHECK(parsed.ok());
  CHECK(parsed.value().has_value());
  CHECK(encode(*parsed.value()) == bytes);
}

TEST(a_mailbox_record_lies_as_documented) {
  const auto bytes = encode(sampleRecord());
  CHECK_EQ(hexOf(std::span(bytes).first(80)),
           "5244504d"
           "0100"
           "8000"
           "01000000"
           "44332211"
           "ccbbaa9988776655"
           "8000000000000000"
           "b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1"
           "b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2"
           "c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1");
  CHECK_EQ(hexOf(std::span(bytes).subspan(80, 44)), std::string(88, '0'));
  const auto parsed = parseMailboxRecord(bytes, 1);
  CHECK(parsed.ok());
  CHECK(parsed.value().has_value());
  CHECK(encode(*parsed.value()) == bytes);
}

TEST(introductions_proofs_and_offers_lie_as_documented) {
  CHECK_EQ(hexOf(encode(Introduction{1, 2, filled<16>(0xb0), filled<16>(0xc0), filled<8>(0xd0)})),
           "5244504c"
           "0100"
           "0200" +
               hexOf(filled<16>(0xb0)) + hexOf(filled<16>(0xc0)) + hexOf(filled<8>(0xd0)));
  CHECK_EQ(hexOf(encode(Proof{1, filled<32>(0xaa)})),
           "5244504c"
           "0100"
           "0100" +
               hexOf(filled<32>(0xaa)));
  Offer offer{1, {0x01020304, 0x1000, kStatusBytes}, {0x05060708, 0x2000, kMailboxBytes}, filled<32>(0xaa)};
  CHECK_EQ(hexOf(encode(offer)),
           "5244504c"
           "0200"
           "0100"
           "04030201"
           "08070605"
           "0010000000000000"
           "8000000000000000"
           "0020000000000000"
           "8000000000000000"
           "0000000000000000" +
               hexOf(filled<32>(0xaa)));
  const auto parsed = parseOffer(encode(offer));
  CHECK(parsed.ok());
  CHECK(encode(parsed.value()) == encode(offer));
}

TEST(an_empty_mailbox_is_empty_and_not_a_record) {
  const auto parsed = parseMailboxRecord(std::array<std::byte, kMailboxBytes>{}, 1);
  CHECK(parsed.ok());
  CHECK(!parsed.value().has_value());
}

TEST(no_single_changed_bit_makes_another_block_or_record) {
  const auto block = encode(sampleBlock());
  const auto record = encode(sampleRecord());
  for (std::size_t bit = 0; bit < 8 * kStatusBytes; ++bit) {
    auto changedBlock = block;
    changedBlock[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    const auto parsedBlock = parseStatusBlock(changedBlock, 1);
    CHECK(!parsedBlock.ok() || !parsedBlock.value().has_value());
    auto changedRecord = record;
    changedRecord[bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    const auto parsedRecord = parseMailboxRecord(changedRecord, 1);
    CHECK(!parsedRecord.ok() || !parsedRecord.value().has_value());
  }
}

TEST(a_block_that_is_half_old_and_half_new_is_torn_at_every_byte) {
  const auto before = encode(sampleBlock());
  StatusBlock changed = sampleBlock();
  changed.sequence = 3;
  changed.progress = 0x0102030405060708;
  changed.clockMs = changed.turnedMs = 6000;
  const auto after = encode(changed);
  for (std::size_t cut = 9; cut < kStatusBytes; ++cut) {
    auto torn = before;
    std::copy_n(after.begin(), cut, torn.begin());
    const auto parsed = parseStatusBlock(torn, 1);
    CHECK(parsed.ok());
    CHECK(torn == before || torn == after || !parsed.value().has_value());
  }
}

// Signed, so that nothing but the checks themselves refuses them.
TEST(random_changes_behind_a_right_checksum_are_refused_or_harmless) {
  std::uint64_t taken = 0;
  std::uint64_t refused = 0;
  for (std::uint64_t round = 0; round < check::rounds(500'000, 20'000); ++round) {
    auto block = encode(sampleBlock());
    auto record = encode(sampleRecord());
    for (std::uint64_t changes = 1 + check::random()() % 3; changes > 0; --changes) {
      block[check::random()() % kStatusBytes] = static_cast<std::byte>(check::random()() & 0xffU);
      record[check::random()() % kMailboxBytes] = static_cast<std::byte>(check::random()() & 0xffU);
    }
    sign(block);
    sign(record);
    if (const auto parsed = parseStatusBlock(block, 1)) {
      CHECK(parsed.value().has_value());
      CHECK(isState(parsed.value()->state));
      CHECK(parsed.value()->turnedMs <= parsed.value()->clockMs);
      ++taken;
    } else {
      ++refused;
    }
    if (const auto parsed = parseMailboxRecord(record, 1)) {
      CHECK(parsed.value().has_value());
      CHECK_EQ(parsed.value()->status.length, kStatusBytes);
      CHECK(parsed.value()->status.base + kStatusBytes >= parsed.value()->status.base);
    }
  }
  CHECK(taken > 0);
  CHECK(refused > 0);
}

TEST(messages_of_any_length_and_content_are_refused_without_harm) {
  for (std::uint64_t round = 0; round < check::rounds(200'000, 20'000); ++round) {
    Buffer bytes(check::random()() % 100);
    for (std::byte& byte : bytes)
      byte = static_cast<std::byte>(check::random()() & 0xffU);
    CHECK(!parseProof(bytes).ok());
    CHECK(!parseOffer(bytes).ok());
    CHECK(!parseIntroduction(bytes).ok());
  }
  const Buffer offer = encode(Offer{1, {1, 2, 3}, {4, 5, 6}, {}});
  const Buffer proof = encode(Proof{1, {}});
  for (std::size_t length = 0; length < offer.size(); ++length)
    CHECK(!parseOffer(std::span(offer).first(length)).ok());
  for (std::size_t length = 0; length < proof.size(); ++length)
    CHECK(!parseProof(std::span(proof).first(length)).ok());
}

TEST(a_ticket_holds_for_its_introduction_and_its_key_only) {
  const Sha256 key = pairKey(filled<16>(1), filled<4>(2));
  Introduction sample{1, 1, filled<16>(1), filled<16>(2), {}};
  const Ticket ticket = ticketOf(key, sample);
  CHECK(ticket != ticketOf(pairKey(filled<16>(1), filled<4>(3)), sample));
  for (const auto& change : std::vector<std::function<void(Introduction&)>>{
           [](Introduction& i) { ++i.versionMax; }, [](Introduction& i) { i.bootId[15] ^= std::byte{1}; },
           [](Introduction& i) { i.nonce[15] ^= std::byte{1}; }}) {
    Introduction other = sample;
    change(other);
    CHECK(ticketOf(key, other) != ticket);
  }
  sample.ticket = ticket;
  CHECK(ticketOf(key, sample) == ticket);
}

TEST(a_proof_holds_for_its_connection_its_direction_and_its_windows_only) {
  const Sha256 key = pairKey(filled<16>(1), filled<4>(2));
  CHECK(key != pairKey(filled<16>(1), filled<4>(3)));
  CHECK(key != pairKey(filled<16>(2), filled<4>(2)));
  const Acquaintance sample{{1, 1, filled<16>(1), filled<16>(2), filled<8>(5)},
                            {1, 1, filled<16>(3), filled<16>(4), {}}};
  const Offer offer{1, {1, 2, kStatusBytes}, {3, 4, kMailboxBytes}, {}};
  const std::vector<std::function<void(Acquaintance&)>> changes{
      [](Acquaintance& a) { a.connecting.bootId[0] ^= std::byte{1}; },
      [](Acquaintance& a) { a.connecting.nonce[15] ^= std::byte{1}; },
      [](Acquaintance& a) { a.accepting.bootId[0] ^= std::byte{1}; },
      [](Acquaintance& a) { a.accepting.nonce[15] ^= std::byte{1}; },
      [](Acquaintance& a) { a.connecting.versionMax = 2; },
      [](Acquaintance& a) { a.connecting.ticket[7] ^= std::byte{1}; },
      [](Acquaintance& a) { std::swap(a.connecting, a.accepting); },
  };
  for (const auto& change : changes) {
    Acquaintance other = sample;
    change(other);
    CHECK(proofOf(key, other) != proofOf(key, sample));
    CHECK(proofOf(key, other, offer) != proofOf(key, sample, offer));
  }
  CHECK(proofOf(key, sample) != proofOf(key, sample, offer));
  for (const auto& change : std::vector<std::function<void(Offer&)>>{
           [](Offer& o) { ++o.status.key; }, [](Offer& o) { ++o.status.base; }, [](Offer& o) { ++o.status.length; },
           [](Offer& o) { ++o.mailbox.key; }, [](Offer& o) { ++o.mailbox.base; }, [](Offer& o) { ++o.mailbox.length; },
           [](Offer& o) { ++o.version; }}) {
    Offer other = offer;
    change(other);
    CHECK(proofOf(key, sample, other) != proofOf(key, sample, offer));
  }
}

}  // namespace

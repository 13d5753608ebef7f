// crc32c_test.cpp -- the implementations of CRC32C agree with each other and with the published vectors.
#include "base/crc32c.h"

#include <vector>

#include "check.h"

namespace {

using namespace rdmacp;

std::span<const std::byte> bytesOf(const std::string& text) {
  return std::as_bytes(std::span(text));
}

std::vector<std::byte> randomBytes(std::size_t length) {
  std::vector<std::byte> bytes(length);
  for (auto& byte : bytes)
    byte = static_cast<std::byte>(check::random()() & 0xffU);
  return bytes;
}

std::vector<const crc32c_detail::Implementation*> implementations() {
  std::vector<const crc32c_detail::Implementation*> all{&crc32c_detail::tableImplementation()};
  if (&crc32c_detail::chosenImplementation() != all[0]) all.push_back(&crc32c_detail::chosenImplementation());
  return all;
}

TEST(the_vectors_of_rfc_3720_come_out) {
  CHECK_EQ(crc32c(0, bytesOf("123456789")), 0xe3069283U);
  CHECK_EQ(crc32c(0, bytesOf(std::string(32, '\0'))), 0x8a9136aaU);
  CHECK_EQ(crc32c(0, bytesOf(std::string(32, '\xff'))), 0x62a8ab43U);
  CHECK_EQ(crc32c(0, {}), 0U);
  for (const auto* implementation : implementations()) {
    const std::string digits = "123456789";
    const auto text = bytesOf(digits);
    CHECK_EQ(~implementation->checksum(~0U, text.data(), text.size()), 0xe3069283U);
  }
}

TEST(every_length_and_alignment_gives_the_same_in_all_implementations) {
  const auto bytes = randomBytes(10000);
  const auto& table = crc32c_detail::tableImplementation();
  for (std::size_t length = 0; length < 9000; length = length < 800 ? length + 1 : length + 61) {
    const std::size_t offset = length % 13;
    const std::uint32_t expected = table.checksum(0x1234U, bytes.data() + offset, length);
    for (const auto* implementation : implementations()) {
      CHECK_EQ(implementation->checksum(0x1234U, bytes.data() + offset, length), expected);
      std::vector<std::byte> copy(length + 2, std::byte{0xee});
      CHECK_EQ(implementation->copy(0x1234U, copy.data() + 1, bytes.data() + offset, length), expected);
      CHECK(std::memcmp(copy.data() + 1, bytes.data() + offset, length) == 0);
      CHECK(copy.front() == std::byte{0xee} && copy.back() == std::byte{0xee});
    }
  }
}

TEST(a_checksum_continues_where_another_ended) {
  const auto bytes = randomBytes(20000);
  const std::span<const std::byte> all(bytes);
  const std::uint32_t whole = crc32c(0, all);
  for (std::size_t cut : {std::size_t{0}, std::size_t{1}, std::size_t{7}, std::size_t{3072}, std::size_t{19999}}) {
    CHECK_EQ(crc32c(crc32c(0, all.first(cut)), all.subspan(cut)), whole);
    std::vector<std::byte> copy(bytes.size());
    const std::uint32_t first = copyCrc32c(0, copy.data(), all.first(cut));
    CHECK_EQ(copyCrc32c(first, copy.data() + cut, all.subspan(cut)), whole);
    CHECK(copy == bytes);
  }
}

}  // namespace

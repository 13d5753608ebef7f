// sha256_test.cpp -- the published vectors of SHA-256 (FIPS 180-4) and HMAC-SHA-256 (RFC 4231).
#include "base/sha256.h"

#include <string>
#include <vector>

#include "check.h"

namespace {

using namespace rdmacp;
using Buffer = std::vector<std::byte>;

Buffer bytesOf(const std::string& text) {
  Buffer bytes;
  for (const char character : text)
    bytes.push_back(static_cast<std::byte>(character));
  return bytes;
}

std::string hex(const Sha256& digest) {
  std::string text;
  for (const std::byte byte : digest) {
    char pair[3];
    std::snprintf(pair, sizeof pair, "%02x", std::to_integer<unsigned>(byte));
    text += pair;
  }
  return text;
}

TEST(the_digests_of_the_standard) {
  CHECK_EQ(hex(sha256({})), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK_EQ(hex(sha256(bytesOf("abc"))), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK_EQ(hex(sha256(bytesOf("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"))),
           "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK_EQ(hex(sha256(bytesOf(std::string(1'000'000, 'a')))),
           "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(every_length_around_a_block_has_a_digest_of_its_own) {
  std::vector<std::string> seen;
  for (std::size_t length = 0; length < 130; ++length) {
    const std::string digest = hex(sha256(Buffer(length)));
    for (const std::string& other : seen)
      CHECK(digest != other);
    seen.push_back(digest);
  }
}

TEST(the_authentication_codes_of_the_standard) {
  CHECK_EQ(hex(hmacSha256(Buffer(20, std::byte{0x0b}), bytesOf("Hi There"))),
           "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  CHECK_EQ(hex(hmacSha256(bytesOf("Jefe"), bytesOf("what do ya want for nothing?"))),
           "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  CHECK_EQ(hex(hmacSha256(Buffer(20, std::byte{0xaa}), Buffer(50, std::byte{0xdd}))),
           "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
  Buffer counting;
  for (int i = 1; i <= 25; ++i)
    counting.push_back(static_cast<std::byte>(i));
  CHECK_EQ(hex(hmacSha256(counting, Buffer(50, std::byte{0xcd}))),
           "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b");
  // The standard shows the first 128 bits of the fifth.
  CHECK_EQ(hex(hmacSha256(Buffer(20, std::byte{0x0c}), bytesOf("Test With Truncation"))).substr(0, 32),
           "a3b6167473100ee06e0c796c2955552b");
  CHECK_EQ(
      hex(hmacSha256(Buffer(131, std::byte{0xaa}), bytesOf("Test Using Larger Than Block-Size Key - Hash Key First"))),
      "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
  CHECK_EQ(
      hex(hmacSha256(Buffer(131, std::byte{0xaa}),
                     bytesOf("This is a test using a larger than block-size key and a larger than block-size data. "
                             "The key needs to be hashed before being used by the HMAC algorithm."))),
      "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2");
}

TEST(proofs_are_compared_to_the_last_bit) {
  const Sha256 proof = sha256(bytesOf("abc"));
  CHECK(sameProof(proof, proof));
  for (std::size_t i = 0; i < 256; ++i) {
    Sha256 other = proof;
    other[i / 8] ^= static_cast<std::byte>(1U << (i % 8));
    CHECK(!sameProof(proof, other));
  }
}

}  // namespace

// ddp_test.cpp -- DDP headers, Read Requests and Terminates, against bytes that Linux siw puts on the wire.
#include "fabric/iwarp/ddp.h"

#include "base/crc32c.h"
#include "check.h"
#include "fabric/iwarp/rdmap.h"
#include "fabric/iwarp/transmitter.h"

namespace {

using namespace rdmacp;
using namespace rdmacp::fabric::iwarp;

std::vector<std::byte> fromHex(const std::string& text) {
  std::vector<std::byte> bytes;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
    bytes.push_back(static_cast<std::byte>(std::stoul(text.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

// siw's Terminate for a bad CRC, as captured.
const std::string kSiwTerminate = "00164147000000000000000200000001000000000202000075d367ed";

TEST(the_terminate_of_siw_has_our_checksum_and_header) {
  const auto bytes = fromHex(kSiwTerminate);
  std::uint32_t sent = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    sent |= std::to_integer<std::uint32_t>(bytes[bytes.size() - 4 + i]) << (8 * i);
  }
  CHECK_EQ(crc32c(0, std::span(bytes).first(bytes.size() - 4)), sent);
  const auto header = ddp::parseHeader(bytes.data() + 2);
  CHECK(!header.tagged && header.last);
  CHECK_EQ(header.version, 1);
  CHECK_EQ(header.rdmapVersion, 1);
  CHECK_EQ(header.opcode, static_cast<std::uint8_t>(rdmap::Opcode::terminate));
  CHECK_EQ(header.queue, rdmap::kTerminateQueue);
  CHECK_EQ(header.sequence, 1U);
}

TEST(our_terminate_differs_from_siws_in_the_layers_nibble_only) {
  auto expected = fromHex(kSiwTerminate);
  expected[20] = std::byte{0x20};  // RFC 5040 section 4.8: the layer is the upper half
  const auto ours = Transmitter::terminateFrame(rdmap::terminate_code::kCrcMismatch, {}, true);
  CHECK_EQ(ours.size(), expected.size());
  CHECK(std::equal(ours.begin(), ours.end() - 4, expected.begin()));
}

TEST(headers_are_parsed_as_they_were_encoded) {
  auto& random = check::random();
  for (int i = 0; i < 2000; ++i) {
    ddp::Header header;
    header.tagged = random() % 2 == 0;
    header.last = random() % 2 == 0;
    header.version = static_cast<std::uint8_t>(random() % 4);
    header.rdmapVersion = static_cast<std::uint8_t>(random() % 4);
    header.opcode = static_cast<std::uint8_t>(random() % 16);
    header.stag = static_cast<std::uint32_t>(random());
    if (header.tagged) {
      header.taggedOffset = random();
    } else {
      header.queue = static_cast<std::uint32_t>(random());
      header.sequence = static_cast<std::uint32_t>(random());
      header.messageOffset = static_cast<std::uint32_t>(random());
    }
    std::byte bytes[ddp::kMaxHeaderBytes];
    CHECK_EQ(ddp::encodeHeader(header, bytes), ddp::headerBytes(header.tagged));
    CHECK_EQ(ddp::isTagged(bytes[0]), header.tagged);
    const auto back = ddp::parseHeader(bytes);
    CHECK(back.last == header.last && back.version == header.version && back.rdmapVersion == header.rdmapVersion);
    CHECK(back.opcode == header.opcode && back.stag == header.stag && back.taggedOffset == header.taggedOffset);
    CHECK(back.queue == header.queue && back.sequence == header.sequence);
    CHECK_EQ(back.messageOffset, header.messageOffset);
  }
}

TEST(a_write_header_has_the_bytes_of_the_rfc) {
  ddp::Header header;
  header.tagged = header.last = true;
  header.stag = 0x01020304;
  header.taggedOffset = 0x1112131415161718;
  std::byte bytes[ddp::kMaxHeaderBytes];
  ddp::encodeHeader(header, bytes);
  const auto expected = fromHex("c140010203041112131415161718");
  CHECK(std::equal(expected.begin(), expected.end(), bytes));
}

TEST(a_read_request_is_parsed_as_it_was_encoded) {
  const rdmap::ReadRequest request{0x01020304, 0x1112131415161718, 0x21222324, 0x31323334, 0x4142434445464748};
  std::byte bytes[rdmap::kReadRequestBytes];
  rdmap::encodeReadRequest(request, bytes);
  const auto expected = fromHex("01020304111213141516171821222324313233344142434445464748");
  CHECK(std::equal(expected.begin(), expected.end(), bytes));
  const auto back = rdmap::parseReadRequest(bytes);
  CHECK(back.sinkStag == request.sinkStag && back.sinkOffset == request.sinkOffset && back.length == request.length);
  CHECK(back.sourceStag == request.sourceStag && back.sourceOffset == request.sourceOffset);
}

TEST(a_terminate_carries_the_headers_of_what_broke_the_rule) {
  rdmap::Culprit culprit;
  culprit.segmentLength = 46;
  culprit.headerLength = ddp::kUntaggedBytes;
  culprit.header.fill(std::byte{0xaa});
  culprit.hasReadRequest = true;
  culprit.readRequest.fill(std::byte{0xbb});
  const auto bytes = rdmap::encodeTerminate(rdmap::terminate_code::kReadBounds, culprit);
  const auto start = fromHex("0101e000002e");
  CHECK_EQ(bytes.size(), rdmap::kMaxTerminateBytes);
  CHECK(std::equal(start.begin(), start.end(), bytes.begin()));
  CHECK(bytes[6] == std::byte{0xaa} && bytes[23] == std::byte{0xaa} && bytes[24] == std::byte{0xbb});
  CHECK(*rdmap::parseTerminate(bytes) == rdmap::terminate_code::kReadBounds);
  CHECK(!rdmap::parseTerminate(std::span(bytes).first(3)));
}

TEST(a_terminate_that_refuses_access_is_told_from_one_that_does_not) {
  using rdmap::terminateError;
  CHECK_EQ(terminateError({1, 1, 0x00}, false).code, ErrorCode::remoteAccess);
  CHECK_EQ(terminateError({1, 1, 0x01}, true).code, ErrorCode::remoteAccess);
  CHECK_EQ(terminateError({0, 1, 0x02}, false).code, ErrorCode::remoteAccess);
  CHECK_EQ(terminateError({1, 0, 0x02}, true).code, ErrorCode::remoteAccess);  // siw's halves are swapped
  CHECK_EQ(terminateError({1, 0, 0x00}, false).code, ErrorCode::connectionBroken);
  CHECK_EQ(terminateError({2, 0, 0x02}, false).code, ErrorCode::connectionBroken);
  CHECK_EQ(terminateError({0, 2, 0x06}, false).code, ErrorCode::connectionBroken);
}

}  // namespace

// mpa_test.cpp -- MPA set-up frames and FPDU arithmetic, against bytes that Linux siw puts on the wire.
#include "fabric/iwarp/mpa.h"

#include <algorithm>

#include "check.h"

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

const std::string kRequestKey = "4d504120494420526571204672616d65";
const std::string kReplyKey = "4d504120494420526570204672616d65";

TEST(the_request_of_siw_is_understood) {
  const auto bytes = fromHex(kRequestKey + "1002001800040004" + std::string(40, '7'));
  const auto parsed = mpa::parseSetup(mpa::FrameKind::request, bytes);
  CHECK(parsed.ok() && parsed.value().has_value());
  const auto& frame = parsed.value()->frame;
  CHECK_EQ(parsed.value()->bytes, bytes.size());
  CHECK_EQ(frame.revision, 2);
  CHECK(!frame.crc && !frame.markers && !frame.rejected && frame.enhanced.has_value());
  CHECK_EQ(frame.enhanced->inboundReads, 4);
  CHECK_EQ(frame.enhanced->outboundReads, 4);
  CHECK(!frame.enhanced->peerToPeer);
  CHECK_EQ(frame.privateData.size(), 20U);
}

TEST(the_replies_of_siw_are_understood) {
  const auto plain = mpa::parseSetup(mpa::FrameKind::reply, fromHex(kReplyKey + "40010010" + std::string(32, '0')));
  CHECK(plain.ok() && plain.value()->frame.crc && !plain.value()->frame.enhanced);
  CHECK_EQ(plain.value()->frame.privateData.size(), 16U);
  const auto enhanced =
      mpa::parseSetup(mpa::FrameKind::reply, fromHex(kReplyKey + "5002001400100004" + std::string(32, '0')));
  CHECK(enhanced.ok());
  CHECK_EQ(enhanced.value()->frame.enhanced->inboundReads, 16);
  CHECK_EQ(enhanced.value()->frame.enhanced->outboundReads, 4);
  const auto rejected = mpa::parseSetup(mpa::FrameKind::reply, fromHex(kReplyKey + "60010000"));
  CHECK(rejected.ok() && rejected.value()->frame.rejected);
}

TEST(what_is_encoded_is_parsed_back) {
  for (unsigned bits = 0; bits < 256; ++bits) {
    mpa::SetupFrame frame;
    frame.kind = (bits & 1) != 0 ? mpa::FrameKind::reply : mpa::FrameKind::request;
    frame.crc = (bits & 2) != 0;
    frame.markers = (bits & 4) != 0;
    frame.rejected = frame.kind == mpa::FrameKind::reply && (bits & 8) != 0;
    if ((bits & 16) != 0) {
      frame.revision = 2;
      frame.enhanced = mpa::Enhanced{static_cast<std::uint16_t>(bits * 60),
                                     static_cast<std::uint16_t>(0x3fff - bits),
                                     (bits & 32) != 0,
                                     (bits & 64) != 0,
                                     (bits & 128) != 0,
                                     (bits & 32) == 0};
    }
    frame.privateData.assign(bits, static_cast<std::byte>(bits));
    const auto bytes = mpa::encodeSetup(frame);
    const auto parsed = mpa::parseSetup(frame.kind, bytes);
    CHECK(parsed.ok() && parsed.value());
    const auto& back = parsed.value()->frame;
    CHECK(back.crc == frame.crc && back.markers == frame.markers && back.rejected == frame.rejected);
    CHECK(back.enhanced.has_value() == frame.enhanced.has_value());
    if (back.enhanced) {
      CHECK_EQ(back.enhanced->inboundReads, frame.enhanced->inboundReads);
      CHECK_EQ(back.enhanced->outboundReads, frame.enhanced->outboundReads);
      CHECK(back.enhanced->peerToPeer == frame.enhanced->peerToPeer);
      CHECK(back.enhanced->sendReady == frame.enhanced->sendReady);
      CHECK(back.enhanced->writeReady == frame.enhanced->writeReady);
      CHECK(back.enhanced->readReady == frame.enhanced->readReady);
    }
    CHECK(back.privateData == frame.privateData);
    // Every part of it wants more, and none is refused.
    for (std::size_t length = 0; length < bytes.size(); ++length) {
      const auto part = mpa::parseSetup(frame.kind, std::span(bytes).first(length));
      CHECK(part.ok() && !part.value());
    }
  }
}

TEST(what_cannot_become_a_frame_is_refused_at_once) {
  CHECK(!mpa::parseSetup(mpa::FrameKind::request, fromHex("47")).ok());                              // "G"
  CHECK(!mpa::parseSetup(mpa::FrameKind::request, fromHex(kReplyKey + "40010000")).ok());            // a reply
  CHECK(!mpa::parseSetup(mpa::FrameKind::request, fromHex(kRequestKey + "40000000")).ok());          // revision 0
  CHECK(!mpa::parseSetup(mpa::FrameKind::request, fromHex(kRequestKey + "40030000")).ok());          // revision 3
  CHECK(!mpa::parseSetup(mpa::FrameKind::request, fromHex(kRequestKey + "40010201")).ok());          // 513 bytes
  CHECK(!mpa::parseSetup(mpa::FrameKind::request, fromHex(kRequestKey + "5002000300000000")).ok());  // no room for IRD
}

TEST(depths_are_negotiated_down_and_never_up) {
  using mpa::Depths;
  const mpa::Enhanced wants{4, 100};
  CHECK_EQ(mpa::negotiateAsResponder({16, 16}, wants).inbound, 16U);
  CHECK_EQ(mpa::negotiateAsResponder({16, 16}, wants).outbound, 4U);
  CHECK_EQ(mpa::negotiateAsResponder({16, 16}, mpa::Enhanced{100, 2}).inbound, 2U);
  CHECK_EQ(mpa::negotiateAsResponder({16, 16}, std::nullopt).outbound, 16U);
  CHECK_EQ(mpa::negotiateAsResponder({16, 16}, mpa::Enhanced{mpa::kNoDepth, mpa::kNoDepth}).outbound, 16U);
  CHECK_EQ(mpa::negotiateAsInitiator({16, 16}, mpa::Enhanced{3, 16})->outbound, 3U);
  CHECK(!mpa::negotiateAsInitiator({16, 16}, mpa::Enhanced{16, 17}));
}

TEST(an_fpdu_is_a_multiple_of_four_and_fits_its_segment) {
  for (std::size_t ulpdu = 0; ulpdu < 200; ++ulpdu) {
    CHECK_EQ(mpa::fpduBytes(ulpdu) % 4, 0U);
    CHECK(mpa::padding(ulpdu) < 4);
  }
  for (std::size_t segment = 140; segment < 65536; segment += 7) {
    CHECK(mpa::fpduBytes(mpa::maxUlpdu(segment)) <= segment);
    CHECK_EQ(mpa::padding(mpa::maxUlpdu(segment)), 0U);
  }
  CHECK_EQ(mpa::maxUlpdu(1460), 1454U);
  CHECK_EQ(mpa::maxUlpdu(10), 128U);
}

TEST(random_bytes_never_break_the_parser) {
  auto& random = check::random();
  for (int i = 0; i < 20000; ++i) {
    auto bytes = fromHex(kRequestKey + "4002001000040004");
    bytes.resize(bytes.size() + random() % 40);
    for (int k = 0; k < 3; ++k)
      bytes[random() % bytes.size()] = static_cast<std::byte>(random() & 0xffU);
    bytes.resize(random() % (bytes.size() + 1));
    const auto parsed = mpa::parseSetup(mpa::FrameKind::request, bytes);
    if (parsed.ok() && parsed.value()) CHECK(parsed.value()->bytes <= bytes.size());
  }
}

}  // namespace

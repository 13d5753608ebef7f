// messages_test.cpp -- the data protocol's messages: exact bytes, and nothing but exact bytes is taken.
#include "protocol/messages.h"

#include <functional>
#include <string>
#include <vector>

#include "check.h"

using namespace rdmacp;
using namespace rdmacp::protocol;

namespace {

using Encoded = std::vector<std::byte>;

std::string hex(ConstBytes bytes) {
  static const char digits[] = "0123456789abcdef";
  std::string text;
  for (const auto b : bytes) {
    text += digits[std::to_integer<unsigned>(b) >> 4];
    text += digits[std::to_integer<unsigned>(b) & 15];
  }
  return text;
}

// What a parser makes of bytes, written again; empty when it refuses them.
using Reencode = std::function<Encoded(ConstBytes)>;

template <class T>
Encoded orNothing(const Result<T>& parsed, const std::function<Encoded(const T&)>& write) {
  if (!parsed) {
    CHECK_EQ(parsed.error().code, ErrorCode::protocolViolation);
    CHECK(!parsed.error().message.empty());
    return {};
  }
  return write(parsed.value());
}

std::uint16_t versionOf(ConstBytes bytes) {
  return parseHeader(bytes).value().version;
}

struct Sample {
  const char* name;
  Encoded bytes;
  std::size_t length;
  Reencode reencode;
  bool paddable = false;  // private data may be followed by zeros
};

std::vector<Sample> samples() {
  std::vector<Sample> list;

  ConnectData connect;
  connect.kind = ConnectionKind::session;
  for (std::size_t i = 0; i < kTokenBytes; ++i)
    connect.token[i] = static_cast<std::byte>(i + 100);
  list.push_back({"connect", encode(connect), 36,
                  [](ConstBytes b) {
                    return orNothing<ConnectData>(parseConnectData(b), [](const ConnectData& d) { return encode(d); });
                  },
                  true});

  RejectData reject{ErrorCode::tokenInvalid, 3, 9};
  list.push_back({"reject", encode(reject), 8,
                  [](ConstBytes b) {
                    return orNothing<RejectData>(parseRejectData(b), [](const RejectData& d) { return encode(d); });
                  },
                  true});

  Hello hello{1, 7, 0x01020304, 4096, 0};
  list.push_back({"hello", encode(hello), 24, [](ConstBytes b) {
                    return orNothing<Hello>(parseHello(b), [](const Hello& m) { return encode(m); });
                  }});

  Grant grant{1, 0xdeadbeef, 0x7f0011223344, 1 << 20, 5, 6, 3, 16, 4096, 3, 77, 0};
  list.push_back({"grant", encode(grant, 1), 80, [](ConstBytes b) {
                    return orNothing<Grant>(parseGrant(b), [&](const Grant& m) { return encode(m, versionOf(b)); });
                  }});

  Welcome welcome{0, 100, 42, 9, 0, {std::byte{7}}};
  list.push_back({"welcome", encode(welcome, 1), 72, [](ConstBytes b) {
                    return orNothing<Welcome>(parseWelcome(b),
                                              [&](const Welcome& m) { return encode(m, versionOf(b)); });
                  }});

  Refuse refuse{ErrorCode::versionMismatch, 1, 2, "no common version"};
  list.push_back({"refuse", encode(refuse), 16 + refuse.text.size(), [](ConstBytes b) {
                    return orNothing<Refuse>(parseRefuse(b), [](const Refuse& m) { return encode(m); });
                  }});

  Flush flush{11, {{0, 4096}, {1ULL << 40, 1}, {8192, 0}}};
  list.push_back({"flush", encode(flush, 1), 24 + 3 * 16, [](ConstBytes b) {
                    return orNothing<Flush>(parseFlush(b), [&](const Flush& m) { return encode(m, versionOf(b)); });
                  }});

  Flushed flushed{11, ErrorCode::mediumFailed, 2, -5, 8};
  list.push_back({"flushed", encode(flushed, 1), 32, [](ConstBytes b) {
                    return orNothing<Flushed>(parseFlushed(b),
                                              [&](const Flushed& m) { return encode(m, versionOf(b)); });
                  }});

  Heartbeat heartbeat{1, 2, 3, 0};
  for (const auto type : {MessageType::heartbeat, MessageType::heartbeatEcho}) {
    list.push_back({"heartbeat", encode(heartbeat, type, 1), 32, [](ConstBytes b) {
                      return orNothing<Heartbeat>(parseHeartbeat(b), [&](const Heartbeat& m) {
                        return encode(m, parseHeader(b).value().type, versionOf(b));
                      });
                    }});
  }

  Fenced fenced{12, 13, 0};
  list.push_back({"fenced", encode(fenced, 1), 32, [](ConstBytes b) {
                    return orNothing<Fenced>(parseFenced(b), [&](const Fenced& m) { return encode(m, versionOf(b)); });
                  }});
  return list;
}

}  // namespace

TEST(every_message_has_its_documented_length_and_comes_back_as_it_was_written) {
  for (const auto& sample : samples()) {
    CHECK_EQ(sample.bytes.size(), sample.length);
    CHECK_EQ(hex(sample.reencode(sample.bytes)), hex(sample.bytes));
  }
}

TEST(bytes_on_the_wire_are_the_documented_ones) {
  CHECK_EQ(hex(encode(Hello{1, 2, 3, 4096, 0})),
           "5244434d01000000"
           "0100"
           "0200"
           "03000000"
           "00100000"
           "00000000");
  CHECK_EQ(hex(encode(Flush{7, {{0x1122334455667788, 9}}}, 1)),
           "5244434d05000100"
           "0700000000000000"
           "01000000"
           "00000000"
           "8877665544332211"
           "0900000000000000");
  CHECK_EQ(hex(encode(Flushed{7, ErrorCode::notDurable, 2, 5, 6}, 1)),
           "5244434d06000100"
           "0700000000000000"
           "1800"
           "0200"
           "05000000"
           "0600000000000000");
  CHECK_EQ(hex(encode(RejectData{ErrorCode::tokenInvalid, 1, 1})),
           "0900"
           "0100"
           "0100"
           "0000");
  ConnectData connect;
  connect.kind = ConnectionKind::data;
  connect.token.fill(std::byte{0xab});
  std::string token;
  for (int i = 0; i < 32; ++i)
    token += "ab";
  CHECK_EQ(hex(encode(connect)), "01000000" + token);
}

TEST(every_truncation_is_refused) {
  for (const auto& sample : samples()) {
    for (std::size_t length = 0; length < sample.bytes.size(); ++length) {
      // A copy of that size, so that a sanitizer sees a read beyond it.
      const Encoded cut(sample.bytes.begin(), sample.bytes.begin() + static_cast<std::ptrdiff_t>(length));
      CHECK(sample.reencode(cut).empty());
    }
  }
}

TEST(bytes_after_the_end_are_refused_but_for_a_devices_zeros_in_private_data) {
  for (const auto& sample : samples()) {
    for (const std::size_t more : {std::size_t{1}, std::size_t{16}, std::size_t{100}, 2 * kMaxMessage}) {
      auto longer = sample.bytes;
      longer.resize(longer.size() + more);
      CHECK_EQ(sample.reencode(longer).empty(), !sample.paddable);
      longer.back() = std::byte{1};
      CHECK(sample.reencode(longer).empty());
    }
  }
}

TEST(a_changed_byte_is_refused_or_kept_exactly) {
  for (const auto& sample : samples()) {
    for (std::size_t at = 0; at < sample.bytes.size(); ++at) {
      for (unsigned value = 0; value < 256; ++value) {
        auto changed = sample.bytes;
        changed[at] = static_cast<std::byte>(value);
        const auto again = sample.reencode(changed);
        if (!again.empty() && again != changed) {
          check::fail(__FILE__, __LINE__,
                      std::string(sample.name) + " byte " + std::to_string(at) + " = " + std::to_string(value) +
                          " was taken for something else");
        }
      }
    }
  }
}

TEST(a_changed_header_is_refused) {
  for (const auto& sample : samples()) {
    if (sample.paddable) continue;
    for (std::size_t at = 0; at < 4; ++at) {
      auto changed = sample.bytes;
      changed[at] ^= std::byte{0x20};
      CHECK(sample.reencode(changed).empty());
    }
    for (unsigned type = 0; type < 65536; ++type) {
      auto changed = sample.bytes;
      changed[4] = static_cast<std::byte>(type & 255);
      changed[5] = static_cast<std::byte>(type >> 8);
      const auto header = parseHeader(changed);
      if (type < 1 || type > 9) CHECK(!header.ok());
    }
  }
}

TEST(counts_and_limits_are_checked_before_use) {
  Flush flush;
  flush.ranges.resize(kMaxFlushRanges, {1, 2});
  CHECK(parseFlush(encode(flush, 1)).ok());
  flush.ranges.push_back({1, 2});
  CHECK(!parseFlush(encode(flush, 1)).ok());
  flush.ranges.clear();
  CHECK(!parseFlush(encode(flush, 1)).ok());
  // A count whose length wraps around 32 bits.
  flush.ranges.resize(1);
  auto wrapped = encode(flush, 1);
  wrapped[16] = std::byte{1};
  wrapped[19] = std::byte{0x10};
  CHECK(!parseFlush(wrapped).ok());

  Refuse refuse;
  refuse.text = std::string(255, 'x') + "\xc3\xa9";  // a character of two bytes over the end
  const auto parsed = parseRefuse(encode(refuse));
  CHECK(parsed.ok());
  CHECK_EQ(parsed.value().text, std::string(255, 'x'));

  CHECK(!parseHello(encode(Hello{2, 1, 0, 4096, 0})).ok());
  CHECK(!parseHello(encode(Hello{0, 1, 0, 4096, 0})).ok());
  Grant grant;
  grant.rights = 1;
  grant.base = ~0ULL;
  grant.length = 2;
  CHECK(!parseGrant(encode(grant, 1)).ok());
}

TEST(random_bytes_never_crash_a_parser) {
  auto list = samples();
  for (std::uint64_t round = 0; round < check::rounds(1000000, 50000); ++round) {
    const auto& sample = list[check::random()() % list.size()];
    auto bytes = sample.bytes;
    bytes.resize(check::random()() % (2 * bytes.size()));
    for (int changes = 0; changes < 4 && !bytes.empty(); ++changes) {
      bytes[check::random()() % bytes.size()] = static_cast<std::byte>(check::random()());
    }
    const auto again = sample.reencode(bytes);
    if (!again.empty() && !sample.paddable) CHECK_EQ(hex(again), hex(bytes));
  }
}

TEST(the_highest_common_version_is_chosen_and_none_is_found_without_overlap) {
  CHECK_EQ(commonVersion(1, 3, 2, 5).value(), 3);
  CHECK_EQ(commonVersion(2, 5, 1, 3).value(), 3);
  CHECK_EQ(commonVersion(1, 1, 1, 1).value(), 1);
  CHECK(!commonVersion(1, 1, 2, 3).has_value());
  CHECK(!commonVersion(4, 5, 2, 3).has_value());
}

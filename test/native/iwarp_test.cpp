// iwarp_test.cpp -- the iWARP fabric against a raw socket: the bytes of the set-up, the Terminate for each rule, and
// thousands of damaged frames.
#include <dirent.h>

#include <algorithm>
#include <set>

#include "conformance/harness.h"
#include "fabric/iwarp/iwarp_fabric.h"
#include "raw_peer.h"

namespace conformance {

UnderTest& fabricUnderTest() {
  static UnderTest under{makeIwarpFabric(), SocketAddress::parse("127.0.0.1", 0).value()};
  return under;
}

}  // namespace conformance

namespace {

using namespace conformance;
using raw::Buffer;
using raw::fpdu;
using raw::readRequest;
using raw::tagged;
using raw::untagged;

constexpr std::size_t kBytes = 16384;
constexpr std::size_t kWindowAt = 4096;
constexpr std::size_t kWindow = 4096;

const std::string kSetUp = raw::kRequestKey + "40010000";

// A server whose peers may use the middle of its memory only.
struct Target {
  explicit Target(Access access = Access::remoteReadWrite, ListenOptions options = {}) : server(kBytes, options) {
    server.onEstablished = [this, access](Connection& connection) {
      connection.revoke(server.all().back()->window.key);
      window = connection.grant(server.region, kWindowAt, kWindow, access).value();
    };
    std::fill(server.memory.begin(), server.memory.end(), std::byte{0x11});
  }
  // A raw peer after the set-up, with the window granted to it.
  raw::Socket peer(bool smallBuffer = false) {
    auto socket = raw::Socket::connect(server.listener->address(), smallBuffer);
    CHECK_EQ(socket.setUp(kSetUp).size(), 20U);
    auto served = server.all().back();
    CHECK(served->handler->waitEstablished());
    return socket;
  }
  Error reason() { return server.all().back()->handler->waitClosed(); }
  bool outsideUntouched() const {
    const auto is = [](std::byte b) { return b == std::byte{0x11}; };
    const auto begin = server.memory.begin();
    return std::all_of(begin, begin + kWindowAt, is) &&
           std::all_of(begin + static_cast<std::ptrdiff_t>(kWindowAt + kWindow), server.memory.end(), is);
  }

  Server server;
  RemoteWindow window;
};

std::set<std::string>& reached() {
  static std::set<std::string> codes;
  return codes;
}

// The frames end that connection with that Terminate, and another connection does not notice.
template <class Frames>
void terminates(const std::string& code, Frames frames, Access access = Access::remoteReadWrite,
                ListenOptions options = {}) {
  Target target(access, options);
  auto peer = target.peer();
  for (const Buffer& frame : frames(target))
    peer.send(frame);
  const std::string said = peer.receiveTerminate();
  CHECK_EQ(said, code);
  CHECK(peer.receiveAll().empty() && peer.ended());
  peer = raw::Socket();
  CHECK_EQ(target.reason().code, ErrorCode::protocolViolation);
  CHECK(target.outsideUntouched());
  reached().insert(said);
  Pair after(target.server);
  CHECK(after.client.post({WorkRequest::Kind::send, 1, {}}).ok());
  after.served->handler->waitMessages(1);
}

using Frames = std::vector<Buffer>;
const Buffer kFour(4, std::byte{0x22});

// ---- the set-up

TEST(the_request_of_siw_gets_the_reply_that_it_expects) {
  Target target;
  auto peer = raw::Socket::connect(target.server.listener->address());
  const auto reply = peer.setUp(raw::kRequestKey + "1002001800040004" + std::string(40, '7'));
  CHECK(reply == raw::fromHex(raw::kReplyKey + "5002000400040004"));  // C: on if one side asks
}

TEST(without_crc_on_both_sides_it_is_off) {
  ListenOptions options;
  options.connection.crc = false;
  Target target(Access::remoteReadWrite, options);
  auto peer = raw::Socket::connect(target.server.listener->address());
  CHECK(peer.setUp(raw::kRequestKey + "00010000") == raw::fromHex(raw::kReplyKey + "00010000"));
  const auto served = target.server.all().back();
  CHECK(served->handler->waitEstablished());
  peer.send(fpdu(untagged({}, kFour), false));  // a wrong CRC is not looked at
  CHECK(served->handler->waitMessages(1)[0] == kFour);
}

TEST(crc_is_on_when_the_peer_alone_asks_for_it) {
  ListenOptions options;
  options.connection.crc = false;
  Target target(Access::remoteReadWrite, options);
  auto peer = raw::Socket::connect(target.server.listener->address());
  CHECK(peer.setUp(kSetUp) == raw::fromHex(raw::kReplyKey + "40010000"));
  peer.send(fpdu(untagged({}, kFour), false));
  CHECK_EQ(peer.receiveTerminate(), "2002");
}

TEST(a_peer_to_peer_request_gets_one_of_its_ready_frames) {
  Target target;
  const std::pair<const char*, const char*> cases[] = {{"8004c004", "80048004"},   // write or read: write
                                                       {"80044004", "80044004"},   // read
                                                       {"c0040004", "c0040004"}};  // an empty send
  for (const auto& [asked, answered] : cases) {
    auto peer = raw::Socket::connect(target.server.listener->address());
    CHECK(peer.setUp(raw::kRequestKey + "50020004" + asked) == raw::fromHex(raw::kReplyKey + "50020004" + answered));
    const auto served = target.server.all().back();
    CHECK(served->handler->waitEstablished());
    if (std::string(asked) != "c0040004") continue;
    peer.send(fpdu(untagged({}, {})));  // the ready frame is nobody's message
    raw::Untagged second;
    second.sequence = 2;
    peer.send(fpdu(untagged(second, kFour)));
    CHECK(served->handler->waitMessages(1)[0] == kFour);
  }
}

TEST(markers_are_refused_with_a_reject) {
  Target target;
  auto peer = raw::Socket::connect(target.server.listener->address());
  CHECK(peer.setUp(raw::kRequestKey + "c0010000") == raw::fromHex(raw::kReplyKey + "60010000"));
  CHECK(peer.receiveAll().empty() && peer.ended());
  CHECK(target.server.all().empty());
}

TEST(a_set_up_that_is_none_is_closed_without_an_answer) {
  Target target;
  for (const std::string& bytes :
       {std::string("474554202f20485454502f312e31"), raw::kReplyKey + "40010000", raw::kRequestKey + "40000000",
        raw::kRequestKey + "40030000", raw::kRequestKey + "40010201", raw::kRequestKey + "5002000200000000"}) {
    auto peer = raw::Socket::connect(target.server.listener->address());
    peer.send(raw::fromHex(bytes));
    CHECK(peer.receiveAll().empty() && peer.ended());
  }
  CHECK(target.server.all().empty());
}

TEST(data_behind_the_request_ends_the_set_up) {
  Target target;
  auto peer = raw::Socket::connect(target.server.listener->address());
  peer.send(raw::fromHex(kSetUp + "0012"));
  CHECK(peer.receiveAll().empty() && peer.ended());
}

TEST(a_request_may_come_byte_by_byte_and_a_slow_one_is_cut_off) {
  ListenOptions options;
  options.connection.setupTimeout = 700ms;
  Target target(Access::remoteReadWrite, options);
  auto slow = raw::Socket::connect(target.server.listener->address());
  const auto request = raw::fromHex(kSetUp);
  for (const std::byte byte : request)
    slow.send({byte});
  CHECK_EQ(slow.receive(20).size(), 20U);
  auto stuck = raw::Socket::connect(target.server.listener->address());
  stuck.send({request[0], request[1]});
  const auto began = Clock::now();
  CHECK(stuck.receiveAll().empty() && stuck.ended());
  CHECK(Clock::now() - began >= 600ms);
}

TEST(who_has_asked_is_heard_however_many_came_behind_and_say_nothing) {
  ListenOptions options;
  options.maxWaiting = 8;
  Target target(Access::remoteReadWrite, options);
  const Pair standing(target.server);
  std::promise<void> held;
  std::promise<void> release;
  standing.served->loop->post([&] {
    held.set_value();
    release.get_future().wait();
  });
  held.get_future().wait();
  auto peer = raw::Socket::connect(target.server.listener->address());
  peer.send(raw::fromHex(kSetUp));
  std::vector<raw::Socket> silent;
  for (int i = 0; i < 100; ++i)
    silent.push_back(raw::Socket::connect(target.server.listener->address()));
  release.set_value();
  CHECK_EQ(peer.receive(20).size(), 20U);
}

TEST(the_accepting_side_sends_nothing_before_the_first_frame) {
  Target target;
  auto peer = target.peer();
  auto* connection = target.server.all().back()->connection;
  const WorkRequest hello{WorkRequest::Kind::send, 1, {}};
  CHECK(connection->post({&hello, 1}).ok());
  CHECK(peer.receive(1, 200).empty());
  peer.send(fpdu(tagged(0xc1, 0x40, 0, 0, {})));  // an RDMA Write of no bytes
  CHECK_EQ(peer.receiveUlpdu().size(), 18U);
}

// A raw listener that answers our connect.
struct RawListener {
  RawListener() {
    address = SocketAddress::parse("127.0.0.1", 0).value();
    fd.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    CHECK(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address.storage), address.length) == 0);
    CHECK(::listen(fd.get(), 8) == 0);
    CHECK(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address.storage), &address.length) == 0);
  }
  raw::Socket accept() { return raw::Socket(::accept4(fd.get(), nullptr, nullptr, SOCK_CLOEXEC)); }
  FileDescriptor fd;
  SocketAddress address;
};

TEST(our_request_is_of_revision_2_and_an_empty_write_follows_the_reply) {
  RawListener listener;
  ConnectionOptions options;
  options.inboundReads = 3;
  options.outboundReads = 9;
  Client client(listener.address, options, raw::fromHex("abcd"));
  auto peer = listener.accept();
  CHECK(peer.receive(34) ==
        raw::fromHex(raw::kRequestKey + "5002000e" + "00030009" + "52444350" + "01010000" + "abcd"));
  peer.send(raw::fromHex(raw::kReplyKey + "5002000400040002"));
  CHECK(client.handler->waitEstablished());
  CHECK_EQ(client.connection->outboundReads(), 4U);
  CHECK(peer.receiveUlpdu() == tagged(0xc1, 0x40, 0, 0, {}));
}

TEST(revision_1_connects_too) {
  RawListener listener;
  auto loop = startLoop("client");
  auto handler = std::make_shared<Recorder>();
  auto started = iwarp::makeFabricOfRevision(1)->connect(listener.address, {}, {}, *loop, handler);
  CHECK(started.ok());
  auto peer = listener.accept();
  CHECK(peer.receive(28) == raw::fromHex(raw::kRequestKey + "40010008" + "5244435001010000"));
  peer.send(raw::fromHex(raw::kReplyKey + "40010000"));
  CHECK(handler->waitEstablished());
  waitFenced(*started.value());
  loop->stop();
}

TEST(replies_that_break_the_rules_end_the_connection) {
  const std::pair<const char*, ErrorCode> cases[] = {{"40010000", ErrorCode::protocolViolation},   // revision 1
                                                     {"c0020000", ErrorCode::protocolViolation},   // markers
                                                     {"50020002", ErrorCode::protocolViolation},   // no IRD, ORD
                                                     {"60020000", ErrorCode::connectionRefused}};  // rejected
  for (const auto& [reply, expected] : cases) {
    RawListener listener;
    Client client(listener.address);
    auto peer = listener.accept();
    peer.receive(32);
    peer.send(raw::fromHex(raw::kReplyKey + reply));
    CHECK_EQ(client.handler->waitClosed().code, expected);
  }
}

TEST(a_reply_that_wants_more_reads_than_offered_gets_its_terminate) {
  RawListener listener;
  ConnectionOptions options;
  options.inboundReads = 2;
  Client client(listener.address, options);
  auto peer = listener.accept();
  peer.receive(32);
  peer.send(raw::fromHex(raw::kReplyKey + "5002000400040003"));
  CHECK_EQ(peer.receiveTerminate(), "2006");
  CHECK_EQ(client.handler->waitClosed().code, ErrorCode::protocolViolation);
  reached().insert("2006");
}

TEST(a_listener_that_never_answers_times_out) {
  RawListener listener;
  ConnectionOptions options;
  options.setupTimeout = 200ms;
  Client client(listener.address, options);
  CHECK_EQ(client.handler->waitClosed().code, ErrorCode::timedOut);
}

// ---- frames that are right

TEST(a_foreign_peer_gets_frames_that_fit_its_segments_and_right_checksums) {
  Target target;
  auto peer = target.peer();
  Buffer source(1000);
  for (std::size_t i = 0; i < source.size(); ++i)
    source[i] = static_cast<std::byte>(i & 0xffU);
  peer.send(fpdu(tagged(0x81, 0x40, target.window.key, target.window.base, source)));
  raw::Untagged request{0x41, 0x41, 1, 1, 0, 0};
  peer.send(fpdu(untagged(request, readRequest(1000, target.window.key, target.window.base))));
  CHECK(peer.receiveUlpdu() == tagged(0xc1, 0x42, 0x77777777U, 0x1000, source));
}

TEST(a_send_that_invalidates_takes_the_key_away) {
  Target target;
  auto peer = target.peer();
  peer.send(fpdu(untagged({0x41, 0x44, 0, 1, 0, target.window.key}, kFour)));
  CHECK(target.server.all().back()->handler->waitMessages(1)[0] == kFour);
  peer.send(fpdu(tagged(0xc1, 0x40, target.window.key, target.window.base, kFour)));
  CHECK_EQ(peer.receiveTerminate(), "1100");
}

TEST(nothing_of_a_write_that_is_under_way_lands_once_its_key_is_revoked) {
  Target target;
  auto peer = target.peer();
  const auto served = target.server.all().back();
  const Buffer frame = fpdu(tagged(0xc1, 0x40, target.window.key, target.window.base, Buffer(2000, std::byte{0x22})));
  constexpr std::ptrdiff_t kFirst = 1000;
  peer.send(Buffer(frame.begin(), frame.begin() + kFirst));
  const auto placed = [&] {
    bool is = false;
    runOn(*served->loop, [&] { is = target.server.memory[kWindowAt] == std::byte{0x22}; });
    return is;
  };
  while (!placed())
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  Buffer before;
  runOn(*served->loop, [&] {
    served->connection->revoke(target.window.key);
    before = target.server.memory;
  });
  peer.send(Buffer(frame.begin() + kFirst, frame.end()));
  CHECK_EQ(peer.receiveTerminate(), "1100");
  CHECK_EQ(target.reason().code, ErrorCode::protocolViolation);
  CHECK(target.server.memory == before);
}

TEST(messages_in_several_segments_and_with_solicited_event_arrive_whole) {
  Target target;
  auto peer = target.peer();
  peer.send(fpdu(untagged({0x01, 0x45, 0, 1, 0, 0}, kFour)));
  peer.send(fpdu(tagged(0xc1, 0x40, target.window.key, target.window.base, kFour)));  // tagged ones may come between
  peer.send(fpdu(untagged({0x41, 0x45, 0, 1, 4, 0}, Buffer(3, std::byte{0x33}))));
  Buffer expected = kFour;
  expected.resize(7, std::byte{0x33});
  CHECK(target.server.all().back()->handler->waitMessages(1)[0] == expected);
}

TEST(frames_may_arrive_byte_by_byte) {
  Target target;
  auto peer = target.peer();
  const Buffer frames[] = {fpdu(tagged(0xc1, 0x40, target.window.key, target.window.base + 1, kFour)),
                           fpdu(untagged({}, kFour))};
  for (const Buffer& frame : frames) {
    for (const std::byte byte : frame)
      peer.send({byte});
  }
  CHECK(target.server.all().back()->handler->waitMessages(1)[0] == kFour);
  CHECK(target.server.memory[kWindowAt + 1] == std::byte{0x22} && target.server.memory[kWindowAt] == std::byte{0x11});
}

TEST(a_terminate_from_the_peer_is_told_as_what_it_says) {
  const std::pair<const char*, ErrorCode> cases[] = {{"11010000", ErrorCode::remoteAccess},
                                                     {"01020000", ErrorCode::remoteAccess},
                                                     {"20020000", ErrorCode::connectionBroken},
                                                     {"", ErrorCode::connectionBroken}};
  for (const auto& [text, expected] : cases) {
    Target target;
    auto peer = target.peer();
    peer.send(fpdu(untagged({0x41, 0x47, 2, 1, 0, 0}, raw::fromHex(text))));
    CHECK_EQ(target.reason().code, expected);
    CHECK(peer.receiveAll().empty());  // a Terminate is not answered
  }
}

// ---- every Terminate

TEST(terminate_tagged_invalid_stag) {
  terminates("1100",
             [](Target& t) { return Frames{fpdu(tagged(0xc1, 0x40, t.window.key ^ 1U, t.window.base, kFour))}; });
}
TEST(terminate_tagged_bounds) {
  terminates("1101", [](Target& t) {
    return Frames{fpdu(tagged(0xc1, 0x40, t.window.key, t.window.base + kWindow - 3, kFour))};
  });
}
TEST(terminate_tagged_wrap) {
  terminates("1103",
             [](Target& t) { return Frames{fpdu(tagged(0xc1, 0x40, t.window.key, ~std::uint64_t{0} - 2, kFour))}; });
}
TEST(terminate_tagged_version) {
  terminates("1104", [](Target& t) { return Frames{fpdu(tagged(0xc2, 0x40, t.window.key, t.window.base, kFour))}; });
}
TEST(terminate_untagged_queue) {
  terminates("1201", [](Target&) { return Frames{fpdu(untagged({0x41, 0x43, 3, 1, 0, 0}, kFour))}; });
}
TEST(terminate_untagged_no_buffer) {
  terminates("1202", [](Target&) { return Frames{fpdu(untagged({0x41, 0x43, 0, 1000, 0, 0}, kFour))}; });
}
TEST(terminate_untagged_sequence) {
  terminates("1203", [](Target&) { return Frames{fpdu(untagged({0x41, 0x43, 0, 3, 0, 0}, kFour))}; });
  terminates("1203", [](Target&) { return Frames{fpdu(untagged({0x41, 0x43, 0, 0, 0, 0}, kFour))}; });
}
TEST(terminate_untagged_offset) {
  terminates("1204", [](Target&) { return Frames{fpdu(untagged({0x41, 0x43, 0, 1, 4, 0}, kFour))}; });
}
TEST(terminate_untagged_too_long) {
  terminates("1205", [](Target&) { return Frames{fpdu(untagged({}, Buffer(4097)))}; });
  terminates("1205", [](Target&) { return Frames{fpdu(untagged({0x41, 0x41, 1, 1, 0, 0}, Buffer(29)))}; });
}
TEST(terminate_untagged_version) {
  terminates("1206", [](Target&) { return Frames{fpdu(untagged({0x40, 0x43, 0, 1, 0, 0}, kFour))}; });
}
TEST(terminate_read_stag_bounds_and_wrap) {
  const raw::Untagged header{0x41, 0x41, 1, 1, 0, 0};
  terminates("0100", [&](Target& t) {
    return Frames{fpdu(untagged(header, readRequest(4, t.window.key ^ 1U, t.window.base)))};
  });
  terminates("0101", [&](Target& t) {
    return Frames{fpdu(untagged(header, readRequest(kWindow + 1, t.window.key, t.window.base)))};
  });
  terminates("0104", [&](Target& t) {
    return Frames{fpdu(untagged(header, readRequest(4, t.window.key, ~std::uint64_t{0} - 2)))};
  });
}
TEST(terminate_missing_right_to_write_or_read) {
  terminates(
      "0102", [](Target& t) { return Frames{fpdu(tagged(0xc1, 0x40, t.window.key, t.window.base, kFour))}; },
      Access::remoteRead);
  terminates(
      "0102",
      [](Target& t) {
        return Frames{fpdu(untagged({0x41, 0x41, 1, 1, 0, 0}, readRequest(4, t.window.key, t.window.base)))};
      },
      Access::remoteWrite);
}
TEST(terminate_unknown_key_to_invalidate) {
  terminates("0100", [](Target& t) { return Frames{fpdu(untagged({0x41, 0x44, 0, 1, 0, t.window.key ^ 1U}, kFour))}; });
}
TEST(terminate_rdmap_version) {
  terminates("0205", [](Target&) { return Frames{fpdu(untagged({0x41, 0x83, 0, 1, 0, 0}, kFour))}; });
  terminates("0205", [](Target& t) { return Frames{fpdu(tagged(0xc1, 0x00, t.window.key, t.window.base, kFour))}; });
}
TEST(terminate_unexpected_opcode) {
  terminates("0206", [](Target&) { return Frames{fpdu(untagged({0x41, 0x48, 0, 1, 0, 0}, kFour))}; });
  terminates("0206", [](Target&) { return Frames{fpdu(untagged({0x41, 0x43, 1, 1, 0, 0}, kFour))}; });
  terminates("0206", [](Target& t) {  // a read response that nobody asked for
    return Frames{fpdu(tagged(0xc1, 0x42, t.window.key, t.window.base, kFour))};
  });
}
TEST(terminate_malformed_read_request) {
  terminates("02ff", [](Target&) { return Frames{fpdu(untagged({0x41, 0x41, 1, 1, 0, 0}, kFour))}; });
}
TEST(terminate_crc) {
  terminates("2002",
             [](Target& t) { return Frames{fpdu(tagged(0xc1, 0x40, t.window.key, t.window.base, kFour), false)}; });
  // A bad checksum explains a bad header.
  terminates("2002", [](Target&) { return Frames{fpdu(tagged(0xc1, 0x40, 0x31337, 0, kFour), false)}; });
}
TEST(terminate_length_shorter_than_the_headers) {
  terminates("2003", [](Target&) { return Frames{fpdu(Buffer{std::byte{0x41}, std::byte{0x43}, std::byte{0}})}; });
}

TEST(terminate_for_more_reads_than_agreed_and_for_a_key_that_is_being_read) {
  // The peer does not read, so that the first response cannot end.
  constexpr std::size_t kLarge = 64 << 20;
  for (const bool invalidate : {false, true}) {
    ListenOptions options;
    options.connection.inboundReads = 2;
    Server server(kLarge, options);
    auto peer = raw::Socket::connect(server.listener->address(), true);
    CHECK_EQ(peer.setUp(kSetUp).size(), 20U);
    const auto served = server.all().back();
    CHECK(served->handler->waitEstablished());
    const auto window = served->window;
    std::uint32_t sequence = 0;
    const auto read = [&] {
      peer.send(fpdu(untagged({0x41, 0x41, 1, ++sequence, 0, 0}, readRequest(kLarge, window.key, window.base))));
    };
    read();
    if (invalidate) {
      peer.send(fpdu(untagged({0x41, 0x44, 0, 1, 0, window.key}, kFour)));
    } else {
      read();
      read();
    }
    const std::string expected = invalidate ? "0109" : "1202";
    CHECK_EQ(peer.receiveTerminate(), expected);
    CHECK_EQ(served->handler->waitClosed().code, ErrorCode::protocolViolation);
    reached().insert(expected);
  }
}

// ---- damaged frames

std::size_t descriptors() {
  std::size_t count = 0;
  DIR* folder = ::opendir("/proc/self/fd");
  while (::readdir(folder) != nullptr)
    ++count;
  ::closedir(folder);
  return count;
}

TEST(damaged_frames_end_their_own_connection_and_change_nothing_else) {
  auto& random = check::random();
  Target target;
  Pair bystander(target.server);
  const std::size_t before = descriptors();
  const std::uint64_t count = check::rounds(10000, 1500);
  std::set<std::string> seen;
  for (std::uint64_t round = 0; round < count; ++round) {
    auto peer = target.peer();
    const RemoteWindow window = target.window;
    const std::uint64_t at = window.base + random() % kWindow;
    const Buffer payload(random() % 200, std::byte{0x22});
    Buffer ulpdu;
    switch (random() % 5) {
      case 0:
        ulpdu = tagged(0xc1, 0x40, window.key, at, payload);
        break;
      case 1:
        ulpdu = untagged({}, payload);
        break;
      case 2:
        ulpdu = untagged({0x41, 0x41, 1, 1, 0, 0}, readRequest(100, window.key, at));
        break;
      case 3:
        ulpdu = tagged(0xc1, 0x42, window.key, at, payload);
        break;
      default:
        ulpdu = untagged({0x41, 0x47, 2, 1, 0, 0}, raw::fromHex("11000000"));
        break;
    }
    // Half of them are damaged before the checksum is made, so that it is right.
    const bool rightCrc = round % 2 == 0;
    Buffer frame = rightCrc ? Buffer() : fpdu(ulpdu);
    Buffer& damaged = rightCrc ? ulpdu : frame;
    for (std::uint64_t i = random() % 4; i-- > 0;) {
      const std::size_t limit = random() % 2 == 0 ? std::min<std::size_t>(20, damaged.size()) : damaged.size();
      damaged[random() % limit] = static_cast<std::byte>(random() & 0xffU);
    }
    if (random() % 4 == 0) damaged.resize(random() % (damaged.size() + 1));
    if (rightCrc) frame = fpdu(ulpdu);
    if (random() % 8 == 0) frame.resize(random() % (frame.size() + 1));
    peer.send(frame);
    if (random() % 4 == 0) peer.send(fpdu(untagged({}, payload)));
    peer.finishSending();
    seen.insert(peer.receiveTerminate());
    peer = raw::Socket();
    target.reason();
    if (round % 100 == 0) {
      const auto had = bystander.served->handler->waitMessages(round / 100).size();
      CHECK(bystander.client.post({WorkRequest::Kind::send, 1, {}}).ok());
      bystander.served->handler->waitMessages(had + 1);
    }
  }
  seen.erase("");
  std::string list;
  for (const auto& code : seen)
    list += " " + code;
  std::printf("# Terminates for %llu damaged frames:%s\n", static_cast<unsigned long long>(count), list.c_str());
  CHECK(target.outsideUntouched());
  for (int i = 0; i < 300 && descriptors() != before; ++i)
    std::this_thread::sleep_for(10ms);
  CHECK_EQ(descriptors(), before);
  reached().insert(seen.begin(), seen.end());
}

TEST(every_terminate_that_the_fabric_knows_was_reached) {
  const std::set<std::string> all{"0100", "0101", "0102", "0104", "0109", "0205", "0206",
                                  "02ff", "1100", "1101", "1103", "1104", "1201", "1202",
                                  "1203", "1204", "1205", "1206", "2002", "2003", "2006"};
  std::string missing;
  for (const auto& code : all) {
    if (!reached().contains(code)) missing += " " + code;
  }
  CHECK_EQ(missing, "");
}

}  // namespace

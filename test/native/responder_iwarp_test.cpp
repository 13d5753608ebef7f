// responder_iwarp_test.cpp -- the unit's data plane over the user-space iWARP fabric: what lands in a region's memory, and
// above all what does not.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <fstream>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "media/medium.h"
#include "scratch_directory.h"
#include "unit/responder.h"
#include "wire_peer.h"

using namespace rdmacp;
using namespace rdmacp::unit;
using protocol::ConnectionKind;

namespace {

constexpr std::uint64_t kBlock = 4096;
constexpr std::uint64_t kPool = 1024 * kBlock;
constexpr std::uint64_t kRegionBytes = 256 * kBlock;
constexpr SessionId kSession = 5;

// A unit with two regions side by side, the first in two extents that the second lies between.
struct Unit {
  explicit Unit(std::shared_ptr<media::Medium> given = nullptr)
      : medium(given ? given : std::shared_ptr<media::Medium>(std::move(media::openMemoryMedium(kPool)).value())),
        fabric(fabric::makeIwarpFabric()),
        clientLoop(std::move(EventLoop::start("test-client")).value()) {
    responder = std::move(Responder::create({.unitStart = 1}, medium)).value();
    auto listening = responder->listen(*fabric, std::move(fabric::SocketAddress::parse("127.0.0.1", 0)).value());
    if (!listening) check::fail(__FILE__, __LINE__, listening.error().message);
    address = listening.value();
    const std::vector<media::ByteRange> first{{0, kRegionBytes / 2}, {kRegionBytes * 3 / 2, kRegionBytes / 2}};
    const std::vector<media::ByteRange> second{{kRegionBytes / 2, kRegionBytes}};
    CHECK(responder->addRegion(1, first, kRegionBytes, 1, false).ok());
    CHECK(responder->addRegion(2, second, kRegionBytes, 1, false).ok());
    CHECK(responder->addSession(kSession).ok());
  }

  protocol::Token token(RegionId region, HandleId handle, fabric::Access rights, std::uint64_t epoch = 1) {
    auto issued = responder->issueToken({ConnectionKind::data, region, handle, kSession, rights, epoch, 0});
    if (!issued) check::fail(__FILE__, __LINE__, issued.error().message);
    return issued.value();
  }
  std::shared_ptr<WirePeer> connect(const protocol::Token& token, ConnectionKind kind = ConnectionKind::data) {
    return WirePeer::connect(*fabric, *clientLoop, address, kind, token);
  }
  std::byte* pool() const { return medium->memory().data(); }

  std::shared_ptr<media::Medium> medium;
  std::shared_ptr<fabric::Fabric> fabric;
  std::unique_ptr<EventLoop> clientLoop;
  std::unique_ptr<Responder> responder;  // ends before the fabric and the loop
  fabric::SocketAddress address;
};

struct Answer {
  std::atomic<bool> come{false};
  std::function<void(Status)> callback() {
    return [this](const Status& status) {
      if (status) come = true;
    };
  }
  bool wait() const {
    for (int i = 0; i < 200000 && !come; ++i)
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    return come;
  }
};

// Writes 64 KiB after 64 KiB over a region, as fast as the connection takes them, until it ends.
class Flood {
 public:
  Flood(WirePeer& peer, const protocol::Grant& grant, std::uint64_t regionBytes)
      : thread_([&peer, grant, regionBytes] {
          std::vector<std::byte> content(65536, std::byte{0xaa});
          std::uint64_t posted = 0;
          for (std::uint64_t at = 0; !peer.isClosed(); at = (at + content.size()) % regionBytes) {
            const auto status = peer.write(content, grant.base + at, grant.remoteKey);
            if (status) {
              ++posted;
            } else if (status.error().code == ErrorCode::limitReached) {
              std::this_thread::yield();
            } else {
              break;
            }
            // Deep enough to keep the wire busy, and no deeper than memory has to be kept for.
            while (!peer.isClosed() && posted > peer.completed() + 64)
              std::this_thread::yield();
          }
          peer.waitClosed();
        }) {}
  ~Flood() { thread_.join(); }
  Flood(const Flood&) = delete;
  Flood& operator=(const Flood&) = delete;

 private:
  std::thread thread_;
};

std::uint64_t countOther(const std::byte* from, std::uint64_t length, std::byte expected) {
  return length - static_cast<std::uint64_t>(std::count(from, from + length, expected));
}

std::string fileText(const std::string& path, std::uint64_t offset, std::size_t length) {
  std::ifstream in(path, std::ios::binary);
  in.seekg(static_cast<std::streamoff>(offset));
  std::string text(length, '\0');
  in.read(text.data(), static_cast<std::streamsize>(length));
  return text;
}

}  // namespace

TEST(what_is_written_is_read_back_and_lies_in_the_regions_extents) {
  Unit unit;
  const auto writer = unit.connect(unit.token(1, 1, fabric::Access::remoteReadWrite));
  const auto grant = writer->greet();
  CHECK_EQ(grant.length, kRegionBytes);
  std::vector<std::byte> content(3 * kBlock + 7);
  for (auto& b : content)
    b = static_cast<std::byte>(check::random()());
  const auto offset = kRegionBytes / 2 - kBlock - 3;
  CHECK(writer->write(content, grant.base + offset, grant.remoteKey).ok());
  std::vector<std::byte> back(content.size());
  CHECK(writer->read(back, grant.base + offset, grant.remoteKey).ok());
  CHECK(writer->waitCompleted(3));
  CHECK(back == content);
  CHECK_EQ(std::memcmp(unit.pool() + offset, content.data(), kBlock + 3), 0);
  CHECK_EQ(std::memcmp(unit.pool() + kRegionBytes * 3 / 2, content.data() + kBlock + 3, 2 * kBlock + 4), 0);
  CHECK(unit.responder->counters().bytesIn >= content.size());
}

TEST(a_wrong_or_used_token_is_rejected_with_its_code) {
  Unit unit;
  const auto token = unit.token(1, 1, fabric::Access::remoteRead);
  unit.connect(token)->greet();
  for (const auto& bad : {token, protocol::Token{}}) {
    const auto peer = unit.connect(bad);
    const auto reason = peer->waitClosed();
    CHECK(reason.has_value());
    CHECK_EQ(reason->code, ErrorCode::connectionRefused);
    CHECK(peer->rejection().has_value());
    CHECK_EQ(peer->rejection()->code, ErrorCode::tokenInvalid);
  }
}

TEST(a_reader_cannot_write_and_nobody_uses_anothers_key_or_reaches_beyond_the_region) {
  Unit unit;
  const auto memory = unit.medium->memory();
  const auto standing = unit.connect(unit.token(2, 9, fabric::Access::remoteReadWrite));
  const auto standingGrant = standing->greet();
  std::vector<std::byte> content(kBlock, std::byte{0xbb});
  struct Attempt {
    fabric::Access rights;
    std::uint64_t offset;
    bool anothersKey;
    bool reads;
  };
  const auto both = fabric::Access::remoteReadWrite;
  const Attempt attempts[] = {{fabric::Access::remoteRead, 0, false, false},
                              {fabric::Access::remoteWrite, 0, false, true},
                              {both, 0, true, false},
                              {both, 0, true, true},
                              {both, kRegionBytes - kBlock + 1, false, false},
                              {both, kRegionBytes, false, true},
                              {both, ~0ULL - 100, false, false}};
  for (const auto& attempt : attempts) {
    const auto peer = unit.connect(unit.token(1, 1, attempt.rights));
    const auto grant = peer->greet();
    const auto key = attempt.anothersKey ? standingGrant.remoteKey : grant.remoteKey;
    const auto address = (attempt.anothersKey ? standingGrant.base : grant.base) + attempt.offset;
    CHECK((attempt.reads ? peer->read(content, address, key) : peer->write(content, address, key)).ok());
    CHECK(peer->waitClosed().has_value());
  }
  CHECK_EQ(countOther(memory.data(), memory.size(), std::byte{0}), 0u);
  CHECK(standing->write(content, standingGrant.base, standingGrant.remoteKey).ok());
  CHECK(standing->read(content, standingGrant.base, standingGrant.remoteKey).ok());
  CHECK(standing->waitCompleted(3));
  CHECK(!standing->isClosed());
}

TEST(a_durable_flush_covers_the_writes_before_it) {
  const ScratchDirectory scratch;
  const auto path = scratch.file("pool");
  std::shared_ptr<media::Medium> medium = std::move(media::openFileMedium({path, true, kPool})).value();
  Unit unit(medium);
  const auto writer = unit.connect(unit.token(1, 1, fabric::Access::remoteReadWrite));
  const auto grant = writer->greet();
  for (std::size_t round = 0; round < check::rounds(2000, 50); ++round) {
    std::string text(1 + check::random()() % 20000, '\0');
    for (auto& c : text)
      c = static_cast<char>(check::random()());
    const auto offset = check::random()() % (kRegionBytes / 2 - text.size());
    const std::span bytes(reinterpret_cast<std::byte*>(text.data()), text.size());
    CHECK(writer->write(bytes, grant.base + offset, grant.remoteKey).ok());
    CHECK(writer->send(protocol::encode(protocol::Flush{round, {{offset, text.size()}}}, 1)).ok());
    const auto flushed = protocol::parseFlushed(writer->message(round + 1));
    CHECK(flushed.ok());
    CHECK_EQ(flushed.value().request, round);
    CHECK_EQ(flushed.value().code, ErrorCode::ok);
#if !RC_SHADOW_FILE_IO
    CHECK(fileText(path, offset, text.size()) == text);
#endif
  }
}

TEST(no_byte_of_a_fenced_writer_lands_after_the_fence_has_answered) {
  Unit unit;
  const auto tries = check::rounds(3000, 300);
  std::uint64_t late = 0;
  std::uint64_t landedBefore = 0;
  std::uint64_t epoch = 1;
  for (std::uint64_t attempt = 0; attempt < tries; ++attempt) {
    const auto peer = unit.connect(unit.token(2, attempt + 1, fabric::Access::remoteReadWrite, epoch));
    const auto grant = peer->greet();
    Flood flood(*peer, grant, kRegionBytes);
    std::this_thread::sleep_for(std::chrono::microseconds(500 + check::random()() % 2000));
    Answer fenced;
    unit.responder->fence(2, ++epoch, fenced.callback());
    const bool answered = fenced.wait();
    // Ours now: whatever is not as we leave it was written by somebody who may not.
    auto* region = unit.pool() + kRegionBytes / 2;
    landedBefore += countOther(region, kRegionBytes, std::byte{0});
    std::memset(region, 0, kRegionBytes);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    late += countOther(region, kRegionBytes, std::byte{0});
    if (!answered) peer->connection().close();
    CHECK(answered);
    CHECK(peer->waitClosed().has_value());
  }
  std::printf("# %llu fences, %llu bytes before them, %llu after\n", static_cast<unsigned long long>(tries),
              static_cast<unsigned long long>(landedBefore), static_cast<unsigned long long>(late));
  CHECK(landedBefore > tries * 65536);
  CHECK_EQ(late, 0u);
}

TEST(a_dropped_handle_and_a_removed_region_are_as_exact_as_a_fence) {
  Unit unit;
  std::uint64_t late = 0;
  for (std::uint64_t attempt = 0; attempt < check::rounds(600, 60); ++attempt) {
    const auto peer = unit.connect(unit.token(2, 1, fabric::Access::remoteReadWrite));
    Flood flood(*peer, peer->greet(), kRegionBytes);
    std::this_thread::sleep_for(std::chrono::microseconds(500 + check::random()() % 2000));
    Answer ended;
    if (attempt % 2 == 0) {
      unit.responder->dropHandle(2, 1, ended.callback());
    } else {
      unit.responder->removeRegion(2, ended.callback());
    }
    const bool answered = ended.wait();
    auto* region = unit.pool() + kRegionBytes / 2;
    std::memset(region, 0, kRegionBytes);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    late += countOther(region, kRegionBytes, std::byte{0});
    if (!answered) peer->connection().close();
    CHECK(answered);
    if (attempt % 2 != 0) {
      const media::ByteRange extent{kRegionBytes / 2, kRegionBytes};
      CHECK(unit.responder->addRegion(2, {&extent, 1}, kRegionBytes, 1, false).ok());
    }
  }
  CHECK_EQ(late, 0u);
}

TEST(a_peer_that_vanishes_is_forgotten_with_its_session_state) {
  Unit unit;
  const auto token =
      std::move(unit.responder->issueToken({.kind = ConnectionKind::session, .session = kSession})).value();
  const auto session = unit.connect(token, ConnectionKind::session);
  CHECK(session->waitEstablished());
  CHECK(session->send(protocol::encode(protocol::Hello{})).ok());
  CHECK(protocol::parseWelcome(session->message(0)).ok());
  const auto heartbeat = protocol::encode(protocol::Heartbeat{1, 2, 3, 0}, protocol::MessageType::heartbeat, 1);
  CHECK(session->send(heartbeat).ok());
  CHECK(protocol::parseHeartbeat(session->message(1)).ok());
  const auto data = unit.connect(unit.token(1, 1, fabric::Access::remoteRead));
  data->greet();
  CHECK(unit.responder->sessions()[0].connected);
  CHECK_EQ(unit.responder->sessions()[0].dataConnections, 1u);
  session->connection().fence([] {});
  data->connection().fence([] {});
  bool gone = false;
  for (int i = 0; i < 2000 && !gone; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    const auto state = unit.responder->sessions()[0];
    gone = !state.connected && state.dataConnections == 0;
  }
  CHECK(gone);
}

TEST(a_fenced_sessions_client_is_told) {
  Unit unit;
  const auto token =
      std::move(unit.responder->issueToken({.kind = ConnectionKind::session, .session = kSession})).value();
  const auto session = unit.connect(token, ConnectionKind::session);
  CHECK(session->waitEstablished());
  CHECK(session->send(protocol::encode(protocol::Hello{})).ok());
  CHECK(protocol::parseWelcome(session->message(0)).ok());
  const auto writer = unit.connect(unit.token(1, 8, fabric::Access::remoteWrite));
  writer->greet();
  Answer fenced;
  unit.responder->fence(1, 2, fenced.callback());
  CHECK(fenced.wait());
  const auto told = protocol::parseFenced(session->message(1));
  CHECK(told.ok());
  CHECK_EQ(told.value().handle, 8u);
  CHECK_EQ(told.value().epoch, 2u);
  CHECK(writer->waitClosed().has_value());
}

TEST(a_stop_in_the_middle_of_floods_ends_them_and_returns) {
  for (std::uint64_t round = 0; round < check::rounds(100, 10); ++round) {
    Unit unit;
    const auto one = unit.connect(unit.token(1, 1, fabric::Access::remoteReadWrite));
    const auto two = unit.connect(unit.token(2, 2, fabric::Access::remoteReadWrite));
    const auto grantOne = one->greet();
    const auto grantTwo = two->greet();
    Flood floodOne(*one, grantOne, kRegionBytes);
    Flood floodTwo(*two, grantTwo, kRegionBytes);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    const auto before = Clock::now();
    unit.responder->stop();
    CHECK(Clock::now() - before < std::chrono::seconds(3));
    CHECK_EQ(unit.responder->counters().connectionsOpen, 0u);
  }
}

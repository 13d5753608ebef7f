// takeover_flush_test.cpp -- what a takeover makes durable, over the user-space iWARP fabric: everything that the old owner
// left visible and no flush has made durable, and nothing else.
#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "check.h"
#include "media/medium.h"
#include "raw_peer.h"
#include "unit/responder.h"
#include "wire_peer.h"

using namespace rdmacp;
using namespace rdmacp::unit;
using protocol::ConnectionKind;

namespace {

constexpr std::uint64_t kBlock = 4096;
constexpr std::uint64_t kPool = 1024 * kBlock;
constexpr std::uint64_t kRegionBytes = 512 * kBlock;
constexpr SessionId kSession = 5;
// Pieces that lie closer are flushed together.
constexpr std::uint64_t kFar = 32 * kBlock;

// Memory that says it is durable, and keeps what is flushed in a copy. A test looks at each flush while it is under way,
// after its bytes have been copied.
class WatchedMedium final : public media::Medium {
 public:
  WatchedMedium() : memory_(std::move(media::openMemoryMedium(kPool)).value()), kept_(kPool) {}
  std::span<std::byte> memory() const override { return memory_->memory(); }
  int memoryFd() const override { return memory_->memoryFd(); }
  std::uint64_t blockSize() const override { return kBlock; }
  bool durable() const override { return true; }
  Status zero(media::ByteRange range) override { return memory_->zero(range); }
  Status load(media::ByteRange) override { return {}; }
  Status flush(std::span<const media::ByteRange> ranges) override {
    std::function<Status()> meanwhile;
    {
      const std::lock_guard lock(mutex_);
      for (const auto& range : ranges) {
        const auto from = range.offset / kBlock * kBlock;
        const auto end = std::min(kPool, (range.offset + range.length + kBlock - 1) / kBlock * kBlock);
        bytes_ += end - from;
        std::copy(memory().begin() + static_cast<std::ptrdiff_t>(from),
                  memory().begin() + static_cast<std::ptrdiff_t>(end),
                  kept_.begin() + static_cast<std::ptrdiff_t>(from));
      }
      meanwhile = std::move(onFlush_);
      onFlush_ = nullptr;
    }
    return meanwhile ? meanwhile() : Status{};
  }

  // Of the next flush, on its thread: its result.
  void onNextFlush(std::function<Status()> call) {
    const std::lock_guard lock(mutex_);
    onFlush_ = std::move(call);
  }
  std::uint64_t takeBytes() {
    const std::lock_guard lock(mutex_);
    return std::exchange(bytes_, 0);
  }
  std::byte kept(std::uint64_t offset) {
    const std::lock_guard lock(mutex_);
    return kept_[offset];
  }

 private:
  const std::unique_ptr<media::Medium> memory_;
  std::mutex mutex_;
  std::vector<std::byte> kept_;
  std::uint64_t bytes_ = 0;
  std::function<Status()> onFlush_;
};

class Once {
 public:
  void set(Status status = {}) {
    // Told with the mutex held: who waits may end this object as soon as it has it.
    const std::lock_guard lock(mutex_);
    set_ = true;
    status_ = std::move(status);
    changed_.notify_all();
  }
  std::function<void(Status)> callback() {
    return [this](Status status) { set(std::move(status)); };
  }
  bool wait(std::chrono::milliseconds atMost = std::chrono::seconds(20)) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, atMost, [&] { return set_; });
  }
  Status status() {
    if (!wait()) check::fail(__FILE__, __LINE__, "nothing came");
    const std::lock_guard lock(mutex_);
    return status_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool set_ = false;
  Status status_;
};

struct Unit {
  explicit Unit(std::uint32_t loops = 2)
      : medium(std::make_shared<WatchedMedium>()),
        fabric(fabric::makeIwarpFabric()),
        clientLoop(std::move(EventLoop::start("test-client")).value()) {
    responder = std::move(Responder::create({.loops = loops, .unitStart = 1}, medium)).value();
    auto listening = responder->listen(*fabric, std::move(fabric::SocketAddress::parse("127.0.0.1", 0)).value());
    if (!listening) check::fail(__FILE__, __LINE__, listening.error().message);
    address = listening.value();
    const std::vector<media::ByteRange> extents{{0, kRegionBytes}};
    CHECK(responder->addRegion(1, extents, kRegionBytes, 1, false).ok());
    CHECK(responder->addSession(kSession).ok());
  }
  protocol::Token token(fabric::Access rights = fabric::Access::remoteReadWrite) {
    auto issued = responder->issueToken({ConnectionKind::data, 1, ++handles, kSession, rights, epoch, 0});
    if (!issued) check::fail(__FILE__, __LINE__, issued.error().message);
    return issued.value();
  }
  void fence() {
    Once fenced;
    responder->fence(1, ++epoch, fenced.callback());
    CHECK(fenced.status().ok());
  }
  Status makeDurable() {
    Once durable;
    responder->makeDurable(1, durable.callback());
    return durable.status();
  }

  std::shared_ptr<WatchedMedium> medium;
  std::shared_ptr<fabric::Fabric> fabric;
  std::unique_ptr<EventLoop> clientLoop;
  std::unique_ptr<Responder> responder;  // ends before the fabric and the loop
  fabric::SocketAddress address;
  std::uint64_t epoch = 1;
  HandleId handles = 0;
};

// An owner of the unit's region.
struct Owner {
  explicit Owner(Unit& unit)
      : peer(WirePeer::connect(*unit.fabric, *unit.clientLoop, unit.address, ConnectionKind::data, unit.token())),
        grant(peer->greet()) {}

  void writeVisible(std::uint64_t offset, std::byte value, std::size_t length = 1) {
    std::vector<std::byte> content(length, value);
    std::byte back{};
    CHECK(peer->write(content, grant.base + offset, grant.remoteKey).ok());
    CHECK(peer->read({&back, 1}, grant.base + offset, grant.remoteKey).ok());
    CHECK(peer->waitAllCompleted());
  }
  bool askToFlush(std::uint64_t offset, std::uint64_t length) {
    protocol::Flush flush;
    flush.request = ++flushes;
    flush.ranges = {{offset, length}};
    return peer->send(protocol::encode(flush, 1)).ok();
  }
  // Of the n-th flush.
  ErrorCode flushed(std::size_t n) {
    const auto answer = protocol::parseFlushed(peer->message(n));
    if (!answer) check::fail(__FILE__, __LINE__, answer.error().message);
    return answer.value().code;
  }

  std::shared_ptr<WirePeer> peer;
  protocol::Grant grant;
  std::uint64_t flushes = 0;
};

}  // namespace

TEST(a_takeover_flushes_what_was_left_visible_and_nothing_else) {
  Unit unit;
  Owner owner(unit);
  owner.writeVisible(5 * kBlock + 3, std::byte{1});
  owner.writeVisible(5 * kBlock + kFar, std::byte{2}, 2 * kBlock + 1);
  owner.writeVisible(5 * kBlock + 3 * kFar, std::byte{3});
  CHECK(owner.askToFlush(5 * kBlock + 3, 1));
  CHECK(owner.flushed(1) == ErrorCode::ok);
  CHECK_EQ(unit.medium->takeBytes(), kBlock);
  unit.fence();
  CHECK(unit.makeDurable().ok());
  CHECK_EQ(unit.medium->takeBytes(), 4 * kBlock);
  CHECK(unit.medium->kept(5 * kBlock + kFar + 2 * kBlock) == std::byte{2});
  CHECK(unit.medium->kept(5 * kBlock + 3 * kFar) == std::byte{3});
  CHECK(unit.makeDurable().ok());
  CHECK_EQ(unit.medium->takeBytes(), 0u);
}

TEST(what_is_placed_while_its_piece_is_flushed_is_flushed_again) {
  Unit unit;
  Owner owner(unit);
  owner.writeVisible(0, std::byte{1});
  Once copied, goOn;
  unit.medium->onNextFlush([&] {
    copied.set();
    goOn.wait();
    return Status{};
  });
  CHECK(owner.askToFlush(0, 1));
  CHECK(copied.wait());
  owner.writeVisible(0, std::byte{2});
  goOn.set();
  CHECK(owner.flushed(1) == ErrorCode::ok);
  CHECK(unit.medium->kept(0) == std::byte{1});
  unit.fence();
  CHECK(unit.makeDurable().ok());
  CHECK(unit.medium->kept(0) == std::byte{2});
}

TEST(what_a_flush_failed_to_make_durable_is_still_to_be_flushed) {
  Unit unit;
  Owner owner(unit);
  owner.writeVisible(0, std::byte{1}, kBlock + 1);
  const auto failing = [] { return Status(Error{ErrorCode::mediumFailed, "a test", 5}); };
  unit.medium->onNextFlush(failing);
  CHECK(owner.askToFlush(0, kBlock + 1));
  CHECK(owner.flushed(1) == ErrorCode::mediumFailed);
  unit.fence();
  unit.medium->takeBytes();
  unit.medium->onNextFlush(failing);
  CHECK(unit.makeDurable().error().code == ErrorCode::mediumFailed);
  CHECK_EQ(unit.medium->takeBytes(), 2 * kBlock);
  CHECK(unit.makeDurable().ok());
  CHECK_EQ(unit.medium->takeBytes(), 2 * kBlock);
}

TEST(a_takeover_waits_for_a_flush_under_way) {
  Unit unit;
  Owner owner(unit);
  owner.writeVisible(0, std::byte{1});
  Once copied, goOn;
  unit.medium->onNextFlush([&] {
    copied.set();
    goOn.wait();
    return Status{};
  });
  CHECK(owner.askToFlush(0, 1));
  CHECK(copied.wait());
  unit.fence();
  Once durable;
  unit.responder->makeDurable(1, durable.callback());
  // Only what is too early is seen here; a slow machine makes it no failure.
  CHECK(!durable.wait(std::chrono::milliseconds(100)));
  goOn.set();
  CHECK(durable.status().ok());
}

TEST(when_the_flush_under_way_fails_the_takeover_flushes_its_pieces) {
  Unit unit;
  Owner owner(unit);
  owner.writeVisible(0, std::byte{1});
  Once copied, goOn;
  unit.medium->onNextFlush([&] {
    copied.set();
    goOn.wait();
    return Status(Error{ErrorCode::mediumFailed, "a test", 5});
  });
  CHECK(owner.askToFlush(0, 1));
  CHECK(copied.wait());
  unit.medium->takeBytes();
  unit.fence();
  Once durable;
  unit.responder->makeDurable(1, durable.callback());
  goOn.set();
  CHECK(durable.status().ok());
  CHECK_EQ(unit.medium->takeBytes(), kBlock);
}

// A write stops half-way, and its connection is fenced: the part that has come may have been read by somebody.
void breakOff(bool flushMeanwhile) {
  Unit unit(1);
  // The set-up by hand: MPA with this package's preamble, a hello, and the key out of the grant.
  protocol::ConnectData data;
  data.kind = ConnectionKind::data;
  data.token = unit.token();
  raw::Buffer request = raw::fromHex(raw::kRequestKey + "4001");
  const auto given = protocol::encode(data);
  raw::Buffer privateData = raw::fromHex("5244435001010000");
  privateData.insert(privateData.end(), given.begin(), given.end());
  raw::put(request, privateData.size(), 2);
  request.insert(request.end(), privateData.begin(), privateData.end());
  auto socket = raw::Socket::connect(unit.address);
  socket.send(request);
  const auto reply = socket.receive(20);
  CHECK_EQ(reply.size(), 20u);
  socket.receive(std::to_integer<std::size_t>(reply[18]) << 8 | std::to_integer<std::size_t>(reply[19]));
  socket.send(raw::fpdu(raw::untagged({}, protocol::encode(protocol::Hello{}))));
  const auto message = socket.receiveUlpdu();
  const auto grant = protocol::parseGrant(std::span(message).subspan(18));
  CHECK(grant.ok());

  const auto write = raw::tagged(0xc1, 0x40, grant.value().remoteKey, grant.value().base + 7 * kBlock,
                                 raw::Buffer(3 * kBlock, std::byte{7}));
  auto half = raw::fpdu(write);
  half.resize(half.size() / 2);
  socket.send(half);
  // The unit has one loop here: what a read sees has been placed.
  const auto reader = WirePeer::connect(*unit.fabric, *unit.clientLoop, unit.address, ConnectionKind::data,
                                        unit.token(fabric::Access::remoteRead));
  const auto seen = reader->greet();
  std::byte last{};
  for (std::uint64_t reads = 1; last != std::byte{7} && reads < 20000; ++reads) {
    CHECK(reader->read({&last, 1}, seen.base + 8 * kBlock, seen.remoteKey).ok());
    CHECK(reader->waitAllCompleted());
  }
  CHECK(last == std::byte{7});
  if (flushMeanwhile) {
    // By another who may write: it copies the half that is there.
    Owner other(unit);
    CHECK(other.askToFlush(7 * kBlock, 3 * kBlock));
    CHECK(other.flushed(1) == ErrorCode::ok);
    unit.medium->takeBytes();
  }
  unit.fence();
  CHECK(unit.makeDurable().ok());
  CHECK_EQ(unit.medium->takeBytes(), 3 * kBlock);
  CHECK(unit.medium->kept(7 * kBlock) == std::byte{7});
  CHECK(unit.medium->kept(8 * kBlock) == std::byte{7});
}

TEST(a_write_that_breaks_off_leaves_what_it_has_placed_to_the_takeover) {
  breakOff(false);
}
TEST(a_flush_in_the_middle_of_a_write_clears_nothing_of_it) {
  breakOff(true);
}

TEST(every_byte_of_a_flood_is_durable_after_the_takeover) {
  for (std::uint64_t round = 0; round < check::rounds(40, 8); ++round) {
    Unit unit;
    {
      Owner owner(unit);
      std::thread flood([&, seed = check::random()()] {
        std::mt19937_64 random(seed);
        std::vector<std::byte> content(65536);
        for (auto& b : content)
          b = static_cast<std::byte>(random() | 1U);
        std::uint64_t posted = 0;
        while (!owner.peer->isClosed()) {
          const auto length = random() % content.size() + 1;
          const auto at = random() % (kRegionBytes - length);
          if (!owner.peer->write(std::span(content).first(length), owner.grant.base + at, owner.grant.remoteKey)) break;
          if (++posted % 8 != 0) continue;
          // Waited for, so that no more are under way than the unit allows.
          if (!owner.askToFlush(at, length) || owner.peer->message(owner.flushes).empty()) break;
        }
        owner.peer->waitClosed();
      });
      std::this_thread::sleep_for(std::chrono::milliseconds(check::random()() % 20));
      unit.fence();
      flood.join();
    }
    CHECK(unit.makeDurable().ok());
    std::uint64_t different = 0;
    for (std::uint64_t at = 0; at < kRegionBytes; ++at)
      different += unit.medium->kept(at) == unit.medium->memory()[at] ? 0 : 1;
    CHECK_EQ(different, 0u);
  }
}

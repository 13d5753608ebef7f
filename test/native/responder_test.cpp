// responder_test.cpp -- the unit's data plane against a peer that the test plays: tokens, hello, flushes, fences, sessions.
// What really lands in memory after a fence is for responder_iwarp_test.
#include "unit/responder.h"

#include <fcntl.h>
#include <pthread.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <deque>
#include <fstream>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "fake_fabric.h"
#include "media/file_io.h"
#include "media/file_medium.h"
#include "scratch_directory.h"
#include "unit/flush_queue.h"
#include "unit/lease_clock.h"
#include "unit/region_memory.h"
#include "unit/token_table.h"

using namespace rdmacp;
using namespace rdmacp::unit;
using protocol::ConnectionKind;

namespace {

constexpr std::uint64_t kHeldPool = 32U << 20U;

constexpr std::uint64_t kBlock = 4096;
constexpr std::uint64_t kPool = 64 * kBlock;
constexpr RegionId kRegion = 1;
constexpr SessionId kSession = 5;
constexpr std::uint64_t kEpoch = 3;

bool eventually(const std::function<bool()>& condition) {
  for (int i = 0; i < 3000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

// A unit with one region of two extents that lie the wrong way round in the pool, and one session.
struct Unit {
  explicit Unit(ResponderOptions options = {}, std::shared_ptr<media::Medium> given = nullptr)
      : medium(given ? given : std::shared_ptr<media::Medium>(std::move(media::openMemoryMedium(kPool)).value())) {
    options.unitStart = 9;
    options.loops = 2;
    responder = std::move(Responder::create(options, medium)).value();
    CHECK(responder->listen(fabric, {}).ok());
    const std::vector<media::ByteRange> extents{{8 * kBlock, 2 * kBlock}, {2 * kBlock, 2 * kBlock}};
    CHECK(responder->addRegion(kRegion, extents, 3 * kBlock + 100, kEpoch, false).ok());
    CHECK(responder->addSession(kSession).ok());
  }

  protocol::Token token(HandleId handle, fabric::Access rights, std::uint64_t epoch = kEpoch, RegionId region = kRegion,
                        SessionId session = kSession, std::uint32_t lifeMs = 0) {
    auto issued = responder->issueToken({ConnectionKind::data, region, handle, session, rights, epoch, lifeMs});
    if (!issued) check::fail(__FILE__, __LINE__, issued.error().message);
    return issued.value();
  }
  protocol::Token sessionToken(SessionId session = kSession) {
    auto issued = responder->issueToken({.kind = ConnectionKind::session, .session = session});
    if (!issued) check::fail(__FILE__, __LINE__, issued.error().message);
    return issued.value();
  }

  fake::Fabric::Asked ask(const protocol::Token& token, ConnectionKind kind = ConnectionKind::data) {
    protocol::ConnectData data;
    data.kind = kind;
    data.token = token;
    return fabric.ask(protocol::encode(data));
  }
  ErrorCode rejection(const protocol::Token& token, ConnectionKind kind = ConnectionKind::data) {
    const auto asked = ask(token, kind);
    if (asked.connection) return ErrorCode::ok;
    return protocol::parseRejectData(asked.reject).value().code;
  }
  std::shared_ptr<fake::Connection> halfOpen(const protocol::Token& token, ConnectionKind kind = ConnectionKind::data) {
    auto asked = ask(token, kind);
    CHECK(asked.connection != nullptr);
    return asked.connection;
  }
  std::shared_ptr<fake::Connection> greeted(const protocol::Token& token, ConnectionKind kind = ConnectionKind::data) {
    auto connection = halfOpen(token, kind);
    connection->establish();
    connection->deliver(protocol::encode(protocol::Hello{}));
    CHECK(!connection->sent(0).empty());
    return connection;
  }
  std::shared_ptr<fake::Connection> opened(HandleId handle, fabric::Access rights) {
    return greeted(token(handle, rights));
  }

  SessionState state(SessionId session = kSession) {
    for (const auto& candidate : responder->sessions()) {
      if (candidate.session == session) return candidate;
    }
    check::fail(__FILE__, __LINE__, "no such session");
  }

  std::shared_ptr<media::Medium> medium;
  fake::Fabric fabric;
  std::unique_ptr<Responder> responder;  // ends before the fabric that its connections name
};

// Set by a done callback, on another thread.
struct Answer {
  std::atomic<bool> come{false};
  std::atomic<ErrorCode> code{ErrorCode::ok};
  std::function<void(Status)> callback() {
    return [this](Status status) {
      code = status.error().code;
      come = true;
    };
  }
  bool wait() {
    return eventually([&] { return come.load(); });
  }
};

protocol::Flushed flushed(fake::Connection& connection, std::size_t n) {
  auto parsed = protocol::parseFlushed(connection.sent(n));
  if (!parsed) check::fail(__FILE__, __LINE__, parsed.error().message);
  return parsed.value();
}

protocol::Refuse refusal(fake::Connection& connection, std::size_t n = 0) {
  auto parsed = protocol::parseRefuse(connection.sent(n));
  if (!parsed) check::fail(__FILE__, __LINE__, parsed.error().message);
  return parsed.value();
}

fake::Message flushMessage(std::uint64_t request, std::vector<protocol::FlushRange> ranges) {
  return protocol::encode(protocol::Flush{request, std::move(ranges)}, 1);
}

std::shared_ptr<media::Medium> fileMedium(const std::string& path, std::unique_ptr<media::FileIo> io) {
  auto medium = media::openFileMedium({path, true, kPool}, std::move(io));
  if (!medium) check::fail(__FILE__, __LINE__, medium.error().message);
  return std::move(medium).value();
}

std::string fileText(const std::string& path, std::uint64_t offset, std::size_t length) {
  std::ifstream in(path, std::ios::binary);
  in.seekg(static_cast<std::streamoff>(offset));
  std::string text(length, '\0');
  in.read(text.data(), static_cast<std::streamsize>(length));
  return text;
}

}  // namespace

TEST(flush_threads_that_cannot_be_started_are_an_error) {
  pthread_attr_t usual;
  CHECK_EQ(pthread_getattr_default_np(&usual), 0);
  pthread_attr_t huge = usual;
  CHECK_EQ(pthread_attr_setstacksize(&huge, std::size_t{1} << 47), 0);  // more than there are addresses
  CHECK_EQ(pthread_setattr_default_np(&huge), 0);
  {
    FlushQueue queue(std::shared_ptr<media::Medium>(std::move(media::openMemoryMedium(kPool)).value()), 2);
    CHECK_EQ(pthread_setattr_default_np(&usual), 0);
    CHECK(queue.started().error().code == ErrorCode::systemError);
    CHECK(!queue.push({}));
  }
  pthread_attr_destroy(&usual);
}

TEST(a_grant_names_the_region_and_only_the_rights_of_the_token) {
  Unit unit;
  const auto reader = unit.opened(11, fabric::Access::remoteRead);
  const auto grant = protocol::parseGrant(reader->sent(0));
  CHECK(grant.ok());
  CHECK_EQ(grant.value().length, 3 * kBlock + 100);
  CHECK_EQ(grant.value().epoch, kEpoch);
  CHECK_EQ(grant.value().unitStart, 9u);
  CHECK_EQ(grant.value().handle, 11u);
  CHECK_EQ(grant.value().rights, static_cast<std::uint32_t>(fabric::Access::remoteRead));
  CHECK_EQ(grant.value().promises, 1u);
  CHECK_EQ(grant.value().remoteKey, 77u);
  const auto made = reader->grants();
  CHECK_EQ(made.size(), 1u);
  CHECK_EQ(made[0].access, fabric::Access::remoteRead);
  CHECK_EQ(made[0].offset, 0u);
  CHECK_EQ(made[0].length, 3 * kBlock + 100);
  // One registration a region, made before anybody opened it.
  const auto writer = unit.opened(12, fabric::Access::remoteWrite);
  CHECK_EQ(unit.fabric.registrations, 1);
  CHECK_EQ(writer->grants()[0].access, fabric::Access::remoteWrite);
}

// Memory that passes for a persistent one.
class PersistentMedium final : public media::Medium {
 public:
  std::span<std::byte> memory() const override { return inner_->memory(); }
  int memoryFd() const override { return inner_->memoryFd(); }
  std::uint64_t blockSize() const override { return inner_->blockSize(); }
  bool durable() const override { return true; }
  bool persistentMemory() const override { return true; }
  Status flush(std::span<const media::ByteRange>) override { return {}; }
  Status zero(media::ByteRange range) override { return inner_->zero(range); }
  Status load(media::ByteRange range) override { return inner_->load(range); }

 private:
  std::unique_ptr<media::Medium> inner_ = std::move(media::openMemoryMedium(kPool)).value();
};

protocol::Grant grantFor(Unit& unit, fabric::Access rights, std::uint32_t capabilities, bool deviceFlushes,
                         fabric::Access* granted) {
  auto connection = unit.halfOpen(unit.token(1, rights));
  connection->flushes = deviceFlushes;
  connection->establish();
  protocol::Hello hello;
  hello.capabilities = capabilities;
  connection->deliver(protocol::encode(hello));
  const auto grant = protocol::parseGrant(connection->sent(0)).value();
  CHECK_EQ(connection->grants().size(), 1U);
  *granted = connection->grants()[0].access;
  return grant;
}

TEST(a_window_may_be_flushed_where_client_memory_and_device_can_and_it_may_be_written) {
  constexpr auto kFlushVerb = protocol::kCapabilityFlushVerb;
  constexpr auto kWriter = fabric::Access::remoteReadWrite;
  fabric::Access granted{};
  Unit unit({}, std::make_shared<PersistentMedium>());
  const auto grant = grantFor(unit, kWriter, kFlushVerb | 0x80, true, &granted);
  CHECK_EQ(grant.capabilities, kFlushVerb);
  CHECK_EQ(grant.rights, 3U);
  CHECK(granted == (kWriter | fabric::Access::remoteFlush));
  CHECK_EQ(unit.fabric.persistentRegistrations.load(), 1);

  CHECK_EQ(grantFor(unit, kWriter, 0x80, true, &granted).capabilities, 0U);
  CHECK(granted == kWriter);
  CHECK_EQ(grantFor(unit, kWriter, kFlushVerb, false, &granted).capabilities, 0U);
  CHECK(granted == kWriter);
  CHECK_EQ(grantFor(unit, fabric::Access::remoteRead, kFlushVerb, true, &granted).capabilities, 0U);
  CHECK(granted == fabric::Access::remoteRead);

  Unit inMemory;
  CHECK_EQ(grantFor(inMemory, kWriter, kFlushVerb, true, &granted).capabilities, 0U);
  CHECK(granted == kWriter);
  CHECK_EQ(inMemory.fabric.persistentRegistrations.load(), 0);
}

TEST(a_regions_extents_lie_back_to_back_in_its_memory) {
  Unit unit;
  const auto writer = unit.opened(1, fabric::Access::remoteReadWrite);
  const auto memory = writer->grants()[0].region->memory();
  std::memcpy(memory.data() + 2 * kBlock - 2, "abcd", 4);
  const auto* pool = unit.medium->memory().data();
  CHECK_EQ(std::memcmp(pool + 10 * kBlock - 2, "ab", 2), 0);
  CHECK_EQ(std::memcmp(pool + 2 * kBlock, "cd", 2), 0);
}

TEST(region_memory_translates_ranges_and_refuses_bad_extents) {
  const std::shared_ptr<media::Medium> medium = std::move(media::openMemoryMedium(kPool)).value();
  const std::vector<media::ByteRange> extents{{8 * kBlock, kBlock}, {0, 2 * kBlock}, {20 * kBlock, kBlock}};
  const auto mapped = RegionMemory::map(medium, extents, 4 * kBlock);
  CHECK(mapped.ok());
  std::vector<media::ByteRange> ranges;
  mapped.value()->appendPoolRanges(kBlock - 1, 2 * kBlock + 2, ranges);
  CHECK_EQ(ranges.size(), 3u);
  CHECK_EQ(ranges[0].offset, 9 * kBlock - 1);
  CHECK_EQ(ranges[0].length, 1u);
  CHECK_EQ(ranges[1].offset, 0u);
  CHECK_EQ(ranges[1].length, 2 * kBlock);
  CHECK_EQ(ranges[2].offset, 20 * kBlock);
  CHECK_EQ(ranges[2].length, 1u);
  ranges.clear();
  mapped.value()->appendPoolRanges(4 * kBlock, 0, ranges);
  CHECK(ranges.empty());

  const auto refused = [&](std::vector<media::ByteRange> bad, std::uint64_t length) {
    const auto result = RegionMemory::map(medium, bad, length);
    return !result.ok() && result.error().code == ErrorCode::invalidArgument;
  };
  CHECK(refused({}, 1));
  CHECK(refused({{0, kBlock}}, 0));
  CHECK(refused({{0, kBlock}}, kBlock + 1));
  CHECK(refused({{0, kBlock}, {kBlock, kBlock}}, kBlock));
  CHECK(refused({{1, kBlock}}, 1));
  CHECK(refused({{0, 100}}, 1));
  CHECK(refused({{kPool, kBlock}}, 1));
  CHECK(refused({{kPool - kBlock, 2 * kBlock}}, kBlock + 1));
  CHECK(refused({{~0ULL - kBlock + 1, kBlock}}, 1));
  // Memory of one extent is the pool's own mapping; the rest is mapped again.
  const auto single = RegionMemory::map(medium, std::vector<media::ByteRange>{{kBlock, kBlock}}, 10);
  CHECK(single.value()->bytes().data() == medium->memory().data() + kBlock);
}

TEST(a_token_is_good_once_and_only_for_its_kind) {
  Unit unit;
  const auto token = unit.token(1, fabric::Access::remoteRead);
  CHECK_EQ(unit.rejection(token, ConnectionKind::session), ErrorCode::tokenInvalid);
  CHECK_EQ(unit.rejection(token), ErrorCode::ok);
  CHECK_EQ(unit.rejection(token), ErrorCode::tokenInvalid);
  auto wrong = unit.token(1, fabric::Access::remoteRead);
  for (const std::size_t at : {std::size_t{0}, std::size_t{15}, std::size_t{16}, std::size_t{31}}) {
    auto changed = wrong;
    changed[at] ^= std::byte{1};
    CHECK_EQ(unit.rejection(changed), ErrorCode::tokenInvalid);
  }
  CHECK_EQ(unit.rejection(wrong), ErrorCode::ok);
  CHECK_EQ(unit.rejection({}), ErrorCode::tokenInvalid);
  const auto session = unit.sessionToken();
  CHECK_EQ(unit.rejection(session, ConnectionKind::data), ErrorCode::tokenInvalid);
  CHECK_EQ(unit.rejection(session, ConnectionKind::session), ErrorCode::ok);
  CHECK_EQ(unit.rejection(session, ConnectionKind::session), ErrorCode::tokenInvalid);
  const auto malformed = unit.fabric.ask({std::byte{1}});
  CHECK_EQ(protocol::parseRejectData(malformed.reject).value().code, ErrorCode::protocolViolation);
}

TEST(a_token_expires) {
  Unit unit;
  const auto token = unit.token(1, fabric::Access::remoteRead, kEpoch, kRegion, kSession, 30);
  CHECK_EQ(unit.responder->counters().tokensOutstanding, 1u);
  std::this_thread::sleep_for(std::chrono::milliseconds(40));
  CHECK_EQ(unit.rejection(token), ErrorCode::tokenInvalid);
  CHECK_EQ(unit.responder->counters().tokensOutstanding, 0u);
}

TEST(the_token_table_is_bounded_and_frees_what_expired) {
  TokenTable table;
  const auto now = Clock::now();
  const std::chrono::milliseconds life(1000);
  for (std::size_t i = 0; i < TokenTable::kCapacity; ++i)
    CHECK(table.issue({}, life, now).ok());
  CHECK_EQ(table.issue({}, life, now).error().code, ErrorCode::limitReached);
  CHECK(table.issue({}, life, now + life).ok());
  CHECK_EQ(table.outstanding(now + life), 1u);
}

TEST(a_session_has_so_many_unused_tokens_and_no_more) {
  ResponderOptions options;
  options.tokensPerSession = 3;
  Unit unit(options);
  CHECK(unit.responder->addSession(77).ok());
  const auto issue = [&](SessionId session) {
    return unit.responder->issueToken({.kind = ConnectionKind::session, .session = session});
  };
  const auto first = issue(kSession);
  CHECK(first.ok() && issue(kSession).ok() && issue(kSession).ok());
  CHECK_EQ(issue(kSession).error().code, ErrorCode::limitReached);
  CHECK(issue(77).ok());
  CHECK_EQ(unit.rejection(first.value(), ConnectionKind::session), ErrorCode::ok);
  CHECK(issue(kSession).ok());
}

TEST(a_token_table_that_one_session_has_filled_has_room_for_others) {
  TokenTable table;
  const auto now = Clock::now();
  const std::chrono::milliseconds life(1000);
  const auto binding = [](SessionId session) {
    TokenBinding of;
    of.session = session;
    return of;
  };
  const auto modest = table.issue(binding(2), life, now);
  std::vector<protocol::Token> greedy;
  for (std::size_t i = 1; i < TokenTable::kCapacity; ++i)
    greedy.push_back(table.issue(binding(1), life, now).value());
  const auto another = table.issue(binding(3), life, now);
  CHECK(another.ok());
  CHECK(table.find(modest.value(), now) && table.find(another.value(), now));
  CHECK(!table.find(greedy.front(), now));
  CHECK(table.find(greedy[1], now));
  CHECK_EQ(table.outstanding(now), TokenTable::kCapacity);
  CHECK_EQ(table.revokeSession(1).size(), greedy.size() - 1);
  CHECK(table.take(modest.value(), now));
  CHECK_EQ(table.outstanding(now), 1u);
}

TEST(tokens_are_not_issued_for_what_is_not_there_or_not_allowed) {
  Unit unit;
  const auto refused = [&](const TokenRequest& request) { return unit.responder->issueToken(request).error().code; };
  const auto write = fabric::Access::remoteWrite;
  CHECK_EQ(refused({ConnectionKind::data, kRegion, 1, 99, write, kEpoch, 0}), ErrorCode::notFound);
  CHECK_EQ(refused({ConnectionKind::data, 99, 1, kSession, write, kEpoch, 0}), ErrorCode::notFound);
  CHECK_EQ(refused({ConnectionKind::data, kRegion, 1, kSession, write, kEpoch - 1, 0}), ErrorCode::fenced);
  CHECK_EQ(refused({ConnectionKind::data, kRegion, 1, kSession, write, kEpoch + 1, 0}), ErrorCode::invalidArgument);
  CHECK_EQ(refused({ConnectionKind::data, kRegion, 1, kSession, fabric::Access::none, kEpoch, 0}),
           ErrorCode::invalidArgument);
  const media::ByteRange tables{40 * kBlock, kBlock};
  CHECK(unit.responder->addRegion(2, {&tables, 1}, kBlock, 0, true).ok());
  CHECK_EQ(refused({ConnectionKind::data, 2, 1, kSession, write, 0, 0}), ErrorCode::invalidArgument);
  CHECK_EQ(unit.responder->addRegion(2, {&tables, 1}, kBlock, 0, true).error().code, ErrorCode::exists);
}

TEST(a_hello_without_a_common_version_is_refused_with_both_ranges) {
  Unit unit;
  const auto connection = unit.halfOpen(unit.token(1, fabric::Access::remoteRead));
  connection->establish();
  connection->deliver(protocol::encode(protocol::Hello{7, 9, 0, 4096, 0}));
  const auto refused = refusal(*connection);
  CHECK_EQ(refused.code, ErrorCode::versionMismatch);
  CHECK(refused.text.find("7 to 9") != std::string::npos);
  CHECK(refused.text.find("1 to 1") != std::string::npos);
  CHECK(eventually([&] { return connection->closed(); }));
  CHECK(connection->grants().empty());
}

TEST(silence_and_nonsense_before_and_after_the_hello_end_the_connection) {
  ResponderOptions options;
  options.helloTimeoutMs = 50;
  Unit unit(options);
  const auto silent = unit.halfOpen(unit.token(1, fabric::Access::remoteRead));
  silent->establish();
  CHECK(eventually([&] { return silent->closed(); }));

  const auto heartbeat = protocol::encode(protocol::Heartbeat{}, protocol::MessageType::heartbeat, 1);
  const auto flush = flushMessage(1, {{0, 1}});
  auto otherVersion = flush;
  otherVersion[6] = std::byte{2};
  for (const auto& first : {heartbeat, flush, fake::Message(3), fake::Message(5000)}) {
    const auto connection = unit.halfOpen(unit.token(1, fabric::Access::remoteReadWrite));
    connection->establish();
    connection->deliver(first);
    CHECK(eventually([&] { return connection->closed(); }));
    CHECK(connection->grants().empty());
  }
  for (const auto& later : {protocol::encode(protocol::Hello{}), heartbeat, otherVersion, fake::Message(8)}) {
    const auto connection = unit.opened(1, fabric::Access::remoteReadWrite);
    connection->deliver(later);
    CHECK(eventually([&] { return connection->closed(); }));
  }
  const auto session = unit.greeted(unit.sessionToken(), ConnectionKind::session);
  session->deliver(flush);
  CHECK(eventually([&] { return session->closed(); }));
  CHECK_EQ(unit.responder->counters().connectionsViolated, 9u);
  CHECK(eventually([&] { return unit.responder->counters().connectionsOpen == 0; }));
  CHECK_EQ(unit.responder->counters().bytesIn, 10u * unit.responder->counters().connectionsAccepted);
}

TEST(a_connection_that_said_hello_outlives_the_hello_timeout) {
  ResponderOptions options;
  options.helloTimeoutMs = 20;
  Unit unit(options);
  const auto connection = unit.opened(1, fabric::Access::remoteRead);
  std::this_thread::sleep_for(std::chrono::milliseconds(60));
  CHECK(!connection->closed());
}

TEST(a_flush_makes_the_regions_bytes_durable_across_its_extents) {
  const ScratchDirectory scratch;
  const auto path = scratch.file("pool");
  Unit unit({}, fileMedium(path, std::make_unique<media::SystemFileIo>()));
  const auto writer = unit.opened(1, fabric::Access::remoteWrite);
  CHECK_EQ(protocol::parseGrant(writer->sent(0)).value().promises, 3u);
  std::memcpy(writer->grants()[0].region->memory().data() + 2 * kBlock - 2, "abcd", 4);
  writer->deliver(flushMessage(42, {{2 * kBlock - 2, 4}}));
  const auto answer = flushed(*writer, 1);
  CHECK_EQ(answer.request, 42u);
  CHECK_EQ(answer.code, ErrorCode::ok);
  CHECK_EQ(answer.method, 2);
  CHECK_EQ(answer.epoch, kEpoch);
  CHECK_EQ(fileText(path, 10 * kBlock - 2, 2), "ab");
  CHECK_EQ(fileText(path, 2 * kBlock, 2), "cd");
  writer->deliver(flushMessage(43, {{3 * kBlock + 100, 0}}));
  CHECK_EQ(flushed(*writer, 2).code, ErrorCode::ok);
}

TEST(a_flush_that_may_not_be_is_answered_and_the_connection_stays) {
  const ScratchDirectory scratch;
  Unit unit({}, fileMedium(scratch.file("pool"), std::make_unique<media::SystemFileIo>()));
  const auto writer = unit.opened(1, fabric::Access::remoteWrite);
  std::size_t n = 1;
  const auto size = 3 * kBlock + 100;
  for (const auto& range : {protocol::FlushRange{size, 1}, {0, size + 1}, {~0ULL, 2}, {1, ~0ULL}, {size + 1, 0}}) {
    writer->deliver(flushMessage(n, {{0, 1}, range}));
    CHECK_EQ(flushed(*writer, n++).code, ErrorCode::outOfBounds);
  }
  const auto reader = unit.opened(2, fabric::Access::remoteRead);
  reader->deliver(flushMessage(1, {{0, 1}}));
  CHECK_EQ(flushed(*reader, 1).code, ErrorCode::remoteAccess);
  CHECK(!writer->closed() && !reader->closed());
  CHECK_EQ(unit.responder->counters().flushesFailed, 6u);

  Unit memoryUnit;
  const auto volatileWriter = memoryUnit.opened(1, fabric::Access::remoteWrite);
  volatileWriter->deliver(flushMessage(1, {{0, 1}}));
  CHECK_EQ(flushed(*volatileWriter, 1).code, ErrorCode::notDurable);
  CHECK_EQ(flushed(*volatileWriter, 1).method, 0);
}

TEST(a_failing_medium_is_reported_with_its_errno_and_stays_failed) {
  class Failing : public media::SystemFileIo {
   public:
    int syncData(int) override { return -EIO; }
  };
  const ScratchDirectory scratch;
  Unit unit({}, fileMedium(scratch.file("pool"), std::make_unique<Failing>()));
  const auto writer = unit.opened(1, fabric::Access::remoteWrite);
  for (std::size_t n = 1; n <= 3; ++n) {
    writer->deliver(flushMessage(n, {{0, 1}}));
    CHECK_EQ(flushed(*writer, n).code, ErrorCode::mediumFailed);
    CHECK_EQ(flushed(*writer, n).systemError, EIO);
  }
  CHECK(!writer->closed());
}

namespace {

// Syncs wait until the test lets them go.
class Gate {
 public:
  void wait() {
    std::unique_lock lock(mutex_);
    ++waiting_;
    open_.wait(lock, [&] { return isOpen_; });
  }
  void open() {
    {
      const std::lock_guard lock(mutex_);
      isOpen_ = true;
    }
    open_.notify_all();
  }
  int waiting() {
    const std::lock_guard lock(mutex_);
    return waiting_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable open_;
  bool isOpen_ = false;
  int waiting_ = 0;
};

class GatedIo : public media::SystemFileIo {
 public:
  explicit GatedIo(std::shared_ptr<Gate> gate) : gate_(std::move(gate)) {}
  int syncData(int fd) override {
    gate_->wait();
    return SystemFileIo::syncData(fd);
  }

 private:
  std::shared_ptr<Gate> gate_;
};

}  // namespace

TEST(more_flushes_than_credits_end_the_connection) {
  const ScratchDirectory scratch;
  const auto gate = std::make_shared<Gate>();
  ResponderOptions options;
  options.credits = 4;
  Unit unit(options, fileMedium(scratch.file("pool"), std::make_unique<GatedIo>(gate)));
  const auto writer = unit.opened(1, fabric::Access::remoteWrite);
  for (std::uint64_t n = 1; n <= 4; ++n)
    writer->deliver(flushMessage(n, {{0, 1}}));
  CHECK(!writer->closed());
  const auto other = unit.opened(2, fabric::Access::remoteRead);
  writer->deliver(flushMessage(5, {{0, 1}}));
  CHECK(eventually([&] { return writer->closed(); }));
  CHECK(!other->closed());
  gate->open();
}

TEST(flushes_that_wait_together_share_syncs) {
  const ScratchDirectory scratch;
  const auto gate = std::make_shared<Gate>();
  ResponderOptions options;
  options.credits = 64;
  Unit unit(options, fileMedium(scratch.file("pool"), std::make_unique<GatedIo>(gate)));
  const auto writer = unit.opened(1, fabric::Access::remoteWrite);
  for (std::uint64_t n = 1; n <= 64; ++n)
    writer->deliver(flushMessage(n, {{0, 1}}));
  gate->open();
  std::set<std::uint64_t> answered;
  for (std::size_t n = 1; n <= 64; ++n) {
    const auto answer = flushed(*writer, n);
    CHECK_EQ(answer.code, ErrorCode::ok);
    answered.insert(answer.request);
  }
  CHECK_EQ(answered.size(), 64u);
  std::printf("# 64 flushes, %d syncs\n", gate->waiting());
  CHECK(gate->waiting() <= 6);
}

TEST(a_fence_ends_the_writers_below_it_and_answers_only_when_they_have_ended) {
  Unit unit;
  const auto session = unit.greeted(unit.sessionToken(), ConnectionKind::session);
  const auto writer = unit.opened(1, fabric::Access::remoteReadWrite);
  const auto reader = unit.opened(2, fabric::Access::remoteRead);
  const auto halfOpen = unit.halfOpen(unit.token(3, fabric::Access::remoteWrite));
  const auto unspent = unit.token(4, fabric::Access::remoteWrite);
  const auto unspentReader = unit.token(5, fabric::Access::remoteRead);
  writer->holdFences = true;

  Answer first, second;
  unit.responder->fence(kRegion, kEpoch + 1, first.callback());
  unit.responder->fence(kRegion, kEpoch + 2, second.callback());
  CHECK_EQ(unit.rejection(unspent), ErrorCode::tokenInvalid);
  CHECK_EQ(unit.rejection(unspentReader), ErrorCode::ok);
  // Ended at once, and not by the time that its set-up has.
  CHECK_EQ(halfOpen->fences(), 1);
  halfOpen->establish();
  halfOpen->deliver(protocol::encode(protocol::Hello{}));
  CHECK(eventually([&] { return halfOpen->closed(); }));
  CHECK(halfOpen->grants().empty());
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  CHECK(!first.come);
  CHECK(!second.come);
  CHECK_EQ(writer->fences(), 1);
  writer->finishFence();
  CHECK(first.wait());
  CHECK(second.wait());
  CHECK_EQ(first.code, ErrorCode::ok);
  CHECK(writer->closed());
  CHECK(!reader->closed());

  std::set<std::uint64_t> told;
  for (std::size_t n = 1; n <= 3; ++n) {
    const auto fenced = protocol::parseFenced(session->sent(n));
    CHECK(fenced.ok());
    CHECK_EQ(fenced.value().epoch, kEpoch + 1);
    told.insert(fenced.value().handle);
  }
  CHECK(told == (std::set<std::uint64_t>{1, 3, 4}));
  CHECK_EQ(
      unit.responder->issueToken({ConnectionKind::data, kRegion, 1, kSession, fabric::Access::remoteWrite, kEpoch, 0})
          .error()
          .code,
      ErrorCode::fenced);
  const auto next = unit.greeted(unit.token(6, fabric::Access::remoteWrite, kEpoch + 2));
  CHECK_EQ(protocol::parseGrant(next->sent(0)).value().epoch, kEpoch + 2);
  Answer same, lower, unknown;
  unit.responder->fence(kRegion, kEpoch + 2, same.callback());
  CHECK(same.wait());
  CHECK(!next->closed());
  unit.responder->fence(kRegion, kEpoch + 1, lower.callback());
  unit.responder->fence(99, 1, unknown.callback());
  CHECK(lower.wait() && unknown.wait());
  CHECK_EQ(lower.code, ErrorCode::invalidArgument);
  CHECK_EQ(unknown.code, ErrorCode::notFound);
  CHECK(!next->closed());
}

TEST(a_hello_that_races_with_a_fence_is_given_no_grant) {
  Unit unit;
  const auto writer = unit.halfOpen(unit.token(1, fabric::Access::remoteWrite));
  writer->establish();
  // Established and asked to end, but the end has not run yet when the hello is handled.
  writer->holdFences = true;
  Answer fenced;
  unit.responder->fence(kRegion, kEpoch + 1, fenced.callback());
  writer->deliver(protocol::encode(protocol::Hello{}));
  CHECK(writer->grants().empty());
  CHECK(!fenced.come);
  writer->finishFence();
  CHECK(fenced.wait());
  CHECK(writer->grants().empty());
}

// What it takes to register a region is played by a promise that the test keeps.
struct LongRegistration {
  explicit LongRegistration(fake::Connection& connection) {
    connection.beforeGrant = [wait = ended.get_future().share(), this] {
      began = true;
      return wait.get();
    };
  }
  std::promise<Status> ended;
  std::atomic<bool> began{false};
};

// Asks for its grant, and has its registration begun or waiting.
struct Registering {
  Registering(Unit& unit, const protocol::Token& token)
      : connection(unit.halfOpen(token)), registration(std::make_unique<LongRegistration>(*connection)) {
    connection->establish();
    connection->deliver(protocol::encode(protocol::Hello{}));
  }
  bool begun() const {
    return eventually([this] { return registration->began.load(); });
  }
  void end(Status status = {}) { registration->ended.set_value(std::move(status)); }

  std::shared_ptr<fake::Connection> connection;
  std::unique_ptr<LongRegistration> registration;
};

struct TwoRegionUnit : Unit {
  TwoRegionUnit() {
    const media::ByteRange extent{12 * kBlock, kBlock};
    CHECK(responder->addRegion(kOther, {&extent, 1}, kBlock, kEpoch, false).ok());
  }
  protocol::Token otherToken(HandleId handle) { return token(handle, fabric::Access::remoteRead, kEpoch, kOther); }
  static constexpr RegionId kOther = 2;
};

TEST(a_long_registration_delays_neither_grants_nor_heartbeats_of_others) {
  TwoRegionUnit unit;
  // As many as there are loops, one on each.
  std::array<Registering, 2> waiting{Registering(unit, unit.token(1, fabric::Access::remoteReadWrite)),
                                     Registering(unit, unit.otherToken(2))};
  for (const auto& one : waiting)
    CHECK(one.begun());
  for (HandleId handle = 11; handle <= 14; ++handle)
    CHECK_EQ(unit.opened(handle, fabric::Access::remoteRead)->grants().size(), 1U);
  for (SessionId session = 101; session <= 104; ++session) {
    CHECK(unit.responder->addSession(session).ok());
    const auto connection = unit.greeted(unit.sessionToken(session), ConnectionKind::session);
    connection->deliver(protocol::encode(protocol::Heartbeat{1, 1, 0, 0}, protocol::MessageType::heartbeat, 1));
    CHECK(!connection->sent(1).empty());
  }
  for (auto& one : waiting) {
    CHECK_EQ(one.connection->sentCount(), 0U);
    one.end();
    CHECK_EQ(protocol::parseHeader(one.connection->sent(0)).value().type, protocol::MessageType::grant);
    CHECK_EQ(one.connection->grants().size(), 1U);
  }
}

TEST(many_opens_of_one_large_region_leave_a_thread_to_the_others) {
  TwoRegionUnit unit;
  std::deque<Registering> waiting;
  for (HandleId handle = 1; handle <= 4; ++handle)
    waiting.emplace_back(unit, unit.token(handle, fabric::Access::remoteRead));
  CHECK(waiting.front().begun());
  Registering other(unit, unit.otherToken(11));
  CHECK(other.begun());
  other.end();
  CHECK(!other.connection->sent(0).empty());
  for (auto& one : waiting) {
    one.end();
    CHECK(!one.connection->sent(0).empty());
    CHECK_EQ(one.connection->grants().size(), 1U);
  }
}

TEST(a_registration_that_fails_refuses_the_open_with_its_code_and_no_other) {
  Unit unit;
  Registering refused(unit, unit.token(1, fabric::Access::remoteReadWrite));
  Registering next(unit, unit.token(2, fabric::Access::remoteRead));
  CHECK(refused.begun());
  refused.end(Error{ErrorCode::memlockLimit, "too much locked memory", ENOMEM});
  const auto answer = protocol::parseRefuse(refused.connection->sent(0));
  CHECK_EQ(answer.value().code, ErrorCode::memlockLimit);
  CHECK_EQ(answer.value().text, std::string("too much locked memory"));
  CHECK(eventually([&] { return refused.connection->closed(); }));
  CHECK_EQ(refused.connection->grants().size(), 0U);
  next.end();
  CHECK_EQ(protocol::parseHeader(next.connection->sent(0)).value().type, protocol::MessageType::grant);
}

TEST(a_region_is_removed_while_it_is_registered) {
  Unit unit;
  Registering first(unit, unit.token(1, fabric::Access::remoteReadWrite));
  Registering second(unit, unit.token(2, fabric::Access::remoteRead));
  CHECK(first.begun());
  Answer removed;
  unit.responder->removeRegion(kRegion, removed.callback());
  CHECK(removed.wait());
  CHECK(first.connection->closed() && second.connection->closed());
  second.end();  // at once if it is begun all the same
  first.end();
  unit.responder->stop();
  // Nobody waits for it.
  CHECK(!second.registration->began);
  CHECK_EQ(first.connection->grants().size() + second.connection->grants().size(), 0U);
}

TEST(a_peer_that_hangs_up_while_its_region_is_registered_costs_nothing) {
  Unit unit;
  Registering gone(unit, unit.token(1, fabric::Access::remoteReadWrite));
  CHECK(gone.begun());
  gone.connection->hangUp();
  CHECK_EQ(unit.responder->counters().connectionsOpen, 0U);
  gone.end();
  CHECK_EQ(unit.opened(2, fabric::Access::remoteRead)->grants().size(), 1U);
}

TEST(a_peer_that_hangs_up_before_its_registration_has_none) {
  Unit unit;
  std::deque<Registering> waiting;
  for (HandleId handle = 1; handle <= 3; ++handle)
    waiting.emplace_back(unit, unit.token(handle, fabric::Access::remoteReadWrite));
  CHECK(waiting[0].begun());
  waiting[1].connection->hangUp();
  waiting[1].end();  // at once if it is begun all the same
  waiting[2].end();
  waiting[0].end();
  CHECK(!waiting[2].connection->sent(0).empty());
  CHECK(!waiting[1].registration->began);
}

TEST(whoever_is_fenced_or_speaks_while_its_grant_is_prepared_is_given_none) {
  Unit unit;
  for (const bool fenced : {true, false}) {
    auto connection = unit.halfOpen(unit.token(fenced ? 1 : 2, fabric::Access::remoteReadWrite, fenced ? 3 : 4));
    LongRegistration registration(*connection);
    connection->establish();
    connection->deliver(protocol::encode(protocol::Hello{}));
    CHECK(eventually([&] { return registration.began.load(); }));
    if (fenced) {
      std::promise<Status> done;
      unit.responder->fence(kRegion, 4, [&](Status status) { done.set_value(std::move(status)); });
      CHECK(done.get_future().get().ok());
    } else {
      connection->deliver(flushMessage(1, {{0, 8}}));
    }
    CHECK(eventually([&] { return connection->closed(); }));
    registration.ended.set_value({});
    // One that comes later has its turn on the same threads, after the answer to the first.
    auto later = unit.halfOpen(unit.token(fenced ? 3 : 4, fabric::Access::remoteReadWrite, 4));
    LongRegistration short_(*later);
    short_.ended.set_value({});
    later->establish();
    later->deliver(protocol::encode(protocol::Hello{}));
    CHECK_EQ(protocol::parseHeader(later->sent(0)).value().type, protocol::MessageType::grant);
    CHECK_EQ(connection->grants().size(), 0U);
    CHECK_EQ(connection->sentCount(), 0U);
  }
  CHECK_EQ(unit.responder->counters().connectionsViolated, 1U);
}

TEST(a_stop_while_grants_are_prepared_waits_for_them) {
  auto unit = std::make_unique<Unit>();
  auto connection = unit->halfOpen(unit->token(1, fabric::Access::remoteRead));
  LongRegistration registration(*connection);
  connection->establish();
  connection->deliver(protocol::encode(protocol::Hello{}));
  CHECK(eventually([&] { return registration.began.load(); }));
  std::atomic<bool> stopped{false};
  std::thread stopping([&] {
    unit->responder->stop();
    stopped = true;
  });
  CHECK(eventually([&] { return connection->closed(); }));
  CHECK(!stopped);
  registration.ended.set_value({});
  stopping.join();
  CHECK_EQ(connection->grants().size(), 0U);
}

TEST(grants_and_fences_at_the_same_time_leave_no_writer_of_an_old_epoch) {
  Unit unit;
  std::uint64_t epoch = kEpoch;
  for (std::uint64_t round = 0; round < check::rounds(3000, 300); ++round) {
    const auto writer = unit.halfOpen(unit.token(round + 1, fabric::Access::remoteWrite, epoch));
    writer->establish();
    Answer fenced;
    std::thread peer([&] { writer->deliver(protocol::encode(protocol::Hello{})); });
    unit.responder->fence(kRegion, ++epoch, fenced.callback());
    const bool come = fenced.wait();
    const bool standing = !writer->closed() || !writer->grants().empty();
    peer.join();
    CHECK(come);
    CHECK(!standing);
    CHECK(writer->closed() && writer->grants().empty());
  }
}

TEST(what_a_device_says_is_told_until_the_stop) {
  ResponderOptions options;
  std::vector<std::string> told;
  options.onDeviceNews = [&](const fabric::DeviceNews& news) { told.push_back(news.device + ": " + news.text); };
  Unit unit(options);
  CHECK(unit.responder->listen(unit.fabric, {}).ok());
  unit.fabric.say({fabric::DeviceNews::Kind::portDown, "played0", 1, "the port went down"});
  CHECK_EQ(told.size(), 1U);
  CHECK_EQ(told[0], std::string("played0: the port went down"));
  unit.responder->stop();
  unit.fabric.say({fabric::DeviceNews::Kind::portUp, "played0", 1, "the port came up"});
  CHECK_EQ(told.size(), 1U);
}

TEST(dropping_a_handle_ends_its_connections_and_tokens_and_no_others) {
  Unit unit;
  const auto dropped = unit.opened(1, fabric::Access::remoteReadWrite);
  const auto kept = unit.opened(2, fabric::Access::remoteRead);
  const auto droppedToken = unit.token(1, fabric::Access::remoteReadWrite);
  const auto keptToken = unit.token(2, fabric::Access::remoteRead);
  Answer answer;
  unit.responder->dropHandle(kRegion, 1, answer.callback());
  CHECK(answer.wait());
  CHECK(dropped->closed());
  CHECK(!kept->closed());
  CHECK_EQ(unit.rejection(droppedToken), ErrorCode::tokenInvalid);
  CHECK_EQ(unit.rejection(keptToken), ErrorCode::ok);
  CHECK(!unit.opened(1, fabric::Access::remoteReadWrite)->closed());
}

TEST(removing_a_region_ends_readers_and_writers_first) {
  Unit unit;
  const auto writer = unit.opened(1, fabric::Access::remoteReadWrite);
  const auto reader = unit.opened(2, fabric::Access::remoteRead);
  const auto unspent = unit.token(3, fabric::Access::remoteRead);
  reader->holdFences = true;
  Answer removed;
  unit.responder->removeRegion(kRegion, removed.callback());
  CHECK_EQ(unit.rejection(unspent), ErrorCode::tokenInvalid);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK(!removed.come);
  reader->finishFence();
  CHECK(removed.wait());
  CHECK(writer->closed() && reader->closed());
  Answer again;
  unit.responder->removeRegion(kRegion, again.callback());
  CHECK(again.wait());
  CHECK_EQ(again.code, ErrorCode::notFound);
  const media::ByteRange extent{0, kBlock};
  CHECK(unit.responder->addRegion(kRegion, {&extent, 1}, 10, 1, false).ok());
}

TEST(heartbeats_are_noted_and_echoed) {
  Unit unit;
  CHECK(!unit.state().everConnected);
  const auto session = unit.greeted(unit.sessionToken(), ConnectionKind::session);
  const auto welcome = protocol::parseWelcome(session->sent(0));
  CHECK(welcome.ok());
  CHECK_EQ(welcome.value().session, kSession);
  CHECK_EQ(welcome.value().heartbeatMs, 100u);
  CHECK_EQ(welcome.value().unitStart, 9u);
  CHECK(unit.state().connected);
  // Not by a sleep: the lease clock goes on with its event loop, which a busy machine keeps waiting.
  CHECK(eventually([&] { return unit.state().heardMsAgo >= 50; }));
  session->deliver(protocol::encode(protocol::Heartbeat{8, 123, 4000, 0}, protocol::MessageType::heartbeat, 1));
  const auto echo = protocol::parseHeartbeat(session->sent(1));
  CHECK(echo.ok());
  CHECK_EQ(protocol::parseHeader(session->sent(1)).value().type, protocol::MessageType::heartbeatEcho);
  CHECK_EQ(echo.value().sequence, 8u);
  CHECK_EQ(echo.value().sentAtNs, 123u);
  CHECK_EQ(echo.value().loopAgeMs, 0u);
  CHECK(unit.state().heardMsAgo < 50);
  CHECK(unit.state().loopAgeMs >= 4000 && unit.state().loopAgeMs < 5000);
}

TEST(a_second_session_connection_replaces_the_first) {
  Unit unit;
  const auto first = unit.greeted(unit.sessionToken(), ConnectionKind::session);
  const auto second = unit.greeted(unit.sessionToken(), ConnectionKind::session);
  CHECK(eventually([&] { return first->closed(); }));
  CHECK(unit.state().connected);
  CHECK(!second->closed());
  second->hangUp();
  CHECK(!unit.state().connected);
}

TEST(a_welcome_has_a_token_for_one_more_connection_until_the_next_welcome_or_the_end_of_the_session) {
  Unit unit;
  const auto spareOf = [](const std::shared_ptr<fake::Connection>& connection) {
    return protocol::parseWelcome(connection->sent(0)).value().spare;
  };
  const auto first = unit.greeted(unit.sessionToken(), ConnectionKind::session);
  const auto spare = spareOf(first);
  CHECK_EQ(unit.responder->counters().tokensOutstanding, 0u);
  CHECK_EQ(unit.rejection(spare, ConnectionKind::data), ErrorCode::tokenInvalid);
  // Also when the unit has noticed first that the connection is no more.
  first->hangUp();
  const auto second = unit.greeted(spare, ConnectionKind::session);
  CHECK(unit.state().connected);
  CHECK_EQ(unit.rejection(spare, ConnectionKind::session), ErrorCode::tokenInvalid);
  const auto unspent = spareOf(second);
  CHECK(unspent != spare && unspent != protocol::Token{});
  const auto third = unit.greeted(unit.sessionToken(), ConnectionKind::session);
  CHECK_EQ(unit.rejection(unspent, ConnectionKind::session), ErrorCode::tokenInvalid);
  unit.responder->removeSession(kSession);
  CHECK_EQ(unit.rejection(spareOf(third), ConnectionKind::session), ErrorCode::tokenInvalid);
}

TEST(another_connection_does_not_make_a_stalled_event_loop_young) {
  Unit unit;
  const auto first = unit.greeted(unit.sessionToken(), ConnectionKind::session);
  first->deliver(protocol::encode(protocol::Heartbeat{1, 1, 9000, 0}, protocol::MessageType::heartbeat, 1));
  const auto second = unit.greeted(protocol::parseWelcome(first->sent(0)).value().spare, ConnectionKind::session);
  CHECK(unit.state().loopAgeMs >= 9000);
  CHECK(unit.state().heardMsAgo < 50);
}

TEST(a_session_that_loses_its_last_connection_is_told_of_once) {
  std::atomic<int> told{0};
  ResponderOptions options;
  options.onSessionAlone = [&told] { ++told; };
  Unit unit(options);
  const auto session = unit.greeted(unit.sessionToken(), ConnectionKind::session);
  const auto data = unit.opened(1, fabric::Access::remoteRead);
  // Replaced is not lost.
  const auto second = unit.greeted(unit.sessionToken(), ConnectionKind::session);
  CHECK(eventually([&] { return session->closed(); }));
  second->hangUp();
  CHECK_EQ(told.load(), 0);
  data->hangUp();
  CHECK(eventually([&] { return told == 1; }));
  const auto third = unit.greeted(unit.sessionToken(), ConnectionKind::session);
  third->hangUp();
  CHECK(eventually([&] { return told == 2; }));
}

TEST(the_lease_clock_stands_still_while_the_unit_does) {
  LeaseClock clock;
  const auto start = LeaseClock::Clock::now();
  const auto first = clock.look(start);
  CHECK(clock.look(start + kLeaseTick) - first == kLeaseTick);
  const auto pause = std::chrono::seconds(3);
  CHECK(clock.look(start + kLeaseTick + pause) - first == kLeaseTick + kLeaseStep);
  CHECK(clock.look(start) - first == kLeaseTick + kLeaseStep);
  CHECK(clock.look(start + 2 * kLeaseTick + pause) - first == 2 * kLeaseTick + kLeaseStep);
}

// The second session's connection is on the other loop: the unit gives connections to its loops in turn.
TEST(a_loop_that_is_held_up_costs_those_whom_it_hears_no_lease) {
  Unit unit;
  CHECK(unit.responder->addSession(6).ok());
  const auto first = unit.greeted(unit.sessionToken(), ConnectionKind::session);
  auto second = unit.greeted(unit.sessionToken(6), ConnectionKind::session);
  CHECK(&first->loop() != &second->loop());
  std::atomic<bool> goOn{false};
  CHECK(second->loop().post([&] {
    while (!goOn)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }));
  const auto silence = [&](SessionId session) -> std::uint64_t {
    for (const auto& state : unit.responder->sessions()) {
      if (state.session == session) return state.heardMsAgo;
    }
    return 0;
  };
  // The other's goes on; and looking often does not move the one that stands.
  CHECK(eventually([&] { return silence(kSession) > 400; }));
  CHECK(silence(6) < 200);
  goOn = true;
  CHECK(eventually([&] { return silence(6) > 200; }));
}

TEST(fenced_messages_come_in_portions_that_the_peer_has_room_for) {
  Unit unit;
  const auto session = unit.greeted(unit.sessionToken(), ConnectionKind::session);
  constexpr std::size_t kHandles = 40;
  for (HandleId handle = 1; handle <= kHandles; ++handle)
    (void)unit.token(handle, fabric::Access::remoteWrite);
  Answer fenced;
  unit.responder->fence(kRegion, kEpoch + 1, fenced.callback());
  CHECK(fenced.wait());
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const auto count = [&] { return session->sentCount() - 1; };  // without the welcome
  CHECK_EQ(count(), 16u);
  const auto heartbeat = protocol::encode(protocol::Heartbeat{1, 1, 0, 0}, protocol::MessageType::heartbeat, 1);
  session->deliver(heartbeat);
  CHECK(eventually([&] { return count() == 32 + 1; }));  // and an echo
  session->deliver(heartbeat);
  CHECK(eventually([&] { return count() == kHandles + 2; }));
}

// A medium whose write-back a test holds, of large pieces only.
class HeldMedium final : public media::Medium {
 public:
  std::span<std::byte> memory() const override { return inner_->memory(); }
  int memoryFd() const override { return inner_->memoryFd(); }
  std::uint64_t blockSize() const override { return inner_->blockSize(); }
  bool durable() const override { return true; }
  Status zero(media::ByteRange range) override { return inner_->zero(range); }
  Status load(media::ByteRange) override { return {}; }
  Status flush(std::span<const media::ByteRange>) override { return {}; }
  Status writeBack(std::span<const media::ByteRange> ranges) override {
    std::uint64_t bytes = 0;
    for (const auto& range : ranges)
      bytes += range.length;
    if (bytes > (256U << 10U)) {
      most_ = std::max(most_.load(), bytes);
      ++slices;
      while (held)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return {};
  }

  std::atomic<bool> held{true};
  std::atomic<int> slices{0};
  std::uint64_t largest() const { return most_; }

 private:
  std::atomic<std::uint64_t> most_{0};
  std::unique_ptr<media::Medium> inner_ = std::move(media::openMemoryMedium(kHeldPool)).value();
};

TEST(small_flushes_and_takeovers_pass_bulk_which_goes_in_slices) {
  auto medium = std::make_shared<HeldMedium>();
  const auto region = [&](RegionId id, std::uint64_t offset, std::uint64_t bytes) {
    const std::vector<media::ByteRange> extents{{offset, bytes}};
    return std::make_shared<Region>(id, std::move(RegionMemory::map(medium, extents, bytes)).value(), 1, false);
  };
  const auto large = region(1, 0, kHeldPool / 2);
  const auto small = region(2, kHeldPool / 2, kBlock);
  FlushQueue queue(medium, 2);
  std::atomic<int> bulkDone{0};
  std::atomic<int> smallDone{0};
  std::atomic<int> takenOver{0};
  const auto push = [&](const std::shared_ptr<Region>& of, std::uint64_t length, bool rest, std::atomic<int>& done) {
    FlushJob job;
    job.region = of;
    if (!rest) job.ranges = {{0, length}};
    job.rest = rest;
    job.wanted = [] { return true; };
    job.answer = [&done](const Status& status) {
      if (status) ++done;
    };
    CHECK(queue.push(std::move(job)));
  };
  for (int n = 0; n < 4; ++n)
    push(large, kHeldPool / 2, false, bulkDone);
  CHECK(eventually([&] { return medium->slices >= 2; }));
  push(small, kBlock, false, smallDone);
  push(small, 0, true, takenOver);
  // What is under way of its own region it waits for, without keeping others from theirs.
  std::atomic<int> largeTakenOver{0};
  push(large, 0, true, largeTakenOver);
  push(large, 0, true, largeTakenOver);
  push(large, 0, true, largeTakenOver);
  CHECK(eventually([&] { return smallDone == 1; }));
  push(small, 0, true, takenOver);
  CHECK(eventually([&] { return takenOver == 2; }));
  CHECK_EQ(bulkDone.load(), 0);
  CHECK_EQ(largeTakenOver.load(), 0);
  medium->held = false;
  CHECK(eventually([&] { return bulkDone == 4 && largeTakenOver == 3; }));
  CHECK(medium->largest() <= kHeldPool / 8);
  queue.stop();
}

TEST(a_session_whose_connections_are_all_closed_is_seen_at_once) {
  Unit unit;
  const auto session = unit.greeted(unit.sessionToken(), ConnectionKind::session);
  const auto one = unit.opened(1, fabric::Access::remoteRead);
  const auto two = unit.halfOpen(unit.token(2, fabric::Access::remoteRead));
  CHECK_EQ(unit.state().dataConnections, 2u);
  session->hangUp();
  CHECK(!unit.state().connected);
  CHECK(unit.state().everConnected);
  CHECK_EQ(unit.state().dataConnections, 2u);
  one->hangUp();
  two->hangUp();
  CHECK_EQ(unit.state().dataConnections, 0u);
  CHECK_EQ(unit.responder->counters().connectionsOpen, 0u);
}

TEST(removing_a_session_ends_its_connections_and_tokens) {
  Unit unit;
  CHECK(unit.responder->addSession(6).ok());
  CHECK_EQ(unit.responder->addSession(6).error().code, ErrorCode::exists);
  const auto session = unit.greeted(unit.sessionToken(), ConnectionKind::session);
  const auto data = unit.opened(1, fabric::Access::remoteRead);
  const auto other = unit.greeted(unit.token(2, fabric::Access::remoteRead, kEpoch, kRegion, 6));
  const auto half = unit.halfOpen(unit.sessionToken(), ConnectionKind::session);
  const auto token = unit.token(3, fabric::Access::remoteRead);
  const auto sessionToken = unit.sessionToken();
  unit.responder->removeSession(kSession);
  CHECK(eventually([&] { return session->closed() && data->closed(); }));
  CHECK(!other->closed());
  CHECK_EQ(unit.rejection(token), ErrorCode::tokenInvalid);
  CHECK_EQ(unit.rejection(sessionToken, ConnectionKind::session), ErrorCode::tokenInvalid);
  half->establish();
  half->deliver(protocol::encode(protocol::Hello{}));
  CHECK_EQ(refusal(*half).code, ErrorCode::notFound);
  CHECK_EQ(unit.responder->sessions().size(), 1u);
  unit.responder->removeSession(kSession);
}

TEST(connections_are_limited) {
  ResponderOptions options;
  options.maxConnections = 2;
  Unit unit(options);
  const auto one = unit.opened(1, fabric::Access::remoteRead);
  const auto two = unit.greeted(unit.sessionToken(), ConnectionKind::session);
  CHECK_EQ(unit.rejection(unit.token(2, fabric::Access::remoteRead)), ErrorCode::limitReached);
  one->hangUp();
  CHECK_EQ(unit.rejection(unit.token(3, fabric::Access::remoteRead)), ErrorCode::ok);
}

TEST(a_session_moves_also_where_there_are_as_many_connections_as_there_may_be) {
  ResponderOptions options;
  options.maxConnections = 2;
  Unit unit(options);
  const auto data = unit.opened(1, fabric::Access::remoteRead);
  auto session = unit.greeted(unit.sessionToken(), ConnectionKind::session);
  for (int move = 0; move < 3; ++move) {
    const auto spare = protocol::parseWelcome(session->sent(0)).value().spare;
    const auto next = unit.halfOpen(spare, ConnectionKind::session);
    // One at a time, and others not at all. A token that found no room is good later.
    const auto another = unit.sessionToken();
    CHECK_EQ(unit.rejection(another, ConnectionKind::session), ErrorCode::limitReached);
    CHECK_EQ(unit.rejection(another, ConnectionKind::session), ErrorCode::limitReached);
    CHECK_EQ(unit.rejection(unit.token(2, fabric::Access::remoteRead)), ErrorCode::limitReached);
    CHECK(!session->closed() && !next->closed());
    next->establish();
    next->deliver(protocol::encode(protocol::Hello{}));
    CHECK(!next->sent(0).empty());
    CHECK(eventually([&] { return session->closed() && unit.responder->counters().connectionsOpen == 2; }));
    session = next;
  }
  CHECK(!data->closed());
  CHECK_EQ(unit.responder->counters().connectionsYielded, 0u);
  // One that says nothing takes nobody's place.
  const auto silent = unit.halfOpen(protocol::parseWelcome(session->sent(0)).value().spare, ConnectionKind::session);
  silent->hangUp();
  data->hangUp();
  CHECK_EQ(unit.rejection(unit.token(3, fabric::Access::remoteRead)), ErrorCode::ok);
}

TEST(a_connection_that_has_not_said_hello_gives_way_to_one_that_comes) {
  ResponderOptions options;
  options.maxConnections = 3;
  Unit unit(options);
  const auto proved = unit.opened(1, fabric::Access::remoteRead);
  const auto oldest = unit.halfOpen(unit.token(2, fabric::Access::remoteRead));
  const auto older = unit.halfOpen(unit.token(3, fabric::Access::remoteRead));
  oldest->establish();
  older->establish();
  const auto comes = unit.opened(4, fabric::Access::remoteRead);
  CHECK(eventually([&] { return oldest->closed(); }));
  CHECK(!older->closed() && !proved->closed());
  // One that is asked to go before it stands is never served.
  const auto unborn = unit.halfOpen(unit.token(5, fabric::Access::remoteRead));
  CHECK(eventually([&] { return older->closed(); }));
  const auto last = unit.opened(6, fabric::Access::remoteRead);
  CHECK_EQ(unborn->fences(), 1);
  unborn->establish();
  unborn->deliver(protocol::encode(protocol::Hello{}));
  CHECK(eventually([&] { return unborn->closed(); }));
  CHECK(unborn->grants().empty());
  CHECK(!proved->closed() && !comes->closed() && !last->closed());
  CHECK_EQ(unit.rejection(unit.token(7, fabric::Access::remoteRead)), ErrorCode::limitReached);
  CHECK_EQ(unit.responder->counters().connectionsYielded, 3u);
  CHECK(eventually([&] { return unit.responder->counters().connectionsOpen == 3; }));
}

TEST(a_stop_ends_everything_and_later_calls_are_answered) {
  Unit unit;
  const auto session = unit.greeted(unit.sessionToken(), ConnectionKind::session);
  const auto data = unit.opened(1, fabric::Access::remoteReadWrite);
  const auto silent = unit.halfOpen(unit.token(2, fabric::Access::remoteRead));
  silent->establish();
  const auto before = Clock::now();
  unit.responder->stop();
  CHECK(Clock::now() - before < std::chrono::seconds(2));
  CHECK(session->closed() && data->closed() && silent->closed());
  CHECK_EQ(unit.responder->issueToken({.kind = ConnectionKind::session, .session = kSession}).error().code,
           ErrorCode::stopped);
  Answer fenced;
  unit.responder->fence(kRegion, kEpoch + 1, fenced.callback());
  CHECK(fenced.come);
  CHECK_EQ(unit.responder->counters().connectionsOpen, 0u);
  unit.responder->stop();
}

TEST(options_that_make_no_sense_are_refused) {
  const std::shared_ptr<media::Medium> medium = std::move(media::openMemoryMedium(kPool)).value();
  ResponderOptions options;
  options.credits = 0;
  CHECK_EQ(Responder::create(options, medium).error().code, ErrorCode::invalidArgument);
  CHECK_EQ(Responder::create({}, nullptr).error().code, ErrorCode::invalidArgument);
}

// refusals.h -- conformance: what a peer may not do ends its own connection, changes nothing and harms nobody else.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "harness.h"

namespace conformance {

// The offender's connection ends on both sides; a bystander's goes on; the memory is as it was.
template <class Offence>
void isRefused(Access access, Offence offence) {
  Server server(4096);
  Pair bystander(server);
  server.access = access;
  Pair offender(server);
  std::vector<std::byte> bytes = pattern(64, 1);
  const LocalSegment segment{bytes.data(), bytes.size(), nullptr};
  WorkRequest request = offence(offender, bystander, server);
  request.local = {&segment, 1};
  CHECK(offender.client.post(request).ok());

  const ErrorCode seen = offender.client.handler->waitClosed().code;
  if (fabricUnderTest().namesRemoteAccess && seen != ErrorCode::remoteAccess) {
    std::printf("# refused as: %s\n", offender.client.handler->waitClosed().message.c_str());
  }
  const bool ended = seen == ErrorCode::connectionBroken || seen == ErrorCode::connectionClosed;
  CHECK(seen == ErrorCode::remoteAccess || (ended && !fabricUnderTest().namesRemoteAccess));
  offender.served->handler->waitClosed();
  if (request.kind == WorkRequest::Kind::read) {
    CHECK_EQ(offender.client.handler->waitCompletions(1)[0].status, seen);
  }
  CHECK(!offender.client.post(request).ok());

  std::vector<std::byte> now(server.memory.size());
  const LocalSegment into{now.data(), now.size(), nullptr};
  CHECK(bystander.client.post(bystander.read(1, {&into, 1}, 0)).ok());
  bystander.client.settle(1);
  CHECK(std::all_of(now.begin(), now.end(), [](std::byte b) { return b == std::byte{0}; }));
}

inline WorkRequest writeTo(std::uint64_t address, std::uint32_t key) {
  return {WorkRequest::Kind::write, 1, {}, address, key};
}
inline WorkRequest readFrom(std::uint64_t address, std::uint32_t key) {
  return {WorkRequest::Kind::read, 1, {}, address, key};
}

TEST(a_write_under_an_unknown_key_is_refused) {
  isRefused(Access::remoteReadWrite, [](Pair& p, Pair&, Server&) { return writeTo(p.at(0), p.key() ^ 0x5a5a5a5aU); });
}
TEST(a_read_under_an_unknown_key_is_refused) {
  isRefused(Access::remoteReadWrite, [](Pair& p, Pair&, Server&) { return readFrom(p.at(0), p.key() ^ 0x5a5a5a5aU); });
}
TEST(a_write_under_another_connections_key_is_refused) {
  isRefused(Access::remoteReadWrite, [](Pair&, Pair& other, Server&) { return writeTo(other.at(0), other.key()); });
}
TEST(a_read_under_another_connections_key_is_refused) {
  isRefused(Access::remoteReadWrite, [](Pair&, Pair& other, Server&) { return readFrom(other.at(0), other.key()); });
}
TEST(a_write_that_ends_one_byte_too_late_is_refused) {
  isRefused(Access::remoteReadWrite, [](Pair& p, Pair&, Server&) { return writeTo(p.at(4096 - 63), p.key()); });
}
TEST(a_read_that_ends_one_byte_too_late_is_refused) {
  isRefused(Access::remoteReadWrite, [](Pair& p, Pair&, Server&) { return readFrom(p.at(4096 - 63), p.key()); });
}
TEST(a_write_that_begins_before_the_window_is_refused) {
  isRefused(Access::remoteReadWrite, [](Pair& p, Pair&, Server&) { return writeTo(p.at(0) - 1, p.key()); });
}
TEST(a_write_that_wraps_around_is_refused) {
  isRefused(Access::remoteReadWrite, [](Pair& p, Pair&, Server&) { return writeTo(~std::uint64_t{0} - 3, p.key()); });
}
TEST(a_read_that_wraps_around_is_refused) {
  isRefused(Access::remoteReadWrite, [](Pair& p, Pair&, Server&) { return readFrom(~std::uint64_t{0} - 3, p.key()); });
}
TEST(a_write_without_the_right_is_refused) {
  isRefused(Access::remoteRead, [](Pair& p, Pair&, Server&) { return writeTo(p.at(0), p.key()); });
}
TEST(a_read_without_the_right_is_refused) {
  if (!fabricUnderTest().checksReadRight) check::skip("the device does not check the right to read (siw)");
  isRefused(Access::remoteWrite, [](Pair& p, Pair&, Server&) { return readFrom(p.at(0), p.key()); });
}
TEST(a_revoked_key_is_refused) {
  isRefused(Access::remoteReadWrite, [](Pair& p, Pair&, Server&) {
    runOn(p.served->connection->loop(), [&] { p.served->connection->revoke(p.key()); });
    return writeTo(p.at(0), p.key());
  });
}

TEST(a_flush_of_a_window_without_the_right_is_refused) {
  Server server(4096);
  Pair pair(server);
  runOn(pair.served->connection->loop(), [&] {
    const auto granted =
        pair.served->connection->grant(server.region, 0, 4096, Access::remoteReadWrite | Access::remoteFlush);
    CHECK_EQ(granted.error().code, ErrorCode::notSupported);  // memory that nobody called persistent
  });
  WorkRequest flush{WorkRequest::Kind::flush, 1, {}, pair.at(0), pair.key()};
  flush.flushBytes = 64;
  const Status posted = pair.client.post(flush);
  if (!pair.client.connection->canFlush()) {
    CHECK_EQ(posted.error().code, ErrorCode::notSupported);
    CHECK(pair.client.post(pair.read(2, {}, 0)).ok());
    pair.client.settle(1);
    return;
  }
  std::printf("# the device has RDMA FLUSH\n");
  CHECK(posted.ok());
  CHECK_EQ(pair.client.handler->waitClosed().code, ErrorCode::remoteAccess);
  CHECK_EQ(pair.client.handler->waitCompletions(1)[0].status, ErrorCode::remoteAccess);
}

TEST(memory_that_is_called_persistent_and_is_not_is_granted_without_the_right_to_flush) {
  Server server(4096);
  Pair pair(server);
  auto registered = fabricUnderTest().fabric->registerMemory(server.memory, nullptr, true);
  CHECK(registered.ok());
  const std::shared_ptr<MemoryRegion> region = std::move(registered).value();
  runOn(pair.served->connection->loop(), [&] {
    auto& connection = *pair.served->connection;
    const auto flushable = connection.grant(region, 0, 4096, Access::remoteReadWrite | Access::remoteFlush);
    // A driver may believe it; rxe looks.
    if (!flushable) CHECK_EQ(flushable.error().code, ErrorCode::notSupported);
    if (!pair.client.connection->canFlush()) CHECK(!flushable.ok());
    std::printf("# the right to flush was %s\n", flushable ? "given" : "refused");
    CHECK(connection.grant(region, 0, 4096, Access::remoteReadWrite).ok());
  });
}

TEST(a_grant_covers_its_part_of_the_registration_only) {
  Server server(4096);
  Pair pair(server);
  RemoteWindow window;
  runOn(pair.served->connection->loop(), [&] {
    auto granted = pair.served->connection->grant(server.region, 1000, 100, Access::remoteWrite);
    CHECK(granted.ok());
    window = granted.value();
  });
  CHECK_EQ(window.length, 100U);
  std::vector<std::byte> bytes = pattern(100, 1);
  const LocalSegment all{bytes.data(), 100, nullptr};
  const LocalSegment one{bytes.data(), 1, nullptr};
  std::vector<std::byte> back(4096);
  const LocalSegment into{back.data(), back.size(), nullptr};
  const WorkRequest batch[] = {{WorkRequest::Kind::write, 1, {&all, 1}, window.base, window.key},
                               pair.read(2, {&into, 1}, 0)};
  CHECK(pair.client.connection->post(batch).ok());
  pair.client.settle(2);
  CHECK(std::equal(bytes.begin(), bytes.end(), back.begin() + 1000));
  CHECK(back[999] == std::byte{0} && back[1100] == std::byte{0});
  CHECK(pair.client.post({WorkRequest::Kind::write, 3, {&one, 1}, window.base + 100, window.key}).ok());
  pair.client.handler->waitClosed();
}

TEST(a_grant_after_its_groundwork_on_another_thread_is_one_like_any_other) {
  Server server(4096);
  Pair pair(server);
  CHECK(pair.client.post(pair.read(1, {}, 0)).ok());  // on iWARP the connecting end speaks first
  pair.client.settle(1);
  std::vector<std::byte> memory(3 * 4096);
  std::byte note{};
  const LocalSegment noted{&note, 1, nullptr};
  for (const bool done : {true, false}) {
    auto registered = fabricUnderTest().fabric->registerMemory(memory, nullptr, false);
    CHECK(registered.ok());
    const std::shared_ptr<MemoryRegion> region = std::move(registered).value();
    std::function<Status()> work;
    runOn(pair.served->connection->loop(),
          [&] { work = pair.served->connection->groundwork(region, Access::remoteReadWrite); });
    CHECK_EQ(work != nullptr, fabricUnderTest().fabric->transport() == Transport::verbs);
    // Whoever does not do it has the grant do it.
    if (work && done) std::thread([&] { CHECK(work().ok()); }).join();
    work = nullptr;
    RemoteWindow window;
    runOn(pair.served->connection->loop(), [&] {
      auto granted = pair.served->connection->grant(region, 0, memory.size(), Access::remoteReadWrite);
      CHECK(granted.ok());
      window = granted.value();
      CHECK(pair.served->connection->post(std::vector<WorkRequest>{{WorkRequest::Kind::send, 1, {&noted, 1}}}).ok());
    });
    pair.client.handler->waitMessages(done ? 1 : 2);
    std::vector<std::byte> bytes = pattern(memory.size(), done ? 1 : 2);
    std::vector<std::byte> back(memory.size());
    const LocalSegment from{bytes.data(), bytes.size(), nullptr};
    const LocalSegment into{back.data(), back.size(), nullptr};
    const WorkRequest batch[] = {{WorkRequest::Kind::write, 1, {&from, 1}, window.base, window.key},
                                 {WorkRequest::Kind::read, 2, {&into, 1}, window.base, window.key}};
    CHECK(pair.client.connection->post(batch).ok());
    pair.client.settle(2);
    CHECK(bytes == back && bytes == memory);
    runOn(pair.served->connection->loop(), [&] { pair.served->connection->revoke(window.key); });
  }
}

TEST(groundwork_outlives_its_connection) {
  Server server(4096);
  std::vector<std::byte> memory(4096);
  std::function<Status()> work;
  {
    auto registered = fabricUnderTest().fabric->registerMemory(memory, nullptr, false);
    CHECK(registered.ok());
    const std::shared_ptr<MemoryRegion> region = std::move(registered).value();
    Pair pair(server);
    runOn(pair.served->connection->loop(),
          [&] { work = pair.served->connection->groundwork(region, Access::remoteRead); });
    waitFenced(*pair.client.connection);
    pair.served->handler->waitClosed();
  }
  if (work) CHECK(work().ok());
}

TEST(a_grant_beyond_its_registration_is_not_given) {
  Server server(4096);
  Pair pair(server);
  runOn(pair.served->connection->loop(), [&] {
    for (auto [offset, length] : {std::pair<std::uint64_t, std::uint64_t>{0, 4097},
                                  {4096, 1},
                                  {4097, 0},
                                  {1, ~std::uint64_t{0}},
                                  {~std::uint64_t{0}, 2}}) {
      const auto granted = pair.served->connection->grant(server.region, offset, length, Access::remoteRead);
      CHECK(!granted.ok());
      CHECK_EQ(granted.error().code, ErrorCode::invalidArgument);
    }
  });
}

TEST(a_message_that_is_too_long_ends_the_connection) {
  ListenOptions options;
  options.connection.maxMessage = 100;
  Server server(64, options);
  Pair pair(server);
  std::vector<std::byte> bytes(101);
  const LocalSegment right{bytes.data(), 100, nullptr};
  const LocalSegment tooLong{bytes.data(), 101, nullptr};
  CHECK(pair.client.post({WorkRequest::Kind::send, 1, {&right, 1}}).ok());
  pair.served->handler->waitMessages(1);
  CHECK(pair.client.post({WorkRequest::Kind::send, 2, {&tooLong, 1}}).ok());
  pair.client.handler->waitClosed();
  pair.served->handler->waitClosed();
}

TEST(a_batch_beyond_the_send_depth_is_refused_whole) {
  Server server(64);
  ConnectionOptions options;
  options.sendDepth = 4;
  Pair pair(server, options);
  std::byte byte{1};
  const LocalSegment segment{&byte, 1, nullptr};
  const std::vector<WorkRequest> five(5, pair.write(1, {&segment, 1}, 0));
  const Status status = pair.client.connection->post(five);
  CHECK_EQ(status.error().code, ErrorCode::limitReached);
  const std::vector<WorkRequest> four(4, pair.write(2, {&segment, 1}, 0));
  CHECK(pair.client.connection->post(four).ok());
  pair.client.settle(4);
}

}  // namespace conformance

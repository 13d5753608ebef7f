// lifecycle.h -- conformance: connecting, rejecting, closing, fencing, losing a peer, deadlines.
#pragma once

#include <algorithm>

#include "harness.h"

namespace conformance {

TEST(private_data_travels_both_ways) {
  Server server(64);
  server.privateData = pattern(kMaxPrivateData, 2);
  std::vector<std::byte> seen;
  bool same = false;
  server.accepting->decide = [&](const ConnectionRequest& request) {
    seen.assign(request.privateData.begin(), request.privateData.end());
    same = request.sameProduct;
    return server.accept();
  };
  const auto sent = pattern(kMaxPrivateData, 1);
  Client client(server.listener->address(), {}, sent);
  CHECK(client.handler->waitEstablished());
  CHECK(same);
  // Some devices pad with zeros.
  CHECK(seen.size() >= sent.size() && std::equal(sent.begin(), sent.end(), seen.begin()));
  const auto back = client.handler->privateData();
  CHECK(back.size() >= server.privateData.size());
  CHECK(std::equal(server.privateData.begin(), server.privateData.end(), back.begin()));
}

TEST(too_much_private_data_is_refused_before_anything_is_sent) {
  Server server(64);
  auto loop = startLoop("client");
  const std::vector<std::byte> tooMuch(kMaxPrivateData + 1);
  const auto started =
      fabricUnderTest().fabric->connect(server.listener->address(), {}, tooMuch, *loop, std::make_shared<Recorder>());
  CHECK(!started.ok());
  CHECK_EQ(started.error().code, ErrorCode::invalidArgument);
}

TEST(a_rejected_request_brings_the_reasons_private_data) {
  Server server(64);
  const auto why = pattern(20, 8);
  server.accepting->decide = [&](const ConnectionRequest&) { return AcceptDecision{false, why, nullptr}; };
  Client client(server.listener->address());
  CHECK_EQ(client.handler->waitClosed().code, ErrorCode::connectionRefused);
  const auto seen = client.handler->privateData();
  CHECK(seen.size() >= why.size() && std::equal(why.begin(), why.end(), seen.begin()));
}

TEST(where_nobody_listens_the_connection_is_refused) {
  SocketAddress address;
  {
    Server server(64);
    address = server.listener->address();
  }
  Client client(address);
  const ErrorCode code = client.handler->waitClosed().code;
  CHECK_EQ(code, ErrorCode::connectionRefused);
}

TEST(accepted_connections_outlive_their_listener) {
  Server server(64);
  Pair pair(server);
  const auto address = server.listener->address();
  server.listener.reset();
  std::byte byte{7};
  const LocalSegment segment{&byte, 1, nullptr};
  CHECK(pair.client.post(pair.write(1, {&segment, 1}, 0)).ok());
  pair.client.settle(1);
  Client late(address);
  CHECK_EQ(late.handler->waitClosed().code, ErrorCode::connectionRefused);
}

TEST(connections_beyond_the_limit_are_turned_away_and_places_come_back) {
  ListenOptions options;
  options.maxConnections = 2;
  Server server(64, options);
  {
    Pair first(server);
    Pair second(server);
    Client third(server.listener->address());
    CHECK(!third.handler->waitEstablished());
  }
  // A place is free when its connection is gone for good, which takes the ends a moment.
  bool again = false;
  for (int i = 0; i < 100 && !again; ++i) {
    Client client(server.listener->address());
    again = client.handler->waitEstablished();
    if (!again) std::this_thread::sleep_for(50ms);
  }
  CHECK(again);
}

TEST(many_connections_work_at_once_over_two_loops) {
  const std::size_t count = fabricUnderTest().connections;
  ListenOptions listening;
  ConnectionOptions connecting;
  connecting.setupTimeout = listening.connection.setupTimeout = kPatience;  // they take time under emulation
  Server server(count * 1000, listening, 2);
  auto loop = startLoop("clients");
  std::vector<std::unique_ptr<Client>> clients;
  for (std::size_t i = 0; i < count; ++i) {
    clients.push_back(std::make_unique<Client>(server.listener->address(), connecting, ConstBytes{}, loop.get()));
  }
  for (auto& client : clients)
    CHECK(client->handler->waitEstablished());
  const auto served = server.all();
  CHECK_EQ(served.size(), count);
  for (auto& end : served)
    CHECK(end->handler->waitEstablished());
  // Which served end is whose is told by a message.
  std::vector<std::vector<std::byte>> bytes;
  for (std::size_t i = 0; i < count; ++i) {
    auto index = static_cast<std::uint64_t>(i);
    const LocalSegment text{reinterpret_cast<std::byte*>(&index), sizeof index, nullptr};
    CHECK(clients[i]->post({WorkRequest::Kind::send, 1, {&text, 1}}).ok());
    clients[i]->settle(1);
    bytes.push_back(pattern(1000, i));
  }
  for (auto& end : served) {
    std::uint64_t index = 0;
    std::memcpy(&index, end->handler->waitMessages(1)[0].data(), sizeof index);
    const LocalSegment from{bytes[index].data(), 1000, nullptr};
    const WorkRequest request{
        WorkRequest::Kind::write, 2, {&from, 1}, end->window.base + index * 1000, end->window.key};
    CHECK(clients[index]->post(request).ok());
  }
  for (auto& end : served) {
    std::uint64_t index = 0;
    std::memcpy(&index, end->handler->waitMessages(1)[0].data(), sizeof index);
    std::vector<std::byte> back(1000);
    const LocalSegment into{back.data(), back.size(), nullptr};
    clients[index]->settle(1);
    const WorkRequest request{WorkRequest::Kind::read, 3, {&into, 1}, end->window.base + index * 1000, end->window.key};
    CHECK(clients[index]->post(request).ok());
    clients[index]->settle(1);
    CHECK(back == bytes[index]);
  }
  clients.clear();
}

TEST(close_sends_what_was_posted_and_then_ends_in_order) {
  constexpr std::size_t kBytes = 8 << 20;
  Server server(kBytes);
  Pair pair(server);
  auto source = pattern(kBytes, 4);
  const LocalSegment from{source.data(), source.size(), nullptr};
  std::byte word{1};
  const LocalSegment text{&word, 1, nullptr};
  const WorkRequest batch[] = {pair.write(1, {&from, 1}, 0), {WorkRequest::Kind::send, 2, {&text, 1}}};
  CHECK(pair.client.connection->post(batch).ok());
  pair.client.connection->close();
  CHECK_EQ(pair.client.post(pair.write(3, {&from, 1}, 0)).error().code, ErrorCode::localClosed);
  CHECK_EQ(pair.client.handler->waitClosed().code, ErrorCode::localClosed);
  pair.client.settle(2);
  CHECK_EQ(pair.served->handler->waitClosed().code, ErrorCode::connectionClosed);
  CHECK_EQ(pair.served->handler->waitMessages(1).size(), 1U);
  CHECK(server.memory == source);
  CHECK_EQ(pair.client.post(pair.write(4, {&from, 1}, 0)).error().code, ErrorCode::localClosed);
}

TEST(a_connection_can_be_closed_before_it_is_established) {
  Server server(64);
  for (int i = 0; i < 20; ++i) {
    Client client(server.listener->address());
    client.connection->close();
    CHECK_EQ(client.handler->waitClosed().code, ErrorCode::localClosed);
    CHECK_EQ(client.handler->completed(), 0U);
  }
}

// The claim of a takeover: once fence has said done, no byte of the old writer lands.
TEST(nothing_lands_after_a_fence_is_done) {
  constexpr std::size_t kBytes = 1 << 20;
  const std::uint64_t rounds = check::rounds(300, 30);
  for (std::uint64_t round = 0; round < rounds; ++round) {
    Server server(kBytes);
    Pair pair(server);
    std::atomic<bool> stop{false};
    std::atomic<std::uint64_t> posted{0};
    std::vector<std::byte> sources[] = {pattern(kBytes, 2 * round + 1), pattern(kBytes, 2 * round + 2)};
    std::thread writer([&] {
      const LocalSegment segments[] = {{sources[0].data(), kBytes, nullptr}, {sources[1].data(), kBytes, nullptr}};
      while (!stop) {
        if (posted - pair.client.handler->completed() >= 8) {
          std::this_thread::yield();
        } else if (pair.client.post(pair.write(posted, {&segments[posted % 2], 1}, 0)).ok()) {
          ++posted;
        } else {
          break;
        }
      }
    });
    std::this_thread::sleep_for(std::chrono::microseconds(check::random()() % 5000));
    waitFenced(*pair.served->connection);
    const std::vector<std::byte> then = server.memory;
    std::this_thread::sleep_for(5ms);
    const bool still = then == server.memory;
    stop = true;
    writer.join();
    pair.client.handler->waitClosed();
    CHECK_EQ(pair.client.handler->completed(), posted.load());
    CHECK(still);
    CHECK(then == server.memory);
    CHECK_EQ(pair.served->handler->waitClosed().code, ErrorCode::localClosed);
  }
}

TEST(a_fence_of_a_connection_that_is_gone_is_done_at_once) {
  Server server(64);
  Pair pair(server);
  waitFenced(*pair.client.connection);
  pair.client.handler->waitClosed();
  bool done = false;
  pair.client.connection->fence([&] { done = true; });
  CHECK(done);
}

TEST(a_handler_may_fence_or_close_from_within_its_calls) {
  for (const bool fences : {true, false}) {
    Server server(64);
    Pair pair(server);
    std::atomic<bool> within{false};
    std::atomic<bool> closedWithin{false};
    std::promise<void> fenced;
    runOn(pair.served->connection->loop(), [&] {
      pair.served->handler->closedHook = [&] { closedWithin = within.load(); };
      pair.served->handler->message = [&](Connection& connection, ConstBytes) {
        within = true;
        if (fences) {
          connection.fence([&] { fenced.set_value(); });
        } else {
          connection.close();
        }
        within = false;
      };
    });
    CHECK(pair.client.post({WorkRequest::Kind::send, 1, {}}).ok());
    CHECK_EQ(pair.served->handler->waitClosed().code, ErrorCode::localClosed);
    if (fences) fenced.get_future().wait();
    CHECK(!closedWithin);
    pair.client.handler->waitClosed();
  }
}

TEST(posts_that_race_with_the_end_complete_once_or_are_refused) {
  const std::uint64_t rounds = check::rounds(200, 25);
  for (std::uint64_t round = 0; round < rounds; ++round) {
    Server server(1 << 16);
    Pair pair(server);
    std::vector<std::byte> source(1 << 16);
    std::vector<std::byte> sink(1 << 16);
    std::atomic<std::size_t> accepted{0};
    std::vector<std::thread> threads;
    for (std::size_t t = 0; t < 3; ++t) {
      threads.emplace_back([&, t] {
        for (std::uint64_t i = 0; i < 100000; ++i) {
          const bool reads = t == 2;
          const LocalSegment segment{reads ? sink.data() : source.data(), (i * 977) % (1 << 16), nullptr};
          const Status status =
              pair.client.post(reads ? pair.read(i, {&segment, 1}, 0) : pair.write(i, {&segment, 1}, 0));
          if (status.ok()) {
            ++accepted;
          } else if (status.error().code == ErrorCode::limitReached) {
            std::this_thread::yield();
          } else {
            break;
          }
        }
      });
    }
    std::this_thread::sleep_for(std::chrono::microseconds(check::random()() % 3000));
    switch (round % 3) {
      case 0:
        pair.client.connection->close();
        break;
      case 1:
        waitFenced(*pair.client.connection);
        break;
      default:
        waitFenced(*pair.served->connection);
        break;
    }
    for (auto& thread : threads)
      thread.join();
    pair.client.handler->waitClosed();
    CHECK_EQ(pair.client.handler->completed(), accepted.load());
    CHECK(!pair.client.handler->lateCalls());
  }
}

TEST(a_peer_lost_in_mid_transfer_fails_what_is_in_flight) {
  Server server(32 << 20);
  Pair pair(server);
  std::vector<std::byte> sink(32 << 20);
  const LocalSegment into{sink.data(), sink.size(), nullptr};
  const std::vector<WorkRequest> reads(8, pair.read(1, {&into, 1}, 0));
  CHECK(pair.client.connection->post(reads).ok());
  waitFenced(*pair.served->connection);
  const ErrorCode code = pair.client.handler->waitClosed().code;
  CHECK(code == ErrorCode::connectionBroken || code == ErrorCode::connectionClosed);
  const auto completions = pair.client.handler->waitCompletions(8);
  CHECK_EQ(completions.size(), 8U);
  CHECK_EQ(completions.back().status, code);
}

TEST(a_work_request_past_its_deadline_breaks_the_connection) {
  if (!fabricUnderTest().readsNeedPeerLoop) return;
  std::promise<void> release;  // outlives the loop that waits for it
  auto released = release.get_future();
  std::promise<void> blocked;
  Server server(64);
  Pair pair(server);
  CHECK(pair.served->connection->loop().post([&] {
    blocked.set_value();
    released.wait();
  }));
  blocked.get_future().wait();
  std::byte byte{};
  const LocalSegment into{&byte, 1, nullptr};
  WorkRequest request = pair.read(5, {&into, 1}, 0);
  const auto began = Clock::now();
  request.deadline = began + 200ms;
  CHECK(pair.client.post(request).ok());
  const ErrorCode code = pair.client.handler->waitClosed().code;
  const auto took = Clock::now() - began;
  release.set_value();
  CHECK_EQ(code, ErrorCode::timedOut);
  CHECK(took >= 200ms);
  CHECK(took < 5s);
  CHECK_EQ(pair.client.handler->waitCompletions(1)[0].status, ErrorCode::timedOut);
}

TEST(a_deadline_that_is_kept_breaks_nothing) {
  Server server(64);
  Pair pair(server);
  std::byte byte{};
  const LocalSegment into{&byte, 1, nullptr};
  for (int i = 0; i < 20; ++i) {
    WorkRequest request = pair.read(5, {&into, 1}, 0);
    request.deadline = Clock::now() + (i % 2 == 0 ? 2s : 1s);
    CHECK(pair.client.post(request).ok());
    pair.client.settle(1);
  }
  std::this_thread::sleep_for(1200ms);
  CHECK(pair.client.post(pair.read(6, {&into, 1}, 0)).ok());
  pair.client.settle(1);
}

}  // namespace conformance

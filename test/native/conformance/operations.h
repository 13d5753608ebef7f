// operations.h -- conformance: writes, reads and messages do what fabric.h says.
#pragma once

#include <algorithm>

#include "harness.h"

namespace conformance {

inline std::size_t largestTransfer() {
  const char* given = std::getenv("RC_CONFORMANCE_MAX");
  if (given != nullptr) return std::strtoull(given, nullptr, 0);
  return check::rounds(64U << 20, 4U << 20);
}

TEST(every_size_is_written_and_read_back_unchanged) {
  const std::size_t largest = largestTransfer();
  Server server(largest + 64);
  Pair pair(server);
  Pair other(server);
  std::size_t sizes[] = {0,     1,     3,     4,     7,     63,    64,    96,     97,      1023,    4095,   4096,
                         16383, 65519, 65520, 65521, 65535, 65536, 65537, 131072, 1 << 20, 1234567, largest};
  for (std::size_t size : sizes) {
    if (size > largest) continue;
    auto source = pattern(size, size + 1);
    std::vector<std::byte> back(size);
    const auto sourceRegistration = registered(source);
    const auto backRegistration = registered(back);
    const LocalSegment from{source.data(), size, sourceRegistration.get()};
    const LocalSegment into{back.data(), size, backRegistration.get()};
    const WorkRequest batch[] = {pair.write(1, {&from, 1}, 13), pair.read(2, {&into, 1}, 13)};
    CHECK(pair.client.connection->post(batch).ok());
    pair.client.settle(2);
    CHECK(back == source);
    // Written and read back is what every other connection sees.
    std::vector<std::byte> seen(size);
    const auto seenRegistration = registered(seen);
    const LocalSegment look{seen.data(), size, seenRegistration.get()};
    CHECK(other.client.post(other.read(3, {&look, 1}, 13)).ok());
    other.client.settle(1);
    CHECK(seen == source);
  }
}

TEST(what_a_peer_writes_is_marked_before_a_read_after_it_returns) {
  constexpr std::uint64_t kPiece = DirtyMap::kPieceBytes;
  Server server(64 * kPiece);
  Pair pair(server);
  Pair reader(server);
  auto source = pattern(3 * kPiece, 9);
  std::byte one{};
  const LocalSegment from{source.data(), source.size(), nullptr};
  const LocalSegment into{&one, 1, nullptr};
  const auto round = [&](std::uint64_t offset) {
    const WorkRequest batch[] = {pair.write(1, {&from, 1}, offset), pair.read(2, {&into, 1}, offset)};
    CHECK(pair.client.connection->post(batch).ok());
    pair.client.settle(2);
  };
  round(7 * kPiece + 5);
  round(40 * kPiece);
  CHECK(reader.client.post(reader.read(1, {&into, 1}, 0)).ok());
  reader.client.settle(1);
  const auto runs = server.dirty.take(0);
  if (fabricUnderTest().fabric->transport() == Transport::verbs) {
    CHECK_EQ(runs.size(), 1u);
    CHECK_EQ(runs[0].length, server.memory.size());
    return;
  }
  CHECK_EQ(runs.size(), 2u);
  CHECK_EQ(runs[0].offset, 7 * kPiece);
  CHECK_EQ(runs[0].length, 4 * kPiece);
  CHECK_EQ(runs[1].offset, 40 * kPiece);
  CHECK_EQ(runs[1].length, 3 * kPiece);
}

TEST(bytes_beside_a_write_or_a_read_are_left_alone) {
  Server server(1 << 16);
  Pair pair(server);
  auto model = pattern(server.memory.size(), 5);
  std::copy(model.begin(), model.end(), server.memory.begin());
  auto& random = check::random();
  for (int i = 0; i < 200; ++i) {
    const std::size_t offset = random() % model.size();
    const std::size_t length = random() % std::min<std::size_t>(model.size() - offset + 1, 5000);
    auto source = pattern(length, static_cast<std::uint64_t>(i));
    std::vector<std::byte> back(length + 16, std::byte{0x5a});
    const LocalSegment from{source.data(), length, nullptr};
    const LocalSegment into{back.data() + 8, length, nullptr};
    const WorkRequest batch[] = {pair.write(1, {&from, 1}, offset), pair.read(2, {&into, 1}, offset)};
    CHECK(pair.client.connection->post(batch).ok());
    pair.client.settle(2);
    std::copy(source.begin(), source.end(), model.begin() + static_cast<std::ptrdiff_t>(offset));
    CHECK(std::equal(source.begin(), source.end(), back.begin() + 8));
    CHECK(std::all_of(back.begin(), back.begin() + 8, [](std::byte b) { return b == std::byte{0x5a}; }));
    CHECK(std::all_of(back.end() - 8, back.end(), [](std::byte b) { return b == std::byte{0x5a}; }));
  }
  // All of it once more by a read: the server's memory is the fabric's while writes may land.
  std::vector<std::byte> all(model.size());
  const LocalSegment into{all.data(), all.size(), nullptr};
  CHECK(pair.client.post(pair.read(3, {&into, 1}, 0)).ok());
  pair.client.settle(1);
  CHECK(all == model);
}

TEST(vectored_writes_gather_and_vectored_reads_scatter) {
  Server server(1 << 20);
  Pair pair(server);
  for (std::size_t scale : {std::size_t{1}, std::size_t{100}, std::size_t{40000}}) {
    auto source = pattern(scale * 7, scale);
    std::vector<std::byte> back(source.size());
    const LocalSegment from[] = {{source.data(), scale * 3, nullptr},
                                 {source.data() + scale * 3, 0, nullptr},
                                 {source.data() + scale * 3, scale, nullptr},
                                 {source.data() + scale * 4, scale * 3, nullptr}};
    const LocalSegment into[] = {{back.data(), scale, nullptr},
                                 {back.data() + scale, scale * 4, nullptr},
                                 {back.data() + scale * 5, 0, nullptr},
                                 {back.data() + scale * 5, scale * 2, nullptr}};
    const WorkRequest batch[] = {pair.write(1, from, 17), pair.read(2, into, 17)};
    CHECK(pair.client.connection->post(batch).ok());
    pair.client.settle(2);
    CHECK(back == source);
  }
}

TEST(operations_of_no_bytes_complete_with_any_key) {
  Server server(64);
  Pair pair(server);
  const WorkRequest batch[] = {{WorkRequest::Kind::write, 1, {}, ~std::uint64_t{0}, 0x12345678},
                               {WorkRequest::Kind::read, 2, {}, ~std::uint64_t{0}, 0x12345678},
                               {WorkRequest::Kind::send, 3, {}}};
  CHECK(pair.client.connection->post(batch).ok());
  pair.client.settle(3);
  CHECK(pair.served->handler->waitMessages(1)[0].empty());
}

TEST(a_read_of_no_bytes_gets_none_whatever_was_posted_before) {
  Server server(4096);
  Pair pair(server);
  std::vector<std::byte> back(100);
  const LocalSegment into{back.data(), back.size(), nullptr};
  const WorkRequest nothing{WorkRequest::Kind::read, 1, {}, ~std::uint64_t{0}, 0x12345678};
  constexpr std::size_t kCount = 150;  // more than a queue pair has slots
  for (std::size_t i = 0; i < kCount; ++i)
    CHECK(pair.client.post(pair.read(i, {&into, 1}, 0)).ok());
  pair.client.settle(kCount);
  for (std::size_t i = 0; i < kCount; ++i)
    CHECK(pair.client.post(nothing).ok());
  pair.client.settle(kCount);
  // While the answers to others are on their way.
  for (std::size_t i = 0; i < kCount; ++i) {
    const WorkRequest batch[] = {pair.read(2, {&into, 1}, 0), nothing};
    CHECK(pair.client.connection->post(batch).ok());
  }
  pair.client.settle(2 * kCount);
}

TEST(short_reads_across_a_page_border_are_answered_with_the_right_bytes) {
  constexpr std::size_t kPage = 4096;
  Server server(8 * kPage);
  Pair pair(server);
  auto source = pattern(server.memory.size(), 77);
  const LocalSegment from{source.data(), source.size(), nullptr};
  CHECK(pair.client.post(pair.write(1, {&from, 1}, 0)).ok());
  pair.client.settle(1);
  const std::size_t border = kPage - reinterpret_cast<std::uintptr_t>(server.memory.data()) % kPage;
  for (std::size_t length = 1; length <= 40; ++length) {
    for (std::size_t before = 0; before <= length; before += std::max<std::size_t>(1, length / 7)) {
      const std::size_t offset = border + (1 + length % 6) * kPage - before;
      std::vector<std::byte> back(length);
      const LocalSegment into{back.data(), length, nullptr};
      CHECK(pair.client.post(pair.read(2, {&into, 1}, offset)).ok());
      pair.client.settle(1);
      CHECK(std::equal(back.begin(), back.end(), source.begin() + static_cast<std::ptrdiff_t>(offset)));
    }
  }
}

TEST(hundreds_of_operations_in_flight_complete_in_the_order_of_posting) {
  constexpr std::uint64_t kCount = 900;
  // A message for which no receive is posted ends an iWARP connection, and the accepting end's thread may be slow.
  ListenOptions listening;
  listening.connection.receiveDepth = kCount / 3;
  Server server(1 << 20, listening);
  ConnectionOptions options;
  options.outboundReads = 4;
  Pair pair(server, options);
  std::vector<std::byte> source = pattern(1 << 20, 9);
  std::vector<std::byte> back(1 << 20);
  std::vector<LocalSegment> segments(kCount);
  for (std::uint64_t i = 0; i < kCount; ++i) {
    const std::size_t offset = (i / 3) * 3000;
    auto& memory = i % 3 == 1 ? back : source;
    segments[i] = {memory.data() + offset, i % 3 == 2 ? i % 100 : 3000, nullptr};
    WorkRequest request = i % 3 == 0   ? pair.write(i, {&segments[i], 1}, offset)
                          : i % 3 == 1 ? pair.read(i, {&segments[i], 1}, offset)
                                       : WorkRequest{WorkRequest::Kind::send, i, {&segments[i], 1}};
    CHECK(pair.client.post(request).ok());
  }
  const auto completions = pair.client.handler->waitCompletions(kCount);
  for (std::uint64_t i = 0; i < kCount; ++i) {
    CHECK_EQ(completions[i].id, i);
    CHECK_EQ(completions[i].status, ErrorCode::ok);
  }
  CHECK(std::equal(source.begin(), source.begin() + kCount / 3 * 3000, back.begin()));
  CHECK_EQ(pair.served->handler->waitMessages(kCount / 3).size(), kCount / 3);
}

TEST(a_message_is_handled_after_the_writes_posted_before_it) {
  Server server(1 << 20);
  std::atomic<std::uint64_t> wrong{0};
  std::atomic<std::uint64_t> handled{0};
  Pair pair(server);
  runOn(pair.served->connection->loop(), [&] {
    pair.served->handler->message = [&](Connection&, ConstBytes message) {
      std::uint64_t round = 0;
      std::memcpy(&round, message.data(), sizeof round);
      for (std::size_t at : {std::size_t{0}, std::size_t{99999}}) {
        if (std::to_integer<std::uint64_t>(server.memory[at]) != (round & 0xffU)) ++wrong;
      }
      if (round != handled++) ++wrong;
    };
  });
  // A round begins when the message of the one before has been answered for by its handling.
  std::vector<std::byte> source(100000);
  for (std::uint64_t round = 0; round < 100; ++round) {
    std::fill(source.begin(), source.end(), static_cast<std::byte>(round & 0xffU));
    const LocalSegment from{source.data(), source.size(), nullptr};
    const LocalSegment text{reinterpret_cast<std::byte*>(&round), sizeof round, nullptr};
    const WorkRequest batch[] = {pair.write(1, {&from, 1}, 0), {WorkRequest::Kind::send, 2, {&text, 1}}};
    CHECK(pair.client.connection->post(batch).ok());
    pair.client.settle(2);
    pair.served->handler->waitMessages(round + 1);
  }
  CHECK_EQ(wrong.load(), 0U);
}

TEST(the_accepting_end_may_speak_first_and_both_may_speak_at_once) {
  if (!fabricUnderTest().acceptorSpeaksFirst) check::skip("the connecting end has to speak first here");
  Server server(64);
  std::uint64_t greeting = 0x1122334455667788U;
  std::atomic<bool> greeted{false};
  server.onEstablished = [&](Connection& connection) {
    const LocalSegment text{reinterpret_cast<std::byte*>(&greeting), sizeof greeting, nullptr};
    const WorkRequest request{WorkRequest::Kind::send, 7, {&text, 1}};
    greeted = connection.post({&request, 1}).ok();
  };
  Pair pair(server);
  const auto messages = pair.client.handler->waitMessages(1);
  CHECK(greeted);
  CHECK_EQ(messages[0].size(), sizeof greeting);
  CHECK(std::memcmp(messages[0].data(), &greeting, sizeof greeting) == 0);

  std::vector<std::byte> text = pattern(4096, 3);
  const LocalSegment segment{text.data(), text.size(), nullptr};
  const WorkRequest request{WorkRequest::Kind::send, 1, {&segment, 1}};
  for (int i = 0; i < 40; ++i) {
    CHECK(pair.client.connection->post({&request, 1}).ok());
    CHECK(pair.served->connection->post({&request, 1}).ok());
  }
  for (const auto& message : pair.served->handler->waitMessages(40))
    CHECK(message == text);
  const auto back = pair.client.handler->waitMessages(41);
  for (std::size_t i = 1; i < back.size(); ++i)
    CHECK(back[i] == text);
}

TEST(a_message_sent_in_the_moment_of_the_set_up_arrives) {
  Server server(64);
  const auto loop = startLoop("client");
  std::uint64_t text = 7;
  const LocalSegment segment{reinterpret_cast<std::byte*>(&text), sizeof text, nullptr};
  const std::size_t count = check::rounds(1000, 100);
  for (std::size_t i = 0; i < count; ++i) {
    const auto handler = std::make_shared<Recorder>();
    handler->established = [&](Connection& established) {
      const WorkRequest request{WorkRequest::Kind::send, 1, {&segment, 1}};
      (void)established.post({&request, 1});
    };
    const auto connection = connectingFabric().connect(server.listener->address(), {}, {}, *loop, handler);
    CHECK(connection.ok());
    CHECK(handler->waitEstablished());
    server.all().back()->handler->waitMessages(1);
    waitFenced(*connection.value());
    handler->waitClosed();
  }
  loop->stop();
}

TEST(random_operations_match_a_model) {
  constexpr std::size_t kBytes = 1 << 20;
  Server server(kBytes);
  Pair pair(server);
  std::vector<std::byte> model(kBytes);
  auto& random = check::random();
  const std::uint64_t count = check::rounds(20000, 1500);
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::size_t limit = std::size_t{1} << (random() % 20);
    const std::size_t length = random() % (limit + 1);
    const std::size_t offset = random() % (kBytes - length + 1);
    if (random() % 2 == 0) {
      auto bytes = pattern(length, random());
      const LocalSegment from{bytes.data(), length, nullptr};
      CHECK(pair.client.post(pair.write(i, {&from, 1}, offset)).ok());
      pair.client.settle(1);
      std::copy(bytes.begin(), bytes.end(), model.begin() + static_cast<std::ptrdiff_t>(offset));
    } else {
      std::vector<std::byte> bytes(length);
      const LocalSegment into{bytes.data(), length, nullptr};
      CHECK(pair.client.post(pair.read(i, {&into, 1}, offset)).ok());
      pair.client.settle(1);
      CHECK(std::equal(bytes.begin(), bytes.end(), model.begin() + static_cast<std::ptrdiff_t>(offset)));
    }
  }
}

TEST(several_threads_post_on_one_connection) {
  constexpr std::size_t kThreads = 4;
  constexpr std::size_t kEach = 300;
  constexpr std::size_t kShare = 1 << 18;
  Server server(kThreads * kShare);
  Pair pair(server);
  std::vector<std::vector<std::byte>> sources;
  for (std::size_t t = 0; t < kThreads; ++t)
    sources.push_back(pattern(kShare, t + 1));
  std::atomic<std::size_t> refused{0};
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t i = 0; i < kEach; ++i) {
        const LocalSegment from{sources[t].data(), kShare, nullptr};
        if (!pair.client.post(pair.write(t, {&from, 1}, t * kShare)).ok()) ++refused;
      }
    });
  }
  for (auto& thread : threads)
    thread.join();
  CHECK_EQ(refused.load(), 0U);
  pair.client.settle(kThreads * kEach);
  std::vector<std::byte> all(kThreads * kShare);
  const LocalSegment into{all.data(), all.size(), nullptr};
  CHECK(pair.client.post(pair.read(9, {&into, 1}, 0)).ok());
  pair.client.settle(1);
  for (std::size_t t = 0; t < kThreads; ++t) {
    CHECK(std::equal(sources[t].begin(), sources[t].end(), all.begin() + static_cast<std::ptrdiff_t>(t * kShare)));
  }
}

}  // namespace conformance

// polling.h -- completions that the posting thread looks for itself, beside the loop.
#pragma once

#include "harness.h"

namespace conformance {

// A connection that may be looked into, with memory and a read into it.
struct Polled {
  Polled() {
    if (!connection.canPoll()) check::skip("on this fabric the loop alone finds completions");
  }
  Server server{4096};
  Pair pair{server};
  Connection& connection = *pair.client.connection;
  std::vector<std::byte> memory = std::vector<std::byte>(64);
  const LocalSegment segment{memory.data(), 64, nullptr};
  const WorkRequest read = pair.read(1, {&segment, 1}, 0);
};

TEST(where_the_loop_alone_finds_completions_a_poll_finds_none) {
  Server server(4096);
  Pair pair(server);
  if (pair.client.connection->canPoll()) check::skip("this fabric's connections may be looked into");
  std::byte byte{1};
  const LocalSegment segment{&byte, 1, nullptr};
  const WorkRequest request = pair.write(1, {&segment, 1}, 0);
  CHECK(pair.client.connection->post({&request, 1}).ok());
  std::vector<Completion> none;
  pair.client.connection->poll(none, true);
  CHECK(none.empty());
  pair.client.settle(1);
}

TEST(what_is_polled_for_is_told_once_by_the_poll_or_to_the_handler) {
  Polled on;
  std::vector<std::byte> source = pattern(64, 3);
  std::vector<std::byte> back(64);
  std::size_t polled = 0;
  constexpr std::uint64_t kRounds = 200;
  for (std::uint64_t i = 0; i < kRounds; ++i) {
    source[i % 64] ^= std::byte{0xff};
    const LocalSegment from{source.data(), 64, nullptr};
    const LocalSegment to{back.data(), 64, nullptr};
    const std::array batch{on.pair.write(2 * i, {&from, 1}, 0), on.pair.read(2 * i + 1, {&to, 1}, 0)};
    // Now and then a batch of the loop's is under way with it, or nobody looks for long.
    const bool mixed = i % 5 == 4;
    if (mixed) CHECK(on.connection.post({&batch[0], 1}).ok());
    const auto rest = std::span(batch).subspan(mixed ? 1 : 0);
    CHECK(on.connection.post(rest, Lookout::poll).ok());
    std::vector<Completion> found;
    const std::uint64_t most = i % 7 == 6 ? 0 : 100'000;
    for (std::uint64_t looks = 0; found.size() < 2 && looks < most; ++looks)
      on.connection.poll(found, false);
    on.connection.poll(found, true);
    for (const Completion& completion : found) {
      CHECK_EQ(completion.status, ErrorCode::ok);
      CHECK(completion.id == 2 * i || completion.id == 2 * i + 1);
    }
    polled += found.size();
    CHECK_EQ(on.pair.client.handler->waitCompletions(2 * (i + 1) - polled).size() + polled, 2 * (i + 1));
    CHECK(source == back);
  }
  CHECK(polled > 0);
}

TEST(a_refusal_that_a_poll_comes_upon_ends_the_connection_and_is_told_to_the_handler) {
  Polled on;
  WorkRequest refused = on.read;
  refused.remoteKey ^= 0x5a00;
  CHECK(on.connection.post({&refused, 1}, Lookout::poll).ok());
  std::vector<Completion> found;
  const auto end = Clock::now() + kPatience;
  while (on.pair.client.handler->completed() == 0 && Clock::now() < end)
    on.connection.poll(found, false);
  CHECK(found.empty());
  CHECK(on.pair.client.handler->waitCompletions(1)[0].status != ErrorCode::ok);
  const Error reason = on.pair.client.handler->waitClosed();
  CHECK(!fabricUnderTest().namesRemoteAccess || reason.code == ErrorCode::remoteAccess);
  CHECK_EQ(on.connection.post({&refused, 1}, Lookout::poll).ok(), false);
  on.connection.poll(found, true);
  CHECK(found.empty());
}

TEST(a_connection_that_is_closing_ends_when_a_poll_has_found_the_last_completion) {
  Polled on;
  CHECK(on.connection.post({&on.read, 1}, Lookout::poll).ok());
  on.connection.close();
  std::vector<Completion> found;
  for (int looks = 0; found.empty() && on.pair.client.handler->completed() == 0 && looks < 1'000'000; ++looks)
    on.connection.poll(found, false);
  CHECK_EQ(found.size() + on.pair.client.handler->completed(), 1U);
  CHECK_EQ(on.pair.client.handler->waitClosed().code, ErrorCode::localClosed);
}

}  // namespace conformance

// peer_link_test.cpp -- two links of one pair: they find each other, settle on one connection, notice its end, and begin
// again. What partners do that break the protocol is in peer_partner_test.cpp.
#include "peer/peer_link.h"

#include <barrier>

#include "peer_support.h"
#include "raw_peer.h"

namespace {

using namespace peers;

// Lets the first connects of both begin at the same time, when both listen, and takes its time with what comes of them.
class MeetingFabric final : public SlowFabric {
 public:
  explicit MeetingFabric(std::barrier<>& barrier)
      : SlowFabric([random = std::mt19937_64(check::random()())]() mutable { return milliseconds{random() % 4}; }),
        barrier_(barrier) {}
  Result<std::shared_ptr<fabric::Connection>> connect(const fabric::SocketAddress& address,
                                                      const fabric::ConnectionOptions& options,
                                                      fabric::ConstBytes privateData, EventLoop& loop,
                                                      std::shared_ptr<fabric::ConnectionHandler> handler) override {
    if (!std::exchange(met_, true)) barrier_.arrive_and_wait();
    ++connects;
    return SlowFabric::connect(address, options, privateData, loop, std::move(handler));
  }

  std::atomic<int> connects{0};

 private:
  std::barrier<>& barrier_;
  bool met_ = false;  // loop thread
};

struct Addresses {
  fabric::SocketAddress first = freeAddress();
  fabric::SocketAddress second = freeAddress();
  PeerLinkOptions firstOptions() const { return optionsFor(first, second); }
  PeerLinkOptions secondOptions() const { return optionsFor(second, first); }
};

TEST(two_links_find_each_other_and_read_each_others_block) {
  const Addresses at;
  const Peer first(at.firstOptions());
  const Peer second(at.secondOptions());
  CHECK(first.waitLinked());
  CHECK(second.waitLinked());
  CHECK(first.link->report().partner == second.link->report().bootId);
  CHECK(second.link->report().partner == first.link->report().bootId);

  CHECK(first.link->publish({"ready", 7, 99}).ok());
  CHECK(eventually([&] { return second.read().value().state == "ready"; }));
  const StatusBlock block = second.read().value();
  CHECK_EQ(block.epoch, 7U);
  CHECK_EQ(block.progress, 99U);
  CHECK(block.bootId == first.link->report().bootId);
  CHECK_EQ(first.read().value().state, "loading");
}

TEST(the_four_steps_are_taken_one_after_the_other) {
  const Addresses at;
  const Peer first(at.firstOptions());
  const Peer second(at.secondOptions());
  CHECK(first.waitLinked());
  CHECK(second.waitLinked());
  const PeerReport a = first.link->report();
  const PeerReport b = second.link->report();
  CHECK(a.connected != b.connected);
  const PeerReport& connecting = a.connected ? a : b;
  double before = 0;
  for (const double step : connecting.stepMs) {
    CHECK(step > before);
    before = step;
  }
  CHECK(a.linkedAtMs >= a.startedAtMs);
  CHECK(b.linkedAtMs >= b.startedAtMs);
}

TEST(a_process_without_a_partner_goes_on_trying_and_says_nothing) {
  const Addresses at;
  const Peer first(at.firstOptions());
  CHECK(eventually([&] { return first.link->report().attempts >= 5; }));
  CHECK(first.recorder->notes.all().empty());
  CHECK_EQ(first.waitProblem(ErrorCode::connectionRefused).code, ErrorCode::connectionRefused);
  const auto answer = first.read();
  CHECK(!answer.ok());
  CHECK_EQ(answer.error().code, ErrorCode::connectionRefused);

  const Peer second(at.secondOptions());
  CHECK(first.waitLinked());
  CHECK(second.waitLinked());
  CHECK(!first.link->report().problem);
}

TEST(two_that_connect_at_once_settle_on_one_connection) {
  const auto rounds = check::rounds(300, 40);
  for (std::uint64_t round = 0; round < rounds; ++round) {
    const Addresses at;
    std::barrier barrier(2);
    const auto firstFabric = std::make_shared<MeetingFabric>(barrier);
    const auto secondFabric = std::make_shared<MeetingFabric>(barrier);
    const Peer first(at.firstOptions(), firstFabric);
    const Peer second(at.secondOptions(), secondFabric);
    CHECK(first.waitLinked());
    CHECK(second.waitLinked());
    // Both have tried, and neither had to try again.
    CHECK_EQ(firstFabric->connects, 1);
    CHECK_EQ(secondFabric->connects, 1);
    // What is still to be settled has been, once a block was read that says so.
    CHECK(first.read().ok());
    CHECK(second.read().ok());
    for (const Peer* peer : {&first, &second}) {
      const PeerReport report = peer->link->report();
      CHECK_EQ(report.links, 1U);
      CHECK(report.linked);
      CHECK_EQ(report.refusals, 0U);
      CHECK_EQ(peer->recorder->notes.all().size(), 1U);
    }
    // It is one and the same: one end of it connected, and the other accepted.
    CHECK(first.link->report().connected != second.link->report().connected);
  }
}

TEST(a_settled_link_stays_as_it_is) {
  const Addresses at;
  std::barrier barrier(2);
  const Peer first(at.firstOptions(), std::make_shared<MeetingFabric>(barrier));
  const Peer second(at.secondOptions(), std::make_shared<MeetingFabric>(barrier));
  CHECK(first.waitLinked());
  CHECK(second.waitLinked());
  std::this_thread::sleep_for(700ms);  // longer than the longest pause between two attempts
  for (const Peer* peer : {&first, &second}) {
    CHECK_EQ(peer->link->report().links, 1U);
    CHECK_EQ(peer->recorder->notes.all().size(), 1U);
  }
}

TEST(a_partner_that_was_restarted_has_another_boot_id) {
  const Addresses at;
  const Peer first(at.firstOptions());
  BootId before;
  {
    const Peer second(at.secondOptions());
    CHECK(first.waitLinked());
    CHECK(second.waitLinked());
    before = first.link->report().partner;
  }
  CHECK(first.waitLost());
  const Peer again(at.secondOptions());
  CHECK(first.waitLinked(2));
  CHECK(first.link->report().partner != before);
  CHECK(first.link->report().partner == again.link->report().bootId);
  CHECK(first.read().ok());
}

TEST(the_age_of_the_event_loops_last_turn_grows_until_it_turns) {
  const Addresses at;
  const Peer first(at.firstOptions());
  const Peer second(at.secondOptions());
  CHECK(first.waitLinked());
  const auto age = [&] {
    const StatusBlock block = first.read().value();
    return block.clockMs - block.turnedMs;
  };
  CHECK(eventually([&] { return age() > 300; }));
  const std::uint64_t clock = first.read().value().clockMs;
  second.link->touch();
  CHECK(eventually([&] { return first.read().value().turnedMs >= clock; }));
}

TEST(a_wrong_secret_and_a_wrong_name_are_refused_by_both) {
  for (const bool name : {false, true}) {
    const Addresses at;
    PeerLinkOptions other = at.secondOptions();
    if (name) {
      other.name = "another pair";
    } else {
      other.secret.back() ^= std::byte{1};
    }
    const Peer first(at.firstOptions());
    const Peer second(other);
    CHECK_EQ(first.waitTold(ErrorCode::unauthenticated).code, ErrorCode::unauthenticated);
    CHECK_EQ(second.waitTold(ErrorCode::unauthenticated).code, ErrorCode::unauthenticated);
    CHECK_EQ(first.link->report().links, 0U);
    CHECK_EQ(second.link->report().links, 0U);
  }
}

// Sockets that say nothing, and others that introduce themselves as well as one can who does not know the secret. Each is held for
// as long as the link lets it, and when it is cut off another comes.
class Strangers {
 public:
  explicit Strangers(std::vector<fabric::SocketAddress> targets)
      : targets_(std::move(targets)), thread_([this] { crowd(); }) {}
  ~Strangers() {
    over_ = true;
    thread_.join();
  }
  Strangers(const Strangers&) = delete;
  Strangers& operator=(const Strangers&) = delete;

 private:
  static constexpr std::size_t kMost = 200;  // more than either end has places for

  void crowd() {
    const std::string frame = raw::kRequestKey +
                              "5002003c"
                              "00100010"
                              "5244435001010000";
    for (std::size_t i = 0; !over_; ++i) {
      const auto& target = targets_[i % targets_.size()];
      FileDescriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
      if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&target.storage), target.length) == 0 &&
          i % 4 < 2) {
        auto bytes = raw::fromHex(frame);
        const auto introduction = encode(Introduction{1, 1, randomIdentity(), randomIdentity(), {}});
        bytes.insert(bytes.end(), introduction.begin(), introduction.end());
        (void)::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      }
      if (held_.size() < kMost) {
        held_.push_back(std::move(socket));
      } else {
        held_[i % kMost] = std::move(socket);
        std::this_thread::sleep_for(1ms);
      }
    }
  }

  const std::vector<fabric::SocketAddress> targets_;
  std::vector<FileDescriptor> held_;
  std::atomic<bool> over_{false};
  std::thread thread_;
};

TEST(a_crowd_of_strangers_does_not_keep_two_from_linking) {
  const Addresses at;
  const Peer first(at.firstOptions());
  const Strangers strangers({at.first, at.second});
  std::this_thread::sleep_for(300ms);
  const auto begun = Clock::now();
  const Peer second(at.secondOptions());
  CHECK(first.waitLinked());
  CHECK(second.waitLinked());
  // Far less than the handshake's limit of 15 s, for which a stranger could hold a place before.
  CHECK(Clock::now() - begun < 5s);
}

// Says nothing at all, and comes back as fast as one machine can, on several threads: each socket is held until so many newer ones
// are there.
class SilentFlood {
 public:
  SilentFlood(std::vector<fabric::SocketAddress> targets, std::size_t threads, std::size_t held)
      : targets_(std::move(targets)) {
    for (std::size_t i = 0; i < threads; ++i)
      threads_.emplace_back([this, held] { flood(held); });
  }
  ~SilentFlood() {
    over_ = true;
    for (auto& thread : threads_)
      thread.join();
  }
  SilentFlood(const SilentFlood&) = delete;
  SilentFlood& operator=(const SilentFlood&) = delete;

 private:
  void flood(std::size_t most) {
    std::vector<FileDescriptor> held(most);
    for (std::size_t i = 0; !over_; ++i) {
      const auto& target = targets_[i % targets_.size()];
      FileDescriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
      // Gone at once when it is closed, so that ports do not run out.
      const linger abrupt{1, 0};
      (void)::setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &abrupt, sizeof abrupt);
      (void)::connect(socket.get(), reinterpret_cast<const sockaddr*>(&target.storage), target.length);
      held[i % most] = std::move(socket);
    }
  }

  const std::vector<fabric::SocketAddress> targets_;
  std::atomic<bool> over_{false};
  std::vector<std::thread> threads_;
};

TEST(the_fastest_flood_of_silent_strangers_does_not_keep_two_from_linking) {
  for (std::uint64_t round = 0; round < check::rounds(50, 3); ++round) {
    const Addresses at;
    const Peer first(at.firstOptions());
    const SilentFlood flood({at.first, at.second}, 3, 400);
    std::this_thread::sleep_for(200ms);
    const auto begun = Clock::now();
    const Peer second(at.secondOptions());
    CHECK(first.waitLinked());
    CHECK(second.waitLinked());
    // What a partner has to say comes through at once or at the next try: it is not pushed out, unheard, by those who say nothing.
    CHECK(second.link->report().attempts <= 2);
    CHECK(Clock::now() - begun < 5s);
  }
}

TEST(a_wrong_version_is_refused_with_both_ranges) {
  const Addresses at;
  PeerLinkOptions later = at.secondOptions();
  later.versionMin = 2;
  later.versionMax = 3;
  const Peer first(at.firstOptions());
  const Peer second(later);
  for (const Peer* peer : {&first, &second}) {
    const Error problem = peer->waitProblem(ErrorCode::versionMismatch);
    CHECK(problem.message.find("2 to 3") != std::string::npos);
    CHECK(problem.message.find('1') != std::string::npos);
    CHECK_EQ(peer->link->report().links, 0U);
  }
  CHECK_EQ(first.read().error().code, ErrorCode::versionMismatch);
}

TEST(a_third_process_is_turned_away_and_disturbs_nobody) {
  const Addresses at;
  const Peer first(at.firstOptions());
  const Peer second(at.secondOptions());
  CHECK(first.waitLinked());
  CHECK(second.waitLinked());
  const Peer third(optionsFor(freeAddress(), at.first));
  CHECK_EQ(third.waitProblem(ErrorCode::limitReached).code, ErrorCode::limitReached);
  CHECK_EQ(first.link->report().links, 1U);
  CHECK(first.link->report().linked);
  CHECK(first.read().ok());
}

TEST(a_process_that_comes_back_to_itself_is_told_so) {
  const auto own = freeAddress();
  auto mapped = fabric::SocketAddress::parse("::ffff:127.0.0.1", own.port());
  const auto started = mapped ? PeerLink::start(fabric::makeIwarpFabric(), optionsFor(mapped.value(), own), nullptr)
                              : Result<std::shared_ptr<PeerLink>>(mapped.error());
  if (!started) check::skip("IPv6 is off: " + started.error().message);
  CHECK(eventually([&] {
    const auto problem = started.value()->report().problem;
    return problem && problem->code == ErrorCode::invalidArgument;
  }));
  CHECK_EQ(started.value()->report().links, 0U);
  started.value()->stop();
}

TEST(addresses_that_cannot_work_are_refused_at_the_start) {
  const auto own = freeAddress();
  const auto start = [&](const fabric::SocketAddress& partner) {
    return PeerLink::start(fabric::makeIwarpFabric(), optionsFor(own, partner), nullptr);
  };
  CHECK_EQ(start(own).error().code, ErrorCode::invalidArgument);
  CHECK_EQ(start(loopback(0)).error().code, ErrorCode::invalidArgument);
  const Peer taken(optionsFor(own, freeAddress()));
  const auto again = start(freeAddress());
  CHECK(!again.ok());
  CHECK_EQ(again.error().code, ErrorCode::systemError);
  CHECK_EQ(again.error().systemError, EADDRINUSE);
}

TEST(a_state_that_is_no_short_text_is_not_published) {
  const Addresses at;
  const Peer first(at.firstOptions());
  for (const std::string& state : {std::string(), std::string(25, 'a'), std::string("two words"), std::string("\x01"),
                                   std::string("\xc3\xa9"), std::string("a\0b", 3)}) {
    CHECK_EQ(first.link->publish({state, 0, 0}).error().code, ErrorCode::invalidArgument);
  }
  CHECK(first.link->publish({std::string(24, 'a'), 0, 0}).ok());
}

TEST(a_link_that_was_stopped_answers_that_it_is_closed) {
  const Addresses at;
  const Peer first(at.firstOptions());
  const Peer second(at.secondOptions());
  CHECK(first.waitLinked());
  CHECK(second.waitLinked());
  first.link->stop();
  first.link->stop();
  CHECK_EQ(first.read().error().code, ErrorCode::localClosed);
  CHECK_EQ(first.link->publish({"ready", 0, 0}).error().code, ErrorCode::localClosed);
  CHECK(second.waitLost());
}

TEST(links_can_be_stopped_at_any_moment) {
  for (std::uint64_t round = 0; round < check::rounds(200, 40); ++round) {
    const Addresses at;
    const Peer first(at.firstOptions());
    const Peer second(at.secondOptions());
    std::thread publisher([&] {
      for (std::uint64_t i = 0; i < 20; ++i) {
        (void)first.link->publish({"ready", i, i});
        first.link->touch();
        first.link->readPartner([](const Result<StatusBlock>&) {});
        (void)second.link->report();
      }
    });
    std::this_thread::sleep_for(std::chrono::microseconds(check::random()() % 8000));
    (round % 2 == 0 ? first : second).link->stop();
    publisher.join();
  }
}

}  // namespace

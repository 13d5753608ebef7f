// A flow of user-space iWARP that is dropped in silence: both ends know within seconds, busy or idle, and nobody else is
// disturbed. A socket filter that takes no packet stands in for the firewall that has forgotten the flow.
#include <dirent.h>
#include <linux/filter.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "conformance/harness.h"

namespace conformance {

UnderTest& fabricUnderTest() {
  static UnderTest under{makeIwarpFabric(), SocketAddress::parse("127.0.0.1", 0).value()};
  return under;
}

}  // namespace conformance

namespace {

using namespace conformance;

// native/fabric/iwarp/vigil.h says 2.75 s; what is beyond it is for a machine with much else to do.
constexpr auto kKnownWithin = 8s;
constexpr std::size_t kBytes = std::size_t{64} << 20;

std::set<int> connectedSockets() {
  std::set<int> found;
  DIR* directory = ::opendir("/proc/self/fd");
  while (const dirent* entry = ::readdir(directory)) {
    const int fd = std::atoi(entry->d_name);
    SocketAddress peer;
    peer.length = sizeof peer.storage;
    if (::getpeername(fd, reinterpret_cast<sockaddr*>(&peer.storage), &peer.length) == 0) found.insert(fd);
  }
  ::closedir(directory);
  return found;
}

// Both ends of what has been connected since `before` receive nothing any more.
void drop(const std::set<int>& before) {
  sock_filter nothing[] = {BPF_STMT(BPF_RET | BPF_K, 0)};
  const sock_fprog program{1, nothing};
  int dropped = 0;
  for (const int fd : connectedSockets()) {
    if (before.contains(fd)) continue;
    const int attached = ::setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
    if (attached != 0 && errno == EPERM) check::skip("this machine lets only root drop what a socket receives");
    CHECK_EQ(attached, 0);
    ++dropped;
  }
  CHECK_EQ(dropped, 2);
}

void endsAtBothEnds(Pair& pair, Clock::time_point droppedAt) {
  CHECK_EQ(pair.client.handler->waitClosed().code, ErrorCode::connectionBroken);
  CHECK_EQ(pair.served->handler->waitClosed().code, ErrorCode::connectionBroken);
  const auto after = Clock::now() - droppedAt;
  std::printf("# known at both ends after %lld ms\n",
              static_cast<long long>(std::chrono::duration_cast<std::chrono::milliseconds>(after).count()));
  CHECK(after < kKnownWithin);
}

void readsOne(Pair& pair) {
  std::vector<std::byte> sink(1);
  const LocalSegment segment{sink.data(), 1, nullptr};
  CHECK(pair.client.post({WorkRequest::Kind::read, 9, {&segment, 1}, pair.at(0), pair.served->window.key}).ok());
  pair.client.settle(1);
}

TEST(a_dropped_flow_is_known_of_at_both_ends_and_a_peer_that_is_merely_stopped_is_waited_for) {
  std::vector<std::byte> bytes = pattern(kBytes, 3);
  const LocalSegment segment{bytes.data(), bytes.size(), nullptr};
  // As SIGSTOP has it: the process does not read, however full the way to it is, and its kernel answers.
  Server stopped(kBytes);
  Pair waiting(stopped);
  std::promise<void> goOn;
  CHECK(waiting.served->loop->post([&] { goOn.get_future().wait(); }));
  CHECK(waiting.client.post({WorkRequest::Kind::write, 1, {&segment, 1}, waiting.at(0), waiting.served->window.key})
            .ok());
  const auto stoppedAt = Clock::now();

  Server server(kBytes);
  Pair other(server);
  auto before = connectedSockets();
  Pair idle(server);
  drop(before);
  before = connectedSockets();
  Pair busy(server);
  drop(before);
  const auto droppedAt = Clock::now();
  CHECK(busy.client.post({WorkRequest::Kind::write, 1, {&segment, 1}, busy.at(0), busy.served->window.key}).ok());
  CHECK(busy.client.post({WorkRequest::Kind::read, 2, {&segment, 1}, busy.at(0), busy.served->window.key}).ok());
  endsAtBothEnds(idle, droppedAt);
  endsAtBothEnds(busy, droppedAt);
  for (const Completion& completion : busy.client.handler->waitCompletions(2))
    CHECK_EQ(completion.status, ErrorCode::connectionBroken);
  readsOne(other);

  std::this_thread::sleep_until(stoppedAt + 4s);
  CHECK_EQ(waiting.client.handler->completed(), 0U);
  goOn.set_value();
  waiting.client.settle(1);
  readsOne(waiting);
  CHECK(stopped.memory == bytes);
}

}  // namespace

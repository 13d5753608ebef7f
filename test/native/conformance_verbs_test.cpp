// conformance_verbs_test.cpp -- the conformance suite on the verbs fabric.
//
//   RDMA_CHECKPOINT_TEST_ADDRESS=192.0.2.1   an address of an RDMA device of this machine; without it nothing runs
//   RDMA_CHECKPOINT_TEST_DEVICE=iwarp        the device speaks iWARP, where a refusal ends the connection without a reason
#include "conformance/lifecycle.h"
#include "conformance/operations.h"
#include "conformance/polling.h"
#include "conformance/refusals.h"

#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <cstdio>
#include <fstream>

#include "base/file_descriptor.h"

namespace {

std::string setting(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

// What the kernel counts, of every process: protection domains, queues, connections and registrations of each device.
std::string kernelCounts() {
  std::string text;
  FILE* output = ::popen("rdma resource show", "re");
  CHECK(output != nullptr);
  char line[256];
  while (std::fgets(line, sizeof line, output) != nullptr)
    text += line;
  CHECK_EQ(::pclose(output), 0);
  CHECK(text.find(" qp ") != std::string::npos);
  return text;
}

// The three ways in which a connection ends: closed by its client, fenced by the unit, dropped by its client unasked.
TEST(a_thousand_connections_that_came_and_went_leave_nothing_in_the_kernel) {
  using namespace conformance;
  const auto comeAndGo = [](Server& server, int turn) {
    Pair pair(server);
    std::byte byte{static_cast<unsigned char>(turn)};
    const LocalSegment segment{&byte, 1, nullptr};
    CHECK(pair.client.post(pair.write(1, {&segment, 1}, 0)).ok());
    CHECK(pair.client.post(pair.read(2, {&segment, 1}, 0)).ok());
    pair.client.settle(2);
    CHECK_EQ(static_cast<int>(byte), turn & 0xff);
    if (turn % 3 == 0) pair.client.connection->close();
    if (turn % 3 == 1)
      runOn(*pair.served->loop, [&] {
        if (pair.served->handler->alive != nullptr) pair.served->handler->alive->close();
      });
  };
  Server server(64);
  comeAndGo(server, 0);  // what is made once, at first use
  const auto settled = [](const std::string* wanted) {
    std::string now = kernelCounts();
    for (int i = 0; i < 100 && (wanted == nullptr ? i < 5 : now != *wanted); ++i) {
      std::this_thread::sleep_for(50ms);
      now = kernelCounts();
    }
    return now;
  };
  const std::string before = settled(nullptr);
  constexpr int kConnections = 1000;
  for (int turn = 1; turn <= kConnections; ++turn)
    comeAndGo(server, turn);
  const std::string after = settled(&before);
  std::printf("# after %d connections: %s", kConnections, after.c_str());
  CHECK_EQ(after, before);
}

// Sockets of TCP that hold every fourth of the local ports that the kernel gives out at the address.
std::vector<rdmacp::FileDescriptor> holdPortsOfTcp(const rdmacp::fabric::SocketAddress& address) {
  using namespace rdmacp;
  int low = 0;
  int high = 0;
  std::ifstream("/proc/sys/net/ipv4/ip_local_port_range") >> low >> high;
  CHECK(low > 0 && high > low);
  rlimit files{};
  CHECK_EQ(::getrlimit(RLIMIT_NOFILE, &files), 0);
  const rlim_t needed = static_cast<rlim_t>((high - low) / 4 + 1024);
  if (files.rlim_cur < needed) {
    const rlimit raised{needed, std::max(needed, files.rlim_max)};
    if (::setrlimit(RLIMIT_NOFILE, &raised) != 0) check::skip(std::to_string(needed) + " open files are not allowed");
  }
  std::vector<FileDescriptor> held;
  for (int port = low; port <= high; port += 4) {
    FileDescriptor socket(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    CHECK(static_cast<bool>(socket));
    const auto at = fabric::SocketAddress::parse(address.host(), static_cast<std::uint16_t>(port)).value();
    // One that somebody else has is taken already.
    if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&at.storage), at.length) == 0) {
      held.push_back(std::move(socket));
    }
  }
  CHECK(held.size() > static_cast<std::size_t>(high - low) / 8);
  return held;
}

// The connection manager gives out local ports without asking TCP, whose ports an iWARP device uses.
TEST(local_ports_that_tcp_has_taken_are_passed_over) {
  using namespace conformance;
  const std::vector<FileDescriptor> held = holdPortsOfTcp(fabricUnderTest().address);
  std::byte byte{};
  const LocalSegment segment{&byte, 1, nullptr};
  constexpr std::size_t kConnections = 60;
  std::vector<std::unique_ptr<Server>> servers;
  std::vector<std::unique_ptr<Pair>> pairs;
  for (std::size_t i = 0; i < kConnections; ++i) {
    byte = static_cast<std::byte>(i);
    servers.push_back(std::make_unique<Server>(64));
    pairs.push_back(std::make_unique<Pair>(*servers.back()));
    CHECK(pairs.back()->client.post(pairs.back()->write(1, {&segment, 1}, 0)).ok());
    pairs.back()->client.settle(1);
    CHECK(servers.back()->memory[0] == byte);
  }
  // What a client is told of its own accord, when nothing of its own makes it look: after the last nudge of the set-up.
  std::this_thread::sleep_for(1500ms);
  for (const auto& pair : pairs) {
    CHECK(pair->served->connection->post(std::vector<WorkRequest>{{WorkRequest::Kind::send, 1, {&segment, 1}}}).ok());
    CHECK_EQ(pair->client.handler->waitMessages(1)[0].size(), segment.length);
  }
}

// After the tests above have registered themselves.
[[maybe_unused]] const bool hasDevice = [] {
  if (!setting("RDMA_CHECKPOINT_TEST_ADDRESS").empty()) return true;
  std::printf(
      "# skipped %zu tests of the verbs fabric: RDMA_CHECKPOINT_TEST_ADDRESS names no RDMA device; "
      "`npm run test:soft-roce` runs them in a virtual machine\n",
      check::tests().size());
  check::tests().clear();
  return false;
}();

}  // namespace

namespace conformance {

UnderTest& fabricUnderTest() {
  static UnderTest under = [] {
    auto address = SocketAddress::parse(setting("RDMA_CHECKPOINT_TEST_ADDRESS"), 0);
    CHECK(address.ok());
    auto fabric = makeVerbsFabric();
    if (!fabric) check::fail(__FILE__, __LINE__, fabric.error().message);
    const bool iwarp = setting("RDMA_CHECKPOINT_TEST_DEVICE") == "iwarp";
    UnderTest made{fabric.value(), address.value(), !iwarp, false};
    // siw looks for a read's key and bounds, not for the right (siw_qp_sq_proc_tx asks siw_check_sgl_tx for none).
    made.checksReadRight = !iwarp;
    // What comes in one segment with siw's reply ends the set-up (CONNECT_ERROR -22, now and then).
    made.acceptorSpeaksFirst = !iwarp;
    return made;
  }();
  return under;
}

}  // namespace conformance

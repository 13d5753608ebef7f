// conformance_interop_test.cpp -- interoperation: the user-space iWARP fabric with the kernel's soft-iWARP, either way
// round, through the data operations of the conformance suite.
//
//   RDMA_CHECKPOINT_TEST_ADDRESS=192.0.2.1          an address of an iWARP device of this machine; without it nothing runs
//   RDMA_CHECKPOINT_TEST_CLIENT=iwarp | verbs       which fabric connects; the other one listens
#include "conformance/operations.h"
#include "conformance/polling.h"

namespace {

std::string setting(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

// After the tests above have registered themselves.
[[maybe_unused]] const bool hasDevice = [] {
  if (!setting("RDMA_CHECKPOINT_TEST_CLIENT").empty()) return true;
  std::printf(
      "# skipped %zu tests of interoperation: RDMA_CHECKPOINT_TEST_CLIENT names no fabric; "
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
    auto verbs = makeVerbsFabric();
    if (!verbs) check::fail(__FILE__, __LINE__, verbs.error().message);
    const bool verbsConnects = setting("RDMA_CHECKPOINT_TEST_CLIENT") == "verbs";
    UnderTest made{verbsConnects ? makeIwarpFabric() : verbs.value(), address.value(), false, false};
    made.acceptorSpeaksFirst = !verbsConnects;
    made.connecting = verbsConnects ? verbs.value() : makeIwarpFabric();
    return made;
  }();
  return under;
}

}  // namespace conformance

// conformance_verbs_test.cpp -- the conformance suite on the verbs fabric.
//
//   RDMA_CHECKPOINT_TEST_ADDRESS=192.0.2.1   an address of an RDMA device of this machine; without it nothing runs
//   RDMA_CHECKPOINT_TEST_DEVICE=iwarp        the device speaks iWARP, where a refusal ends the connection without a reason
#include "conformance/lifecycle.h"
#include "conformance/operations.h"
#include "conformance/refusals.h"

namespace {

std::string setting(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
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
    return made;
  }();
  return under;
}

}  // namespace conformance

// conformance_iwarp_test.cpp -- the conformance suite on the user-space iWARP fabric, over loopback.
#include "conformance/lifecycle.h"
#include "conformance/operations.h"
#include "conformance/polling.h"
#include "conformance/refusals.h"

namespace conformance {

UnderTest& fabricUnderTest() {
  static UnderTest under = [] {
    const char* host = std::getenv("RC_CONFORMANCE_ADDRESS");
    auto address = SocketAddress::parse(host != nullptr ? host : "127.0.0.1", 0);
    CHECK(address.ok());
    return UnderTest{makeIwarpFabric(), address.value()};
  }();
  return under;
}

}  // namespace conformance

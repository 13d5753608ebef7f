// verbs_absent.cpp -- stands for the verbs fabric in a build for which its headers were not found. Any thread.
#include "fabric.h"

#ifndef RC_HAVE_VERBS

namespace rdmacp::fabric {

namespace {

Error absent() {
  return Error{ErrorCode::notSupported,
               "this build has no verbs fabric, because the headers of libibverbs and librdmacm were not found when it "
               "was made. Install them (apt-get install libibverbs-dev librdmacm-dev, or dnf install rdma-core-devel) "
               "and build again: npm rebuild rdma-checkpoint --build-from-source; or use transport 'iwarp'",
               0};
}

}  // namespace

Result<std::shared_ptr<Fabric>> makeVerbsFabric() {
  return absent();
}

Result<std::vector<VerbsDevice>> listVerbsDevices() {
  return absent();
}

}  // namespace rdmacp::fabric

#endif

// verbs_absent.cpp -- stands for the verbs fabric in a build without it (see native/build/gyp-inputs.cjs). Any thread.
#include "fabric.h"

#ifndef RC_HAVE_VERBS

namespace rdmacp::fabric {

namespace {

Error absent() {
  return Error{ErrorCode::notSupported,
               "this build has no verbs fabric: infiniband/verbs.h and rdma/rdma_cma.h were not found. Install them "
               "(apt-get install libibverbs-dev librdmacm-dev, or dnf install rdma-core-devel) and build again with "
               "npm run addon; or use transport 'iwarp'",
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

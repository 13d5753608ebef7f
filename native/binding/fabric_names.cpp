// fabric_names.cpp -- makes a fabric by name. Any thread.
#include "binding/fabric_names.h"

namespace rdmacp::binding {

Result<std::shared_ptr<fabric::Fabric>> fabricNamed(const std::string& transport,
                                                    std::shared_ptr<fabric::Fabric>& iwarp) {
  if (transport == "iwarp") {
    if (!iwarp) iwarp = fabric::makeIwarpFabric();
    return iwarp;
  }
  if (transport == "verbs") {
    return Error{ErrorCode::notSupported, "this build of the addon has no verbs fabric; use transport 'iwarp'"};
  }
  return Error{ErrorCode::invalidArgument, "transport must be 'iwarp' or 'verbs', not '" + transport + "'"};
}

}  // namespace rdmacp::binding

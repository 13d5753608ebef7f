// fabric_names.cpp -- makes a fabric by name. Any thread.
#include "binding/fabric_names.h"

namespace rdmacp::binding {

Result<std::shared_ptr<fabric::Fabric>> fabricNamed(const std::string& transport, Fabrics& made) {
  if (transport == "iwarp") {
    if (!made.iwarp) made.iwarp = fabric::makeIwarpFabric();
    return made.iwarp;
  }
  if (transport == "verbs") {
    if (made.verbs) return made.verbs;
    auto verbs = fabric::makeVerbsFabric();
    if (verbs) made.verbs = verbs.value();
    return verbs;
  }
  return Error{ErrorCode::invalidArgument, "transport must be 'iwarp' or 'verbs', not '" + transport + "'"};
}

}  // namespace rdmacp::binding

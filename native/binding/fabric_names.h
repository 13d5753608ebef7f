// fabric_names.h -- the fabrics by the names that src/native.ts gives them.
#pragma once

#include <memory>
#include <string>

#include "fabric/fabric.h"

namespace rdmacp::binding {

// Made at first use and kept in `iwarp`. notSupported for a fabric that this build does not have.
Result<std::shared_ptr<fabric::Fabric>> fabricNamed(const std::string& transport,
                                                    std::shared_ptr<fabric::Fabric>& iwarp);

}  // namespace rdmacp::binding

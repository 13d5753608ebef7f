// fabric_names.h -- the fabrics by the names that src/native.ts gives them.
#pragma once

#include <memory>
#include <string>

#include "binding/node_api.h"
#include "fabric/fabric.h"

namespace rdmacp::binding {

// Those that were made, by one engine or one responder.
struct Fabrics {
  std::shared_ptr<fabric::Fabric> iwarp;
  std::shared_ptr<fabric::Fabric> verbs;
};

// Made at first use. notSupported for a fabric that this build does not have or whose libraries are not there.
Result<std::shared_ptr<fabric::Fabric>> fabricNamed(const std::string& transport, Fabrics& made);

// verbsDevices() of src/native.ts.
Napi::Value verbsDevices(const Napi::CallbackInfo& info);

}  // namespace rdmacp::binding

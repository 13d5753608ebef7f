// memory.h -- crc32c, copyCrc32c, takeChanges and allocate: memory functions without state.
#pragma once

#include "binding/node_api.h"

namespace rdmacp::binding {

Napi::Value crc32cOf(const Napi::CallbackInfo& info);
Napi::Value copyCrc32cOf(const Napi::CallbackInfo& info);
Napi::Value takeChangesOf(const Napi::CallbackInfo& info);
Napi::Value allocate(const Napi::CallbackInfo& info);

}  // namespace rdmacp::binding

// service_manager_function.h -- notifyServiceManager() of src/native.ts. The JavaScript thread.
#pragma once

#include "binding/node_api.h"

namespace rdmacp::binding {

void notifyServiceManagerOf(const Napi::CallbackInfo& info);

}  // namespace rdmacp::binding

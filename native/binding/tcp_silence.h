// tcp_silence.h -- how long a TCP connection of JavaScript's may be silent, for its kernel to find out.
#pragma once

#include "binding/node_api.h"

namespace rdmacp::binding {

// boundTcpSilence(descriptor, ms): see native.ts. The JavaScript thread.
Napi::Value boundTcpSilence(const Napi::CallbackInfo& info);

}  // namespace rdmacp::binding

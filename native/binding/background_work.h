// background_work.h -- a blocking call on libuv's pool, and the promise of its result.
#pragma once

#include <functional>

#include "binding/environment.h"

namespace rdmacp::binding {

// execute runs on a pool thread. finish, if given, runs on the JavaScript thread afterwards with what execute returned,
// and returns the value that the promise resolves with (null: undefined); it runs after a failure too.
using Execute = std::function<Status()>;
using Finish = std::function<napi_value(const Status&)>;

// Returns the promise; empty with an exception pending when it could not be started.
Napi::Value runInBackground(Environment& environment, const char* name, Execute execute, Finish finish = {});

}  // namespace rdmacp::binding

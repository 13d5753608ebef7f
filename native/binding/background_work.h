// background_work.h -- a blocking call on libuv's pool or on threads of our own, and the promise of its result.
#pragma once

#include <functional>

#include "base/worker_threads.h"
#include "binding/environment.h"

namespace rdmacp::binding {

// execute runs on a pool thread. finish, if given, runs on the JavaScript thread afterwards with what execute returned,
// and returns the value that the promise resolves with (null: undefined); it runs after a failure too.
using Execute = std::function<Status()>;
using Finish = std::function<napi_value(const Status&)>;

// Returns the promise; empty with an exception pending when it could not be started.
Napi::Value runInBackground(Environment& environment, const char* name, Execute execute, Finish finish = {});

// The same on these threads. They are stopped before the environment ends (a Service sees to it); what has not run by then
// never settles, as nothing of the environment's does.
Napi::Value runOnWorkers(Environment& environment, WorkerThreads& workers, Execute execute, Finish finish = {});

}  // namespace rdmacp::binding

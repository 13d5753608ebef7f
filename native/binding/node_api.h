// node_api.h -- the one place that includes Node-API and libuv, with the settings that every binding file needs.
#pragma once

// While an environment is being torn down nothing can be thrown into it; that is no reason to abort the process.
#define NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS

#include <napi.h>
#include <uv.h>

// native_error.h -- errors as values into JavaScript errors, with the two fields that src/native.ts promises.
#pragma once

#include "base/result.h"
#include "binding/node_api.h"

namespace rdmacp::binding {

// An Error (a TypeError for invalidArgument) with nativeCode and systemError. Empty while the environment is going down.
napi_value makeError(Napi::Env env, const Error& error);

// Throws it; the empty value is for `return throwError(...)`.
Napi::Value throwError(Napi::Env env, const Error& error);
Napi::Value throwInvalid(Napi::Env env, const std::string& message);

}  // namespace rdmacp::binding

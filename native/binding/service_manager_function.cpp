// service_manager_function.cpp -- sd_notify(3) for `serve`. The JavaScript thread, which it never keeps waiting.
#include "binding/service_manager_function.h"

#include <string>

#include "base/service_manager.h"
#include "binding/native_error.h"

namespace rdmacp::binding {

void notifyServiceManagerOf(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (info.Length() < 2 || !info[0].IsString() || !info[1].IsString()) {
    throwError(env,
               Error{ErrorCode::invalidArgument, "notifyServiceManager takes an address and a state, two strings"});
    return;
  }
  const std::string address = info[0].As<Napi::String>();
  const std::string state = info[1].As<Napi::String>();
  if (Status told = notifyServiceManager(address, state); !told) throwError(env, told.error());
}

}  // namespace rdmacp::binding

// notice.cpp -- see notice.h. The JavaScript thread.
#include "binding/notice.h"

#include <utility>

namespace rdmacp::binding {

bool Notice::keep(Napi::Env env, napi_value handler) {
  return napi_create_reference(env, handler, 1, &handler_) == napi_ok;
}

void Notice::deliver(Environment& environment) {
  napi_value handler = nullptr;
  if (handler_ == nullptr || napi_get_reference_value(environment.env(), handler_, &handler) != napi_ok) return;
  environment.call(handler, method_, {});
}

void Notice::drop(Napi::Env env) {
  if (handler_ != nullptr) (void)napi_delete_reference(env, std::exchange(handler_, nullptr));
}

}  // namespace rdmacp::binding

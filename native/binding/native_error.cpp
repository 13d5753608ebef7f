// native_error.cpp -- makes and throws JavaScript errors. The JavaScript thread.
#include "binding/native_error.h"

namespace rdmacp::binding {

namespace {

void setNumber(napi_env env, napi_value object, const char* name, double number) {
  napi_value value = nullptr;
  if (napi_create_double(env, number, &value) != napi_ok) return;
  (void)napi_set_named_property(env, object, name, value);
}

}  // namespace

napi_value makeError(Napi::Env env, const Error& error) {
  napi_value message = nullptr;
  if (napi_create_string_utf8(env, error.message.data(), error.message.size(), &message) != napi_ok) return nullptr;
  napi_value made = nullptr;
  const bool invalid = error.code == ErrorCode::invalidArgument;
  const napi_status status =
      invalid ? napi_create_type_error(env, nullptr, message, &made) : napi_create_error(env, nullptr, message, &made);
  if (status != napi_ok) return nullptr;
  setNumber(env, made, "nativeCode", static_cast<double>(error.code));
  setNumber(env, made, "systemError", error.systemError);
  return made;
}

Napi::Value throwError(Napi::Env env, const Error& error) {
  bool pending = false;
  if (napi_is_exception_pending(env, &pending) == napi_ok && !pending) {
    if (napi_value made = makeError(env, error); made != nullptr) (void)napi_throw(env, made);
  }
  return {};
}

Napi::Value throwInvalid(Napi::Env env, const std::string& message) {
  return throwError(env, {ErrorCode::invalidArgument, message});
}

}  // namespace rdmacp::binding

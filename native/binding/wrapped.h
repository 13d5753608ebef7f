// wrapped.h -- native classes as JavaScript classes whose methods refuse any other object.
//
// A class T has: static constexpr ClassName kName; static constexpr napi_type_tag kTag; static constexpr const char*
// kText; static std::unique_ptr<T> construct(const Napi::CallbackInfo&), null with an exception pending on failure.
// A type tag is checked before the native pointer is touched, so that a method called on a wrong object throws.
#pragma once

#include <memory>
#include <vector>

#include "binding/environment.h"
#include "binding/native_error.h"

namespace rdmacp::binding {

// Null, with a TypeError pending, when the value is no T.
template <class T>
T* unwrap(Napi::Env env, napi_value value) {
  bool matches = false;
  void* native = nullptr;
  if (value == nullptr || napi_check_object_type_tag(env, value, &T::kTag, &matches) != napi_ok || !matches ||
      napi_unwrap(env, value, &native) != napi_ok) {
    throwInvalid(env, std::string("expected a ") + T::kText);
    return nullptr;
  }
  return static_cast<T*>(native);
}

template <class T, Napi::Value (T::*Method)(const Napi::CallbackInfo&)>
napi_value callMethod(napi_env env, napi_callback_info raw) {
  const Napi::CallbackInfo info(env, raw);
  T* native = unwrap<T>(info.Env(), info.This());
  if (native == nullptr) return nullptr;
  return (native->*Method)(info);
}

template <Napi::Value (*Function)(const Napi::CallbackInfo&)>
napi_value callFunction(napi_env env, napi_callback_info raw) {
  const Napi::CallbackInfo info(env, raw);
  return Function(info);
}

template <class T>
void finalize(napi_env /*env*/, void* native, void* /*hint*/) {
  const std::unique_ptr<T> freed(static_cast<T*>(native));
}

template <class T>
napi_value constructWrapped(napi_env env, napi_callback_info raw) {
  const Napi::CallbackInfo info(env, raw);
  if (!info.IsConstructCall()) {
    throwInvalid(info.Env(), std::string(T::kText) + " is a class: call it with new");
    return nullptr;
  }
  std::unique_ptr<T> native = T::construct(info);
  if (!native) return nullptr;
  if (napi_type_tag_object(env, info.This(), &T::kTag) != napi_ok) return nullptr;
  if (napi_wrap(env, info.This(), native.get(), finalize<T>, nullptr, nullptr) != napi_ok) return nullptr;
  (void)native.release();
  return info.This();
}

// What construct() of a class does that only native code makes instances of.
template <class T>
std::unique_ptr<T> takeHandoff(const Napi::CallbackInfo& info) {
  Environment& environment = Environment::of(info.Env());
  std::unique_ptr<T> native(static_cast<T*>(std::exchange(environment.handoff, nullptr)));
  if (!native) throwInvalid(info.Env(), std::string(T::kText) + " cannot be made by new");
  return native;
}

// A JavaScript object around a native one; empty with an exception pending on failure, and the native object is gone.
template <class T>
napi_value wrapNew(Environment& environment, std::unique_ptr<T> native) {
  napi_value object = nullptr;
  environment.handoff = native.release();
  const napi_status status =
      napi_new_instance(environment.env(), environment.constructor(T::kName), 0, nullptr, &object);
  const std::unique_ptr<T> untaken(static_cast<T*>(std::exchange(environment.handoff, nullptr)));
  return status == napi_ok ? object : nullptr;
}

template <class T, Napi::Value (T::*Method)(const Napi::CallbackInfo&)>
napi_property_descriptor method(const char* name) {
  return {name, nullptr, callMethod<T, Method>, nullptr, nullptr, nullptr, napi_default_method, nullptr};
}

template <class T, Napi::Value (T::*Getter)(const Napi::CallbackInfo&)>
napi_property_descriptor getter(const char* name) {
  return {name, nullptr, nullptr, callMethod<T, Getter>, nullptr, nullptr, napi_enumerable, nullptr};
}

template <Napi::Value (*Function)(const Napi::CallbackInfo&)>
napi_property_descriptor staticMethod(const char* name) {
  return {name, nullptr, callFunction<Function>, nullptr, nullptr, nullptr, napi_static, nullptr};
}

// Defines the class and, if exported, sets it on exports.
template <class T>
void defineClass(Environment& environment, const std::vector<napi_property_descriptor>& properties,
                 const char* exportAs = nullptr, Napi::Object exports = {}) {
  napi_value made = nullptr;
  if (napi_define_class(environment.env(), T::kText, NAPI_AUTO_LENGTH, constructWrapped<T>, nullptr, properties.size(),
                        properties.data(), &made) != napi_ok) {
    return;
  }
  environment.setConstructor(T::kName, made);
  if (exportAs != nullptr) (void)napi_set_named_property(environment.env(), exports, exportAs, made);
}

}  // namespace rdmacp::binding

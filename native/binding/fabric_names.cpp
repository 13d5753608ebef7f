// fabric_names.cpp -- makes a fabric by name (any thread), and lists devices (the JavaScript thread).
#include "binding/fabric_names.h"

#include "binding/native_error.h"

namespace rdmacp::binding {

Result<std::shared_ptr<fabric::Fabric>> fabricNamed(const std::string& transport, Fabrics& made) {
  if (transport == "iwarp") {
    if (!made.iwarp) made.iwarp = fabric::makeIwarpFabric();
    return made.iwarp;
  }
  if (transport == "verbs") {
    if (made.verbs) return made.verbs;
    auto verbs = fabric::makeVerbsFabric();
    if (verbs) made.verbs = verbs.value();
    return verbs;
  }
  return Error{ErrorCode::invalidArgument, "transport must be 'iwarp' or 'verbs', not '" + transport + "'"};
}

Napi::Value verbsDevices(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto found = fabric::listVerbsDevices();
  if (!found) return throwError(env, found.error());
  Napi::Array list = Napi::Array::New(env);
  for (const fabric::VerbsDevice& device : found.value()) {
    Napi::Object object = Napi::Object::New(env);
    object.Set("name", device.name);
    object.Set("iwarp", device.iwarp);
    object.Set("windows", device.windows);
    object.Set("flush", device.flush);
    object.Set("queuePairs", device.queuePairs);
    object.Set("registrations", device.registrations);
    object.Set("reads", device.reads);
    object.Set("registrationBytes", Napi::BigInt::New(env, device.registrationBytes));
    object.Set("problem", device.problem);
    list.Set(list.Length(), object);
  }
  return list;
}

}  // namespace rdmacp::binding

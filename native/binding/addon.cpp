// addon.cpp -- what the addon exports to one environment; src/native.ts documents it.
#include "binding/data_channel_class.h"
#include "binding/engine.h"
#include "binding/environment.h"
#include "binding/fabric_names.h"
#include "binding/medium_class.h"
#include "binding/memory.h"
#include "binding/native_error.h"
#include "binding/node_api.h"
#include "binding/peer_link_class.h"
#include "binding/responder_class.h"
#include "binding/service_manager_function.h"
#include "binding/session_channel_class.h"
#include "binding/tcp_silence.h"

#ifndef RC_VERSION
#error "RC_VERSION is the package's version; binding.gyp defines it"
#endif

namespace rdmacp::binding {

namespace {

#ifdef RC_SHADOW_FILE_IO
constexpr bool kShadowFileIo = true;
#else
constexpr bool kShadowFileIo = false;
#endif

Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  if (Status created = Environment::create(env); !created) {
    throwError(env, created.error());
    return exports;
  }
  Environment& environment = Environment::of(env);
  Napi::Array fabrics = Napi::Array::New(env);
  fabrics.Set(0U, "iwarp");
  fabrics.Set(1U, "verbs");
  exports.Set("version", RC_VERSION);
  exports.Set("fabrics", fabrics);
  exports.Set("shadowFileIo", kShadowFileIo);
  exports.Set("crc32c", Napi::Function::New<crc32cOf>(env, "crc32c"));
  exports.Set("copyCrc32c", Napi::Function::New<copyCrc32cOf>(env, "copyCrc32c"));
  exports.Set("takeChanges", Napi::Function::New<takeChangesOf>(env, "takeChanges"));
  exports.Set("allocate", Napi::Function::New<allocate>(env, "allocate"));
  exports.Set("boundTcpSilence", Napi::Function::New<boundTcpSilence>(env, "boundTcpSilence"));
  exports.Set("verbsDevices", Napi::Function::New<verbsDevices>(env, "verbsDevices"));
  exports.Set("notifyServiceManager", Napi::Function::New<notifyServiceManagerOf>(env, "notifyServiceManager"));
  Medium::define(environment, exports);
  Responder::define(environment, exports);
  Engine::define(environment, exports);
  PeerLink::define(environment, exports);
  DataChannel::define(environment);
  SessionChannel::define(environment);
  return exports;
}

}  // namespace

NODE_API_MODULE(rdma_checkpoint, initialize)

}  // namespace rdmacp::binding

// responder_class.h -- the Responder class: a unit's data plane for JavaScript. Its methods run on the JavaScript thread; the
// data plane itself has threads of its own and needs none of JavaScript's.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "binding/device_notice.h"
#include "binding/fabric_names.h"
#include "binding/medium_class.h"
#include "binding/notice.h"
#include "binding/wrapped.h"
#include "fabric/fabric.h"
#include "unit/responder.h"

namespace rdmacp::binding {

// Kept by the environment until it has been stopped: a responder that JavaScript forgets goes on serving.
class ResponderService final : public Service {
 public:
  explicit ResponderService(std::shared_ptr<unit::Responder> responder) : responder_(std::move(responder)) {}
  void shutDown() override { responder_->stop(); }
  const std::shared_ptr<unit::Responder>& responder() const { return responder_; }

  // The responder's connections refer to their fabric, so that it lives as long as they may.
  Fabrics fabrics;

 private:
  std::shared_ptr<unit::Responder> responder_;
};

class Responder {
 public:
  static constexpr ClassName kName = ClassName::responder;
  static constexpr napi_type_tag kTag{0x4be07c19a5f3468dULL, 0xb1d25c3ea97f0846ULL};
  static constexpr const char* kText = "Responder";
  static std::unique_ptr<Responder> construct(const Napi::CallbackInfo& info);
  static void define(Environment& environment, Napi::Object exports);

 private:
  Napi::Value listen(const Napi::CallbackInfo& info);
  Napi::Value addRegion(const Napi::CallbackInfo& info);
  Napi::Value removeRegion(const Napi::CallbackInfo& info);
  Napi::Value fence(const Napi::CallbackInfo& info);
  Napi::Value dropHandle(const Napi::CallbackInfo& info);
  Napi::Value makeDurable(const Napi::CallbackInfo& info);
  Napi::Value addSession(const Napi::CallbackInfo& info);
  Napi::Value removeSession(const Napi::CallbackInfo& info);
  Napi::Value sessions(const Napi::CallbackInfo& info);
  Napi::Value leaseTime(const Napi::CallbackInfo& info);
  Napi::Value issueToken(const Napi::CallbackInfo& info);
  Napi::Value counters(const Napi::CallbackInfo& info);
  Napi::Value stop(const Napi::CallbackInfo& info);

  // Null, with an exception pending, once stop was called.
  unit::Responder* running(Napi::Env env) const;

  // Shared with the work that stops it. The JavaScript thread.
  struct State {
    std::shared_ptr<ResponderService> service;  // null once stopped
    std::shared_ptr<MediumState> medium;
    std::shared_ptr<Notice> notice;              // null without a handler
    std::shared_ptr<DeviceNotice> deviceNotice;  // the same
    unit::ResponderCounters lastCounters;
    bool stopping = false;
  };
  std::shared_ptr<State> state_;
};

}  // namespace rdmacp::binding

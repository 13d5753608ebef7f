// medium.h -- the Medium class: a pool's memory, with its blocking calls on libuv's pool. The JavaScript thread.
#pragma once

#include <memory>
#include <vector>

#include "binding/wrapped.h"
#include "media/medium.h"

namespace rdmacp::binding {

// Shared by the JavaScript object, the work under way and the responders over it. The JavaScript thread.
struct MediumState {
  std::shared_ptr<media::Medium> medium;  // null once closed
  std::size_t works = 0;
  std::size_t responders = 0;
  bool closing = false;
  std::vector<napi_deferred> closers;
};

class Medium {
 public:
  static constexpr ClassName kName = ClassName::medium;
  static constexpr napi_type_tag kTag{0x9c5f1a0be2d84c37ULL, 0x8f3b6a51d0e7924dULL};
  static constexpr const char* kText = "Medium";
  static std::unique_ptr<Medium> construct(const Napi::CallbackInfo& info) { return takeHandoff<Medium>(info); }
  static void define(Environment& environment, Napi::Object exports);

  explicit Medium(std::shared_ptr<MediumState> state) : state_(std::move(state)) {}

  const std::shared_ptr<MediumState>& state() const { return state_; }

 private:
  static Napi::Value open(const Napi::CallbackInfo& info);

  Napi::Value bytes(const Napi::CallbackInfo& info);
  Napi::Value blockSize(const Napi::CallbackInfo& info);
  Napi::Value durable(const Napi::CallbackInfo& info);
  Napi::Value read(const Napi::CallbackInfo& info);
  Napi::Value write(const Napi::CallbackInfo& info);
  Napi::Value flush(const Napi::CallbackInfo& info);
  Napi::Value zero(const Napi::CallbackInfo& info);
  Napi::Value load(const Napi::CallbackInfo& info);
  Napi::Value close(const Napi::CallbackInfo& info);

  bool usable(Napi::Env env) const;
  Status inBounds(std::uint64_t offset, std::uint64_t length) const;
  Napi::Value run(Napi::Env env, const char* name, std::function<Status(media::Medium&)> work);

  std::shared_ptr<MediumState> state_;
};

}  // namespace rdmacp::binding

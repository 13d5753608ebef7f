// medium_class.h -- the Medium class: a pool's memory, with its blocking calls on threads of its own. The JavaScript thread.
//
// The threads that flush are others than those that zero and load: a change of the pool's tables does not wait until a
// region of many gigabytes has been zeroed.
#pragma once

#include <memory>
#include <vector>

#include "base/worker_threads.h"
#include "binding/notice.h"
#include "binding/wrapped.h"
#include "media/medium.h"

namespace rdmacp::binding {

// Kept by the environment until the medium has been closed or forgotten, so that its threads end before the environment.
class MediumThreads final : public Service {
 public:
  void shutDown() override {
    flushes.stop();
    bulk.stop();
  }

  WorkerThreads flushes{"rdmacp-tables", 1};  // calls that wait for each other: the pool gathers what comes meanwhile
  WorkerThreads bulk{"rdmacp-zero", 4};
};

// Shared by the JavaScript object, the work under way and the responders over it. The JavaScript thread.
struct MediumState {
  explicit MediumState(Environment& environment);
  ~MediumState();
  MediumState(const MediumState&) = delete;
  MediumState& operator=(const MediumState&) = delete;
  // Once nothing is under way.
  void endThreads();

  std::weak_ptr<Environment> environment;
  std::shared_ptr<MediumThreads> threads;
  std::shared_ptr<Notice> notice;         // of a failure; null without a handler
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
  Napi::Value failure(const Napi::CallbackInfo& info);
  Napi::Value read(const Napi::CallbackInfo& info);
  Napi::Value write(const Napi::CallbackInfo& info);
  Napi::Value flush(const Napi::CallbackInfo& info);
  Napi::Value zero(const Napi::CallbackInfo& info);
  Napi::Value load(const Napi::CallbackInfo& info);
  Napi::Value close(const Napi::CallbackInfo& info);

  bool usable(Napi::Env env) const;
  Status inBounds(std::uint64_t offset, std::uint64_t length) const;
  Napi::Value run(Napi::Env env, WorkerThreads& workers, std::function<Status(media::Medium&)> work);

  std::shared_ptr<MediumState> state_;
};

}  // namespace rdmacp::binding

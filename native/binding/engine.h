// engine.h -- the Engine class: one event-loop thread, and the connections that live on it.
//
// The thread is started by the first connect and joined by close(), by the environment's end, or when the engine is
// collected without open connections. After a fork() the child has no such thread and must not use the engine.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_set>
#include <vector>

#include "binding/fabric_names.h"
#include "binding/wrapped.h"
#include "client/channel.h"
#include "fabric/fabric.h"

namespace rdmacp::binding {

// A connection of the engine's, as the engine sees it. Any thread.
class EngineChannel {
 public:
  virtual ~EngineChannel() = default;
  virtual void close() = 0;
  virtual void abort() = 0;
};

// Loop and channels; shared by the JavaScript object, its channels and the environment.
class EngineCore final : public Service {
 public:
  explicit EngineCore(std::string name) : name_(std::move(name)) {}

  // The JavaScript thread.
  Result<EventLoop*> loop();
  Result<std::shared_ptr<fabric::Fabric>> fabric(const std::string& transport);
  const Fabrics& fabrics() const { return fabrics_; }
  bool closing = false;

  // Any thread.
  void add(std::shared_ptr<EngineChannel> channel);
  void remove(const std::shared_ptr<EngineChannel>& channel);
  bool empty();
  void closeChannels();
  void abortChannels();
  // The native end of a channel has come.
  void channelEnded();
  bool waitForChannels(std::chrono::milliseconds limit);
  void stopLoop();

  void shutDown() override;

 private:
  std::vector<std::shared_ptr<EngineChannel>> channels();

  std::string name_;
  Fabrics fabrics_;

  std::mutex mutex_;
  std::unordered_set<std::shared_ptr<EngineChannel>> channels_;
  std::condition_variable ended_;
  std::size_t open_ = 0;  // channels whose native end has not come
  std::unique_ptr<EventLoop> loop_;
};

class Engine {
 public:
  static constexpr ClassName kName = ClassName::engine;
  static constexpr napi_type_tag kTag{0xe1537d8fb0294c6aULL, 0x97c40e2b58a1fd63ULL};
  static constexpr const char* kText = "Engine";
  static std::unique_ptr<Engine> construct(const Napi::CallbackInfo& info);
  static void define(Environment& environment, Napi::Object exports);

  Engine(Environment& environment, std::shared_ptr<EngineCore> core)
      : environment_(environment.weak_from_this()), core_(std::move(core)) {}
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

 private:
  Napi::Value connectData(const Napi::CallbackInfo& info);
  Napi::Value connectSession(const Napi::CallbackInfo& info);
  Napi::Value close(const Napi::CallbackInfo& info);

  std::weak_ptr<Environment> environment_;
  std::shared_ptr<EngineCore> core_;
};

}  // namespace rdmacp::binding

// session_channel_class.h -- the SessionChannel class: one heartbeating connection, and what it tells JavaScript.
#pragma once

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "binding/engine.h"
#include "binding/wrapped.h"
#include "client/channel.h"

namespace rdmacp::binding {

// Between a client::SessionChannel and its JavaScript handler. Kept by the engine until onClosed was delivered.
class SessionChannelBridge final : public Letter,
                                   public client::SessionChannelHandler,
                                   public EngineChannel,
                                   public std::enable_shared_from_this<SessionChannelBridge> {
 public:
  SessionChannelBridge(Environment& environment, std::shared_ptr<EngineCore> core)
      : mailbox_(environment.mailbox()), core_(std::move(core)) {}

  // The JavaScript thread.
  Status connect(Environment& environment, EventLoop& loop, fabric::Fabric& fabric,
                 const client::ConnectParameters& parameters, napi_value handler);
  void deliver(Environment& environment) override;

  // Any thread.
  void close() override;
  void abort() override;

  // The loop's thread.
  void onOpen(const protocol::Welcome& welcome) override;
  void onMoved(const Error& why) override;
  void onFenced(std::uint64_t handle, std::uint64_t epoch) override;
  void onClosed(const Error& reason) override;

 private:
  using Fence = std::pair<std::uint64_t, std::uint64_t>;  // handle, epoch

  std::shared_ptr<client::SessionChannel> channel();
  void deliverOpen(Environment& environment, napi_value handler, const protocol::Welcome& welcome);
  static void call(Environment& environment, napi_value handler, const char* name, const Error& error);
  void deliverClosed(Environment& environment, napi_value handler, const Error& reason);

  const std::shared_ptr<Mailbox> mailbox_;
  const std::shared_ptr<EngineCore> core_;
  napi_ref handler_ = nullptr;  // the JavaScript thread
  bool settingUp_ = false;      // the JavaScript thread

  std::mutex mutex_;
  std::shared_ptr<client::SessionChannel> channel_;
  std::unique_ptr<protocol::Welcome> opened_;
  std::unique_ptr<Error> moved_;  // the last time that is not told
  std::vector<Fence> fences_;
  std::unique_ptr<Error> closed_;
};

class SessionChannel {
 public:
  static constexpr ClassName kName = ClassName::sessionChannel;
  static constexpr napi_type_tag kTag{0x7ad40b93ce5f4218ULL, 0x85f2d16c3b0e9a47ULL};
  static constexpr const char* kText = "SessionChannel";
  static std::unique_ptr<SessionChannel> construct(const Napi::CallbackInfo& info) {
    return takeHandoff<SessionChannel>(info);
  }
  static void define(Environment& environment);

  explicit SessionChannel(std::shared_ptr<SessionChannelBridge> bridge) : bridge_(std::move(bridge)) {}
  ~SessionChannel() { bridge_->close(); }
  SessionChannel(const SessionChannel&) = delete;
  SessionChannel& operator=(const SessionChannel&) = delete;

 private:
  Napi::Value close(const Napi::CallbackInfo& info);

  std::shared_ptr<SessionChannelBridge> bridge_;
};

Napi::Value connectSessionChannel(Environment& environment, const std::shared_ptr<EngineCore>& core,
                                  fabric::Fabric& fabric, const client::ConnectParameters& parameters,
                                  Napi::Object handler);

}  // namespace rdmacp::binding

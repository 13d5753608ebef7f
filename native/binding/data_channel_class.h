// data_channel_class.h -- the DataChannel class: operations in from JavaScript, outcomes back to it in batches.
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "binding/allocations.h"
#include "binding/engine.h"
#include "binding/wrapped.h"
#include "client/channel.h"

namespace rdmacp::binding {

// The connection between a client::DataChannel and its JavaScript handler. Kept by the engine until onClosed was delivered.
class DataChannelBridge final : public Letter,
                                public client::DataChannelHandler,
                                public EngineChannel,
                                public std::enable_shared_from_this<DataChannelBridge> {
 public:
  // workDeadline: for each operation; zero for none.
  DataChannelBridge(Environment& environment, std::shared_ptr<EngineCore> core, std::chrono::milliseconds workDeadline)
      : mailbox_(environment.mailbox()), core_(std::move(core)), workDeadline_(workDeadline) {}

  // The JavaScript thread.
  bool refer(Environment& environment, napi_value handler);
  Status connect(Environment& environment, EventLoop& loop, const std::shared_ptr<fabric::Fabric>& fabric,
                 const client::ConnectParameters& parameters);
  // An operation as JavaScript gave it.
  struct Asked {
    double id = 0;
    std::vector<napi_value> buffers;  // what the ranges lie in, one for each
  };
  // One of asked for each operation. ours: nobody else has that memory before the outcome. On failure there is no outcome, nor
  // when it is in `answer` already.
  Status post(Environment& environment, std::span<const Asked> asked, std::span<client::Operation> group, bool ours,
              std::optional<client::Outcome>* answer);
  void deliver(Environment& environment) override;

  // Any thread.
  void close() override;
  void abort() override;

  // The loop's thread.
  void onOpen(const protocol::Grant& grant) override;
  void onOutcomes(std::span<const client::Outcome> outcomes) override;
  void onClosed(const Error& reason) override;

 private:
  std::shared_ptr<client::DataChannel> channel();
  void deliverOpen(Environment& environment, napi_value handler, const protocol::Grant& grant);
  void deliverOutcomes(Environment& environment, napi_value handler, const std::vector<client::Outcome>& outcomes);
  void deliverClosed(Environment& environment, napi_value handler, const Error& reason);
  // A range that is read into a copy, and where it belongs.
  struct Return {
    std::size_t buffer = 0;  // which one of the operation's
    std::size_t copy = 0;
    std::size_t length = 0;
  };
  // A pending operation: the caller's number for it, and the memory that native threads work on.
  struct Slot {
    double id = 0;
    std::vector<std::shared_ptr<Allocation>> allocations;
    std::vector<CopyMemory> copies;
    std::vector<Return> returns;
    bool held = false;     // JavaScript's memory, in the array behind held_
    bool several = false;  // as an array of buffers
  };

  void dropReferences(Environment& environment);
  std::size_t takeSlot(double id);
  Status lend(Environment& environment, client::DataChannel& open, client::Operation& operation, bool ours, Slot& slot);
  bool hold(Environment& environment, std::size_t slot, const std::vector<napi_value>& buffers);
  void bringBack(Environment& environment, napi_value list, std::size_t slot);
  void letGo(Environment& environment, napi_value list, std::size_t slot);

  const std::shared_ptr<Mailbox> mailbox_;
  const std::shared_ptr<EngineCore> core_;
  const std::chrono::milliseconds workDeadline_;

  // The JavaScript thread. In the array behind `held_` lies at the index of a slot what it must not lose of JavaScript's.
  napi_ref handler_ = nullptr;
  napi_ref held_ = nullptr;
  std::vector<Slot> slots_;
  std::vector<std::size_t> freeSlots_;
  std::shared_ptr<fabric::Fabric> fabric_;
  bool settingUp_ = false;

  std::mutex mutex_;
  std::shared_ptr<client::DataChannel> channel_;
  std::unique_ptr<protocol::Grant> opened_;
  std::vector<client::Outcome> outcomes_;
  std::unique_ptr<Error> closed_;
};

class DataChannel {
 public:
  static constexpr ClassName kName = ClassName::dataChannel;
  static constexpr napi_type_tag kTag{0x2fa86d5b71c3490eULL, 0xac1e83f05d7b2964ULL};
  static constexpr const char* kText = "DataChannel";
  static std::unique_ptr<DataChannel> construct(const Napi::CallbackInfo& info) {
    return takeHandoff<DataChannel>(info);
  }
  static void define(Environment& environment);

  explicit DataChannel(std::shared_ptr<DataChannelBridge> bridge) : bridge_(std::move(bridge)) {}
  // A channel that nobody can reach any more is closed.
  ~DataChannel() { bridge_->close(); }
  DataChannel(const DataChannel&) = delete;
  DataChannel& operator=(const DataChannel&) = delete;

 private:
  Napi::Value post(const Napi::CallbackInfo& info);
  Napi::Value postGroup(const Napi::CallbackInfo& info);
  Napi::Value close(const Napi::CallbackInfo& info);

  std::shared_ptr<DataChannelBridge> bridge_;
};

// Starts to connect and returns the JavaScript object; empty with an exception pending on failure.
Napi::Value connectDataChannel(Environment& environment, const std::shared_ptr<EngineCore>& core,
                               const std::shared_ptr<fabric::Fabric>& fabric,
                               const client::ConnectParameters& parameters, std::chrono::milliseconds workDeadline,
                               Napi::Object handler);

}  // namespace rdmacp::binding

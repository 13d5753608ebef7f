// cm_channel.h -- the connection manager's events of one event loop: fetched, acknowledged, then handed on.
//
// Every event is copied and acknowledged before its handler runs, so that the handler may destroy the identifier
// (rdma_destroy_id waits for acknowledgements). Loop thread, but for creation.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "fabric/fabric.h"
#include "fabric/verbs/handles.h"

namespace rdmacp::fabric::verbs {

struct CmEvent {
  rdma_cm_event_type type{};
  int status = 0;
  rdma_cm_id* id = nullptr;            // for a connection request: the new one
  std::vector<std::byte> privateData;  // padded with zeros by some devices
  std::uint8_t responderResources = 0;
  std::uint8_t initiatorDepth = 0;
};

// The manager gives out local ports from a space of its own. An iWARP device uses TCP's, and finds that a port is taken
// there when it binds: then another one is tried, so often in all.
inline constexpr int kPortTries = 16;

class CmHandler {
 public:
  virtual ~CmHandler() = default;
  virtual void onEvent(const CmEvent& event) = 0;
};

class CmChannel final : public FdHandler, public std::enable_shared_from_this<CmChannel> {
 public:
  static Result<std::shared_ptr<CmChannel>> make(const Library& library, EventLoop& loop);
  ~CmChannel() override;
  CmChannel(const CmChannel&) = delete;
  CmChannel& operator=(const CmChannel&) = delete;

  rdma_event_channel* get() const { return channel_.get(); }
  EventLoop& loop() const { return loop_; }
  // An identifier whose events go to handler; the handler must outlive it.
  Result<ConnectionId> createId(CmHandler& handler) const;

 private:
  CmChannel(const Library& library, EventLoop& loop) : library_(library), loop_(loop) {}
  void onReady(std::uint32_t events) override;

  const Library& library_;
  EventLoop& loop_;
  EventChannel channel_;
};

}  // namespace rdmacp::fabric::verbs

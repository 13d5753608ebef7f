// fabric.h -- the verbs fabric: devices of this machine through libibverbs and librdmacm. Any thread.
#pragma once

#include <map>
#include <memory>
#include <mutex>

#include "fabric/fabric.h"
#include "fabric/verbs/cm_channel.h"
#include "fabric/verbs/device.h"

namespace rdmacp::fabric::verbs {

class VerbsFabric final : public Fabric {
 public:
  static Result<std::shared_ptr<Fabric>> make();

  Transport transport() const override { return Transport::verbs; }
  Result<std::unique_ptr<Listener>> listen(const SocketAddress& address, const ListenOptions& options,
                                           std::span<EventLoop* const> loops,
                                           std::shared_ptr<AcceptHandler> handler) override;
  Result<std::shared_ptr<Connection>> connect(const SocketAddress& address, const ConnectionOptions& options,
                                              ConstBytes privateData, EventLoop& loop,
                                              std::shared_ptr<ConnectionHandler> handler) override;
  Result<std::shared_ptr<MemoryRegion>> registerMemory(Bytes memory, DirtyMap* dirty, bool persistent) override;
  std::shared_ptr<void> watchDevices(std::function<void(const DeviceNews&)> told) override {
    return devices_->watchers().add(std::move(told));
  }

 private:
  VerbsFabric(const Library& library, std::shared_ptr<DeviceTable> devices)
      : library_(library), devices_(std::move(devices)) {}
  Result<std::shared_ptr<CmChannel>> channelOf(EventLoop& loop);

  const Library& library_;
  std::shared_ptr<DeviceTable> devices_;
  std::mutex mutex_;
  std::map<EventLoop*, std::weak_ptr<CmChannel>> channels_;
};

}  // namespace rdmacp::fabric::verbs

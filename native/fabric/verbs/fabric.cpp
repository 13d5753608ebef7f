// fabric.cpp -- the verbs fabric's door. Any thread.
#include "fabric/verbs/fabric.h"

#include <utility>
#include <vector>

#include "fabric/verbs/connection.h"
#include "fabric/verbs/listener.h"

namespace rdmacp::fabric {

Result<std::shared_ptr<Fabric>> makeVerbsFabric() {
  return verbs::VerbsFabric::make();
}

namespace verbs {

Result<std::shared_ptr<Fabric>> VerbsFabric::make() {
  auto loaded = library();
  if (!loaded) return loaded.error();
  // One table of devices for the process, while there is a fabric: an event of a device comes once only.
  static std::mutex mutex;
  static std::weak_ptr<DeviceTable> shared;
  const std::lock_guard lock(mutex);
  auto devices = shared.lock();
  if (devices == nullptr) shared = devices = std::make_shared<DeviceTable>(*loaded.value());
  return std::shared_ptr<Fabric>(new VerbsFabric(*loaded.value(), std::move(devices)));
}

Result<std::shared_ptr<CmChannel>> VerbsFabric::channelOf(EventLoop& loop) {
  const std::lock_guard lock(mutex_);
  std::weak_ptr<CmChannel>& known = channels_[&loop];
  if (auto channel = known.lock()) return channel;
  auto made = CmChannel::make(library_, loop);
  if (made) known = made.value();
  return made;
}

Result<std::unique_ptr<Listener>> VerbsFabric::listen(const SocketAddress& address, const ListenOptions& options,
                                                      std::span<EventLoop* const> loops,
                                                      std::shared_ptr<AcceptHandler> handler) {
  if (loops.empty()) return Error{ErrorCode::invalidArgument, "a listener needs an event loop", 0};
  std::vector<std::shared_ptr<CmChannel>> channels;
  for (EventLoop* loop : loops) {
    auto channel = channelOf(*loop);
    if (!channel) return channel.error();
    channels.push_back(std::move(channel).value());
  }
  return VerbsListener::make(library_, devices_, std::move(channels), address, options, std::move(handler));
}

Result<std::shared_ptr<Connection>> VerbsFabric::connect(const SocketAddress& address, const ConnectionOptions& options,
                                                         ConstBytes privateData, EventLoop& loop,
                                                         std::shared_ptr<ConnectionHandler> handler) {
  if (privateData.size() > kMaxPrivateData) {
    return Error{ErrorCode::invalidArgument, "private data is longer than " + std::to_string(kMaxPrivateData), 0};
  }
  auto channel = channelOf(loop);
  if (!channel) return channel.error();
  auto connection =
      std::make_shared<VerbsConnection>(library_, devices_, std::move(channel).value(), options, std::move(handler));
  if (Status started = connection->connect(address, privateData); !started) return started.error();
  return std::shared_ptr<Connection>(connection);
}

Result<std::shared_ptr<MemoryRegion>> VerbsFabric::registerMemory(Bytes memory, DirtyMap* dirty, bool persistent) {
  return std::shared_ptr<MemoryRegion>(std::make_shared<VerbsMemoryRegion>(memory, dirty, persistent));
}

}  // namespace verbs
}  // namespace rdmacp::fabric

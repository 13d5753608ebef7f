// listener.cpp -- connection requests. Events come on the first loop's thread; decisions are made on the owning loop's.
#include "fabric/verbs/listener.h"

#include <cerrno>
#include <cstring>
#include <future>
#include <utility>

namespace rdmacp::fabric::verbs {

struct VerbsListener::Shared final : CmHandler, std::enable_shared_from_this<VerbsListener::Shared> {
  Shared(const Library& rdma, std::shared_ptr<DeviceTable> table, std::vector<std::shared_ptr<CmChannel>> loops,
         const ListenOptions& wanted, std::shared_ptr<AcceptHandler> decider)
      : library(rdma),
        devices(std::move(table)),
        channels(std::move(loops)),
        options(wanted),
        handler(std::move(decider)) {}

  Status listenAt(SocketAddress address) {
    auto made = channels.front()->createId(*this);
    if (!made) return made.error();
    id = std::move(made).value();
    if (library.bindAddress(id.get(), reinterpret_cast<sockaddr*>(&address.storage)) != 0) {
      const int number = errno;
      Error error = verbsError("rdma_bind_addr", number);
      error.message += " (" + address.text() + ")";
      if (number == ENODEV || number == EADDRNOTAVAIL) {
        error.code = ErrorCode::notSupported;
        error.message += ": no RDMA device of this machine has the address";
      }
      return error;
    }
    if (library.listen(id.get(), static_cast<int>(options.backlog)) != 0) {
      Error error = verbsError("rdma_listen", errno);
      error.message += " (" + address.text() + ")";
      return error;
    }
    // Not known with an address of any interface; then at the first connection.
    if (id->verbs == nullptr) return {};
    auto found = devices->find(id->verbs);
    if (!found) return found.error();
    device = std::move(found).value();
    return {};
  }

  void onEvent(const CmEvent& event) override {
    if (event.type == RDMA_CM_EVENT_DEVICE_REMOVAL && device != nullptr) device->departs();
    if (event.type != RDMA_CM_EVENT_CONNECT_REQUEST) return;
    ConnectionId request(event.id, {&library});
    request->context = nullptr;  // until its connection takes it on its own loop, its events are nobody's
    if (open->load() >= options.maxConnections) {
      (void)library.reject(request.get(), nullptr, 0);
      return;
    }
    const std::shared_ptr<CmChannel>& channel = channels[next++ % channels.size()];
    auto connection = std::make_shared<VerbsConnection>(library, devices, channel, options.connection, nullptr);
    if (channel != channels.front() && library.migrateId(request.get(), channel->get()) != 0) return;
    auto incoming = std::make_shared<IncomingRequest>();
    incoming->id = std::move(request);
    incoming->privateData = event.privateData;
    incoming->responderResources = event.responderResources;
    incoming->initiatorDepth = event.initiatorDepth;
    open->fetch_add(1);
    const auto decide = [connection, incoming, decider = handler, count = open] {
      connection->receiveRequest(std::move(*incoming), *decider, [count] { count->fetch_sub(1); });
    };
    if (channel->loop().onThread()) {
      decide();
    } else if (!channel->loop().post(decide)) {
      open->fetch_sub(1);
    }
  }

  const Library& library;
  std::shared_ptr<DeviceTable> devices;
  std::vector<std::shared_ptr<CmChannel>> channels;
  const ListenOptions options;
  std::shared_ptr<AcceptHandler> handler;
  ConnectionId id;
  std::shared_ptr<Device> device;  // that the address is of
  std::size_t next = 0;
  std::shared_ptr<std::atomic<std::uint32_t>> open = std::make_shared<std::atomic<std::uint32_t>>(0);
};

Result<std::unique_ptr<Listener>> VerbsListener::make(const Library& library, std::shared_ptr<DeviceTable> devices,
                                                      std::vector<std::shared_ptr<CmChannel>> channels,
                                                      const SocketAddress& address, const ListenOptions& options,
                                                      std::shared_ptr<AcceptHandler> handler) {
  // The kernel would let us listen, on whatever device it comes to first, and no client would find a route.
  if (address.isLoopback()) {
    return Error{ErrorCode::notSupported, address.text() + " is a loopback address, which RDMA devices do not have", 0};
  }
  auto shared = std::make_shared<Shared>(library, std::move(devices), std::move(channels), options, std::move(handler));
  Status listening;
  for (int tries = address.port() == 0 ? kPortTries : 1; tries > 0; --tries) {
    listening = shared->listenAt(address);
    if (listening.ok() || listening.error().systemError != EADDRINUSE) break;
  }
  if (!listening) return listening.error();
  SocketAddress bound = address;
  std::memcpy(&bound.storage, rdma_get_local_addr(shared->id.get()), bound.length);
  return std::unique_ptr<Listener>(new VerbsListener(std::move(shared), bound));
}

VerbsListener::~VerbsListener() {
  // The identifier ends on the loop that handles its events, and nothing of it runs after this returns.
  EventLoop& loop = shared_->channels.front()->loop();
  const auto end = [shared = shared_] {
    shared->id.reset();
    shared->handler.reset();
    shared->channels.clear();
  };
  if (loop.onThread()) {
    end();
    return;
  }
  std::promise<void> ended;
  if (loop.post([&] {
        end();
        ended.set_value();
      })) {
    ended.get_future().wait();
  } else {
    end();
  }
}

}  // namespace rdmacp::fabric::verbs

// iwarp_fabric.cpp -- the user-space iWARP fabric: where connections, listeners and registrations come from.
// Any thread; has no state but the MPA revision that it connects with.
#include "fabric/iwarp/iwarp_fabric.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <cerrno>
#include <system_error>

#include "base/file_descriptor.h"
#include "fabric/iwarp/connection.h"
#include "fabric/iwarp/listener.h"

namespace rdmacp::fabric {
namespace iwarp {
namespace {

class PlainMemory final : public MemoryRegion {
 public:
  PlainMemory(Bytes memory, DirtyMap* dirty) : memory_(memory), dirty_(dirty) {}
  Bytes memory() const override { return memory_; }
  DirtyMap* dirty() const override { return dirty_; }

 private:
  Bytes memory_;
  DirtyMap* dirty_;
};

class IwarpFabric final : public Fabric {
 public:
  explicit IwarpFabric(std::uint8_t revision) : revision_(revision) {}

  Transport transport() const override { return Transport::iwarp; }

  Result<std::unique_ptr<Listener>> listen(const SocketAddress& address, const ListenOptions& options,
                                           std::span<EventLoop* const> loops,
                                           std::shared_ptr<AcceptHandler> handler) override {
    return startListener(address, options, loops, std::move(handler));
  }

  Result<std::shared_ptr<Connection>> connect(const SocketAddress& address, const ConnectionOptions& options,
                                              ConstBytes privateData, EventLoop& loop,
                                              std::shared_ptr<ConnectionHandler> handler) override {
    if (handler == nullptr) return Error{ErrorCode::invalidArgument, "a connection needs a handler", 0};
    if (privateData.size() > kMaxPrivateData) {
      return Error{ErrorCode::invalidArgument,
                   std::to_string(privateData.size()) + " bytes of private data, " + std::to_string(kMaxPrivateData) +
                       " are allowed",
                   0};
    }
    const auto failed = [&](int number) {
      const auto code =
          number == EINVAL || number == EAFNOSUPPORT ? ErrorCode::invalidArgument : ErrorCode::systemError;
      return Error{code, "connecting to " + address.text() + ": " + std::generic_category().message(number), number};
    };
    FileDescriptor socket(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!socket) return failed(errno);
    const int on = 1;
    ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const auto* target = reinterpret_cast<const sockaddr*>(&address.storage);
    if (::connect(socket.get(), target, address.length) != 0 && errno != EINPROGRESS) {
      // A refusal that is known at once is reported like one that takes a while.
      if (errno != ECONNREFUSED) return failed(errno);
    }
    auto connection =
        std::make_shared<IwarpConnection>(loop, std::move(socket), address, options, std::move(handler), nullptr);
    if (Status status = connection->startConnecting(privateData, revision_); !status) return status.error();
    return std::shared_ptr<Connection>(std::move(connection));
  }

  Result<std::shared_ptr<MemoryRegion>> registerMemory(Bytes memory, DirtyMap* dirty, bool /*persistent*/) override {
    return std::shared_ptr<MemoryRegion>(std::make_shared<PlainMemory>(memory, dirty));
  }

 private:
  const std::uint8_t revision_;
};

}  // namespace

std::shared_ptr<Fabric> makeFabricOfRevision(std::uint8_t revision) {
  return std::make_shared<IwarpFabric>(revision);
}

}  // namespace iwarp

std::shared_ptr<Fabric> makeIwarpFabric() {
  return iwarp::makeFabricOfRevision(2);
}

}  // namespace rdmacp::fabric

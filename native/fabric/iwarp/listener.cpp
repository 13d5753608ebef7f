// listener.cpp -- see listener.h. Acceptor runs on the first loop; a timer of that loop keeps it alive until the
// listener ends.
#include "fabric/iwarp/listener.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <system_error>
#include <utility>
#include <vector>

#include "base/file_descriptor.h"
#include "fabric/iwarp/pending_accept.h"

namespace rdmacp::fabric::iwarp {
namespace {

constexpr std::chrono::milliseconds kBackOff{100};
constexpr int kAcceptsPerTurn = 32;
constexpr std::chrono::hours kForever{24 * 365 * 50};

FileDescriptor openSpare() {
  return FileDescriptor(::open("/dev/null", O_RDONLY | O_CLOEXEC));
}

class Acceptor final : public FdHandler, public std::enable_shared_from_this<Acceptor> {
 public:
  Acceptor(FileDescriptor socket, const ListenOptions& options, std::span<EventLoop* const> loops,
           std::shared_ptr<AcceptHandler> handler)
      : socket_(std::move(socket)),
        spare_(openSpare()),
        loops_(loops.begin(), loops.end()),
        waiting_(std::make_shared<WaitingRoom>(std::max<std::uint32_t>(options.maxWaiting, 1))),
        context_(std::make_shared<AcceptContext>()) {
    context_->maxConnections = options.maxConnections;
    context_->options = options.connection;
    context_->handler = std::move(handler);
    context_->unheard = dynamic_cast<UnheardListener*>(context_->handler.get());
  }

  // Any thread.
  bool start() {
    return loops_.front()->post([self = shared_from_this()] {
      self->keeper_ = self->loops_.front()->after(kForever, [self] {});
      self->watch();
    });
  }

  // Any thread. From its return on nobody is accepted any more; the descriptor is the loop's to close.
  void stop() {
    context_->stopped = true;
    ::shutdown(socket_.get(), SHUT_RD);
    loops_.front()->post([self = shared_from_this()] {
      self->unwatch();
      self->socket_.reset();
      self->loops_.front()->cancel(self->keeper_);
    });
  }

  void onReady(std::uint32_t) override {
    for (int i = 0; i < kAcceptsPerTurn && !context_->stopped; ++i) {
      SocketAddress peer;
      peer.length = sizeof peer.storage;
      FileDescriptor socket(::accept4(socket_.get(), reinterpret_cast<sockaddr*>(&peer.storage), &peer.length,
                                      SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (!socket) {
        if (errno == EINTR || errno == ECONNABORTED) continue;
        if (errno == EAGAIN || errno == EWOULDBLOCK) return;
        return backOff(errno);
      }
      hand(std::move(socket), peer);
    }
  }

 private:
  void watch() {
    if (!context_->stopped && socket_) watched_ = loops_.front()->add(socket_.get(), EPOLLIN, this).ok();
  }
  void unwatch() {
    if (std::exchange(watched_, false)) loops_.front()->remove(socket_.get());
  }

  // Out of descriptors or memory: the peer at the head of the queue is told by a close, and a pause keeps the loop from
  // spinning on a queue that it cannot empty.
  void backOff(int number) {
    if ((number == EMFILE || number == ENFILE) && spare_) {
      spare_.reset();
      FileDescriptor refused(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (refused) context_->tellUnheard();
      refused.reset();
    }
    if (!spare_) spare_ = openSpare();
    unwatch();
    loops_.front()->after(kBackOff, [self = shared_from_this()] { self->watch(); });
  }

  void hand(FileDescriptor socket, const SocketAddress& peer) {
    if (context_->connections.load() >= context_->maxConnections) return context_->tellUnheard();  // closed at once
    const int on = 1;
    ::setsockopt(socket.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    EventLoop& loop = *loops_[next_++ % loops_.size()];
    auto pending = std::make_shared<PendingAccept>(loop, std::move(socket), peer, context_);
    pending->wait(*waiting_);
    loop.post([pending] { pending->start(); });
  }

  FileDescriptor socket_;
  FileDescriptor spare_;
  const std::vector<EventLoop*> loops_;
  const std::shared_ptr<WaitingRoom> waiting_;
  const std::shared_ptr<AcceptContext> context_;
  std::size_t next_ = 0;
  bool watched_ = false;
  EventLoop::TimerId keeper_ = 0;
};

class IwarpListener final : public Listener {
 public:
  IwarpListener(std::shared_ptr<Acceptor> acceptor, const SocketAddress& address)
      : acceptor_(std::move(acceptor)), address_(address) {}
  ~IwarpListener() override { acceptor_->stop(); }
  IwarpListener(const IwarpListener&) = delete;
  IwarpListener& operator=(const IwarpListener&) = delete;
  SocketAddress address() const override { return address_; }

 private:
  std::shared_ptr<Acceptor> acceptor_;
  SocketAddress address_;
};

Error listenError(const SocketAddress& address, int number) {
  return {ErrorCode::systemError, "listening on " + address.text() + ": " + std::generic_category().message(number),
          number};
}

}  // namespace

Result<std::unique_ptr<Listener>> startListener(const SocketAddress& address, const ListenOptions& options,
                                                std::span<EventLoop* const> loops,
                                                std::shared_ptr<AcceptHandler> handler) {
  if (loops.empty() || handler == nullptr) {
    return Error{ErrorCode::invalidArgument, "a listener needs an event loop and an accept handler", 0};
  }
  FileDescriptor socket(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!socket) return listenError(address, errno);
  const int on = 1;
  ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address.storage), address.length) != 0 ||
      ::listen(socket.get(), static_cast<int>(std::min<std::uint32_t>(options.backlog, 65535))) != 0) {
    return listenError(address, errno);
  }
  SocketAddress bound;
  bound.length = sizeof bound.storage;
  if (::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&bound.storage), &bound.length) != 0) {
    return listenError(address, errno);
  }
  auto acceptor = std::make_shared<Acceptor>(std::move(socket), options, loops, std::move(handler));
  if (!acceptor->start()) return Error{ErrorCode::stopped, "the event loop has stopped", 0};
  return std::unique_ptr<Listener>(std::make_unique<IwarpListener>(std::move(acceptor), bound));
}

}  // namespace rdmacp::fabric::iwarp

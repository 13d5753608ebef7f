// linger.cpp -- see linger.h. Loop thread; the timer that bounds it keeps it alive.
#include "fabric/iwarp/linger.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <functional>
#include <utility>

namespace rdmacp::fabric::iwarp {
namespace {

constexpr std::chrono::milliseconds kPatience{1000};
constexpr std::size_t kDiscardAtOnce = 64 * 1024;
constexpr int kReadsPerTurn = 8;

class Linger final : public FdHandler, public std::enable_shared_from_this<Linger> {
 public:
  Linger(EventLoop& loop, FileDescriptor socket, std::vector<std::byte> lastWords, std::shared_ptr<void> slot)
      : loop_(loop), socket_(std::move(socket)), lastWords_(std::move(lastWords)), slot_(std::move(slot)) {}

  void start() {
    const auto self = shared_from_this();
    if (!loop_.add(socket_.get(), EPOLLIN | EPOLLOUT, this)) return;
    timer_ = loop_.after(kPatience, [self] { self->end(); });
  }

  void end() {
    if (!socket_) return;
    loop_.remove(socket_.get());
    socket_.reset();
    slot_.reset();
    loop_.cancel(timer_);
  }

  void onReady(std::uint32_t events) override {
    const auto self = shared_from_this();
    if ((events & EPOLLOUT) != 0 && !said_ && !speak()) return end();
    if ((events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0 && !discard()) end();
  }

 private:
  bool speak() {
    while (spoken_ < lastWords_.size()) {
      const ssize_t sent =
          ::send(socket_.get(), lastWords_.data() + spoken_, lastWords_.size() - spoken_, MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent < 0) return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
      spoken_ += static_cast<std::size_t>(sent);
    }
    said_ = true;
    return ::shutdown(socket_.get(), SHUT_WR) == 0 && loop_.modify(socket_.get(), EPOLLIN, this).ok();
  }

  bool discard() {
    static thread_local std::vector<std::byte> buffer(kDiscardAtOnce);
    for (int i = 0; i < kReadsPerTurn; ++i) {
      const ssize_t got = ::recv(socket_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
      if (got == 0) return false;
      if (got < 0) return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
    }
    return true;
  }

  EventLoop& loop_;
  FileDescriptor socket_;
  std::vector<std::byte> lastWords_;
  std::shared_ptr<void> slot_;
  std::size_t spoken_ = 0;
  bool said_ = false;
  EventLoop::TimerId timer_ = 0;
};

}  // namespace

std::function<void()> linger(EventLoop& loop, FileDescriptor socket, std::vector<std::byte> lastWords,
                             std::shared_ptr<void> slot) {
  const auto lingering = std::make_shared<Linger>(loop, std::move(socket), std::move(lastWords), std::move(slot));
  lingering->start();
  return [&loop, weak = std::weak_ptr(lingering)] {
    loop.post([weak] {
      if (const auto self = weak.lock()) self->end();
    });
  };
}

}  // namespace rdmacp::fabric::iwarp

// fake_fabric.h -- a fabric without a wire: a test plays the peer, and decides when a fence has ended.
//
// Handler calls come on the connection's loop, as the contract says; the test's thread waits for each.
#pragma once

#include <atomic>
#include <future>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "fabric/fabric.h"

namespace fake {

using namespace rdmacp;
using Message = std::vector<std::byte>;

class Memory final : public fabric::MemoryRegion {
 public:
  Memory(fabric::Bytes bytes, DirtyMap* dirty) : bytes_(bytes), dirty_(dirty) {}
  fabric::Bytes memory() const override { return bytes_; }
  DirtyMap* dirty() const override { return dirty_; }

 private:
  fabric::Bytes bytes_;
  DirtyMap* dirty_;
};

struct Granted {
  std::shared_ptr<const fabric::MemoryRegion> region;
  std::uint64_t offset, length;
  fabric::Access access;
};

class Connection final : public fabric::Connection, public std::enable_shared_from_this<fake::Connection> {
 public:
  Connection(EventLoop& loop, std::shared_ptr<fabric::ConnectionHandler> handler)
      : loop_(loop), handler_(std::move(handler)) {}

  fabric::Transport transport() const override { return fabric::Transport::iwarp; }
  EventLoop& loop() const override { return loop_; }
  fabric::SocketAddress peer() const override { return {}; }
  fabric::ConnectionCounters counters() const override { return {.bytesIn = 10, .bytesOut = 20}; }
  std::uint32_t outboundReads() const override { return 1; }

  Status post(std::span<const fabric::WorkRequest> batch, fabric::Lookout /*lookout*/) override {
    for (const auto& request : batch) {
      Message message;
      for (const auto& part : request.local)
        message.insert(message.end(), part.address, part.address + part.length);
      {
        const std::lock_guard lock(mutex_);
        if (closed_) return Error{ErrorCode::localClosed, "closed", 0};
        sent_.push_back(std::move(message));
      }
      loop_.post([self = shared_from_this(), id = request.id] {
        const fabric::Completion completion{id, ErrorCode::ok};
        if (self->handler_) self->handler_->onCompletions(*self, {&completion, 1});
      });
    }
    return {};
  }

  Result<fabric::RemoteWindow> grant(std::shared_ptr<const fabric::MemoryRegion> region, std::uint64_t offset,
                                     std::uint64_t length, fabric::Access access) override {
    const std::lock_guard lock(mutex_);
    if (!flushes && fabric::allows(access, fabric::Access::remoteFlush)) {
      return Error{ErrorCode::notSupported, "no flush", 0};
    }
    grants_.push_back({std::move(region), offset, length, access});
    return fabric::RemoteWindow{77, 0x1000, length};
  }
  std::function<Status()> groundwork(const std::shared_ptr<const fabric::MemoryRegion>&, fabric::Access) override {
    return beforeGrant;
  }
  void revoke(std::uint32_t) override {}

  void fence(std::function<void()> done) override {
    bool now = false;
    {
      const std::lock_guard lock(mutex_);
      ++fences_;
      if (closed_) {
        now = true;
      } else {
        fenceDone_.push_back(std::move(done));
      }
    }
    if (now) return done();
    if (!holdFences) finishFence();
  }
  void close() override { end(Error{ErrorCode::localClosed, "closed", 0}); }

  // On its loop: alive until onClosed has returned, and given up when it is not established in time.
  void begin() {
    self_ = shared_from_this();
    loop_.after(std::chrono::milliseconds(500), [weak = weak_from_this()] {
      const auto self = weak.lock();
      if (self && !self->established_) self->endOnLoop(Error{ErrorCode::timedOut, "not established in time", 0});
    });
  }

  // The peer's part.
  void establish() {
    onLoop([&] {
      established_ = true;
      if (handler_) handler_->onEstablished(*this, {});
    });
  }
  void deliver(const Message& message) {
    onLoop([&] {
      if (handler_) handler_->onMessage(*this, message);
    });
  }
  void hangUp() {
    end(Error{ErrorCode::connectionClosed, "the peer closed", 0});
    onLoop([] {});
  }
  // What was asked to be fenced has ended now.
  void finishFence() {
    loop_.post([self = shared_from_this()] {
      std::vector<std::function<void()>> waiting;
      {
        const std::lock_guard lock(self->mutex_);
        waiting.swap(self->fenceDone_);
      }
      self->endOnLoop(Error{ErrorCode::localClosed, "fenced", 0});
      for (const auto& done : waiting)
        done();
    });
  }

  // The n-th message sent, counted from 0; waits for it. Empty when it does not come.
  Message sent(std::size_t n) {
    for (int i = 0; i < 2000; ++i) {
      {
        const std::lock_guard lock(mutex_);
        if (n < sent_.size()) return sent_[n];
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return {};
  }
  std::size_t sentCount() const {
    const std::lock_guard lock(mutex_);
    return sent_.size();
  }
  std::vector<Granted> grants() const {
    const std::lock_guard lock(mutex_);
    return grants_;
  }
  int fences() const {
    const std::lock_guard lock(mutex_);
    return fences_;
  }
  bool closed() const {
    const std::lock_guard lock(mutex_);
    return closed_;
  }

  std::atomic<bool> holdFences{false};
  std::atomic<bool> flushes{false};     // grants the right to flush
  std::function<Status()> beforeGrant;  // what takes long; set before the hello

 private:
  template <class Call>
  void onLoop(Call call) {
    std::promise<void> done;
    if (!loop_.post([&] {
          call();
          done.set_value();
        })) {
      return;
    }
    done.get_future().wait();
  }
  void end(const Error& reason) {
    loop_.post([self = shared_from_this(), reason] { self->endOnLoop(reason); });
  }
  void endOnLoop(const Error& reason) {
    {
      const std::lock_guard lock(mutex_);
      if (closed_) return;
      closed_ = true;
    }
    const auto handler = std::move(handler_);
    handler->onClosed(*this, reason);
    const auto self = std::move(self_);
    const std::lock_guard lock(mutex_);
    grants_.clear();
  }

  EventLoop& loop_;
  std::shared_ptr<fabric::ConnectionHandler> handler_;  // loop thread
  std::shared_ptr<fake::Connection> self_;              // loop thread
  bool established_ = false;                            // loop thread
  mutable std::mutex mutex_;
  bool closed_ = false;
  int fences_ = 0;
  std::vector<Message> sent_;
  std::vector<Granted> grants_;
  std::vector<std::function<void()>> fenceDone_;
};

class Listener final : public fabric::Listener {
 public:
  fabric::SocketAddress address() const override {
    return std::move(fabric::SocketAddress::parse("127.0.0.1", 4791)).value();
  }
};

class Fabric final : public fabric::Fabric {
 public:
  fabric::Transport transport() const override { return fabric::Transport::iwarp; }

  Result<std::unique_ptr<fabric::Listener>> listen(const fabric::SocketAddress&, const fabric::ListenOptions&,
                                                   std::span<EventLoop* const> loops,
                                                   std::shared_ptr<fabric::AcceptHandler> handler) override {
    loops_.assign(loops.begin(), loops.end());
    handler_ = std::move(handler);
    return std::unique_ptr<fabric::Listener>(std::make_unique<fake::Listener>());
  }
  Result<std::shared_ptr<fabric::Connection>> connect(const fabric::SocketAddress&, const fabric::ConnectionOptions&,
                                                      fabric::ConstBytes, EventLoop&,
                                                      std::shared_ptr<fabric::ConnectionHandler>) override {
    return Error{ErrorCode::notSupported, "nobody connects", 0};
  }
  Result<std::shared_ptr<fabric::MemoryRegion>> registerMemory(fabric::Bytes memory, DirtyMap* dirty,
                                                               bool persistent) override {
    ++registrations;
    if (persistent) ++persistentRegistrations;
    return std::shared_ptr<fabric::MemoryRegion>(std::make_shared<Memory>(memory, dirty));
  }

  std::shared_ptr<void> watchDevices(std::function<void(const fabric::DeviceNews&)> told) override {
    auto watcher = std::make_shared<std::function<void(const fabric::DeviceNews&)>>(std::move(told));
    watchers_.push_back(watcher);
    return watcher;
  }
  // A device says something, on the test's thread.
  void say(const fabric::DeviceNews& news) {
    for (const auto& one : watchers_) {
      if (const auto watcher = one.lock()) (*watcher)(news);
    }
  }

  // A peer asks to connect: a connection, half-open, or the private data of the reject.
  struct Asked {
    std::shared_ptr<fake::Connection> connection;
    Message reject;
  };
  Asked ask(const Message& privateData) {
    auto& loop = *loops_[next_++ % loops_.size()];
    std::promise<Asked> answer;
    loop.post([&] {
      auto decision = handler_->onRequest({privateData, {}, true});
      if (!decision.accept) return answer.set_value({nullptr, decision.privateData});
      auto connection = std::make_shared<fake::Connection>(loop, decision.handler);
      connection->begin();
      decision.handler->onAccepted(*connection);
      answer.set_value({std::move(connection), {}});
    });
    return answer.get_future().get();
  }

  std::atomic<int> registrations{0}, persistentRegistrations{0};

 private:
  std::vector<EventLoop*> loops_;
  std::shared_ptr<fabric::AcceptHandler> handler_;
  std::size_t next_ = 0;
  std::vector<std::weak_ptr<std::function<void(const fabric::DeviceNews&)>>> watchers_;
};

}  // namespace fake

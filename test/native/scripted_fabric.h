// scripted_fabric.h -- the client's side of a fabric without a wire: a test plays the unit and completes work requests.
//
// Handler calls come on the connection's loop, and the test's thread waits for each of them to return.
#pragma once

#include <algorithm>
#include <atomic>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "fabric/fabric.h"

namespace scripted {

using namespace rdmacp;
using Message = std::vector<std::byte>;

struct Posted {
  fabric::WorkRequest::Kind kind{};
  std::uint64_t id = 0;
  std::uint64_t remoteAddress = 0;
  std::uint64_t length = 0;  // of the local memory, or of what is flushed
  Clock::time_point deadline;
  Message message;  // of a send
};

class Connection final : public fabric::Connection, public std::enable_shared_from_this<scripted::Connection> {
 public:
  Connection(EventLoop& loop, const fabric::ConnectionOptions& options, Message sent,
             std::shared_ptr<fabric::ConnectionHandler> handler)
      : privateData(std::move(sent)), loop_(loop), depth_(options.sendDepth), handler_(std::move(handler)) {}

  fabric::Transport transport() const override { return fabric::Transport::iwarp; }
  EventLoop& loop() const override { return loop_; }
  fabric::SocketAddress peer() const override { return {}; }
  fabric::ConnectionCounters counters() const override { return {}; }
  std::uint32_t outboundReads() const override { return 1; }
  bool watchesPeer() const override { return watches; }
  bool canFlush() const override { return flushes; }

  bool canPoll() const override { return polls; }
  void poll(std::vector<fabric::Completion>& completions, bool rest) override {
    ++looks;
    if (rest) unattended = false;
    std::size_t count = 0;
    if (onPoll) count = onPoll();
    for (const auto& found : take(count, ErrorCode::ok))
      completions.push_back(found);
  }

  Status post(std::span<const fabric::WorkRequest> batch, fabric::Lookout lookout) override {
    if (lookout == fabric::Lookout::poll) unattended = true;
    if (beforePost) {
      if (Status refused = beforePost(); !refused) return refused;
    }
    const std::lock_guard lock(mutex_);
    if (over_) return Error{ErrorCode::connectionBroken, "it is over", 0};
    if (open_.size() + batch.size() > depth_) return Error{ErrorCode::limitReached, "full", 0};
    for (const auto& request : batch) {
      Posted posted{request.kind, request.id, request.remoteAddress, request.flushBytes, request.deadline, {}};
      for (const auto& part : request.local) {
        posted.length += part.length;
        if (request.kind != fabric::WorkRequest::Kind::send) continue;
        posted.message.insert(posted.message.end(), part.address, part.address + part.length);
      }
      all_.push_back(posted);
      open_.push_back(posted);
    }
    return {};
  }
  Result<fabric::RemoteWindow> grant(std::shared_ptr<const fabric::MemoryRegion>, std::uint64_t, std::uint64_t,
                                     fabric::Access) override {
    return Error{ErrorCode::notSupported, "a client grants nothing", 0};
  }
  void revoke(std::uint32_t) override {}
  void fence(std::function<void()> done) override {
    loop_.post([self = shared_from_this(), done = std::move(done)] {
      self->end({ErrorCode::localClosed, "fenced", 0});
      done();
    });
  }
  void close() override {
    loop_.post([self = shared_from_this()] {
      if (!self->closesWhenEmpty || self->openCount() == 0) self->end({ErrorCode::localClosed, "closed", 0});
    });
  }

  // The unit's part, from the test's thread.
  void establish() {
    onLoop([&] {
      if (handler_) handler_->onEstablished(*this, {});
    });
  }
  void deliver(const Message& message) {
    onLoop([&] {
      if (handler_) handler_->onMessage(*this, message);
    });
  }
  void reject(const Message& data) {
    onLoop([&] {
      handler_->onRejected(*this, data);
      end({ErrorCode::connectionRefused, "rejected", 0});
    });
  }
  void breakDown() {
    onLoop([&] { end({ErrorCode::connectionBroken, "reset by the peer", 0}); });
  }
  // Completes the oldest work requests, in the order of their posting.
  void complete(std::size_t count) {
    onLoop([&] {
      const auto done = take(count, ErrorCode::ok);
      if (!done.empty() && handler_) handler_->onCompletions(*this, done);
      if (closesWhenEmpty && openCount() == 0) end({ErrorCode::localClosed, "closed", 0});
    });
  }
  void completeAll() { complete(~std::size_t{0}); }

  std::vector<Posted> posted() {
    const std::lock_guard lock(mutex_);
    return all_;
  }
  std::size_t openCount() {
    const std::lock_guard lock(mutex_);
    return open_.size();
  }
  // What the test's thread does below has been seen by the loop.
  void settle() {
    onLoop([] {});
  }

  // The same, but the test's thread does not wait.
  void deliverSoon(const Message& message) {
    loop_.post([self = shared_from_this(), message] {
      if (self->handler_) self->handler_->onMessage(*self, message);
    });
  }

  const Message privateData;
  std::atomic<bool> watches{true};      // this end ends by itself when the peer is gone
  std::atomic<bool> flushes{false};     // this end can post flushes
  bool closesWhenEmpty = false;         // set before close()
  std::function<Status()> beforePost;   // on the posting thread; an error is what post then answers
  bool polls = false;                   // set before anything is posted
  std::function<std::size_t()> onPoll;  // on the polling thread: so many are found
  std::atomic<int> looks{0};            // calls of poll
  std::atomic<bool> unattended{false};  // something was posted that the loop does not look out for

 private:
  template <class Call>
  void onLoop(Call call) {
    std::promise<void> done;
    loop_.post([&] {
      call();
      done.set_value();
    });
    done.get_future().wait();
  }
  std::vector<fabric::Completion> take(std::size_t count, ErrorCode status) {
    const std::lock_guard lock(mutex_);
    std::vector<fabric::Completion> done;
    while (!open_.empty() && done.size() < count) {
      done.push_back({open_.front().id, status});
      open_.pop_front();
    }
    return done;
  }
  void end(const Error& reason) {
    if (!handler_) return;
    {
      const std::lock_guard lock(mutex_);
      over_ = true;
    }
    const auto self = shared_from_this();
    const auto handler = handler_;
    const auto failed = take(~std::size_t{0}, reason.code);
    if (!failed.empty()) handler->onCompletions(*this, failed);
    handler_ = nullptr;
    handler->onClosed(*this, reason);
  }

  EventLoop& loop_;
  const std::size_t depth_;
  std::shared_ptr<fabric::ConnectionHandler> handler_;  // loop thread; null once it is over
  std::mutex mutex_;
  bool over_ = false;
  std::vector<Posted> all_;
  std::deque<Posted> open_;
};

class Fabric final : public fabric::Fabric {
 public:
  fabric::Transport transport() const override { return fabric::Transport::iwarp; }
  Result<std::unique_ptr<fabric::Listener>> listen(const fabric::SocketAddress&, const fabric::ListenOptions&,
                                                   std::span<EventLoop* const>,
                                                   std::shared_ptr<fabric::AcceptHandler>) override {
    return Error{ErrorCode::notSupported, "a client does not listen", 0};
  }
  Result<std::shared_ptr<fabric::Connection>> connect(const fabric::SocketAddress&,
                                                      const fabric::ConnectionOptions& options,
                                                      fabric::ConstBytes privateData, EventLoop& loop,
                                                      std::shared_ptr<fabric::ConnectionHandler> handler) override {
    if (onConnect) {
      if (Status refused = onConnect(++calls_); !refused) return refused.error();
    }
    auto made = std::make_shared<scripted::Connection>(loop, options, Message(privateData.begin(), privateData.end()),
                                                       std::move(handler));
    const std::lock_guard lock(mutex_);
    last_ = made;
    return std::shared_ptr<fabric::Connection>(std::move(made));
  }
  Result<std::shared_ptr<fabric::MemoryRegion>> registerMemory(fabric::Bytes, DirtyMap*, bool) override {
    return Error{ErrorCode::notSupported, "not needed", 0};
  }

  // That was made last. Any thread: a session connects on its loop.
  std::shared_ptr<scripted::Connection> last() const {
    const std::lock_guard lock(mutex_);
    return last_;
  }

  // Set before the first call of connect, on whose thread it is called with the number of that call, from 1. An error is
  // what connect then answers.
  std::function<Status(int)> onConnect;

 private:
  int calls_ = 0;  // one thread at a time connects
  mutable std::mutex mutex_;
  std::shared_ptr<scripted::Connection> last_;
};

}  // namespace scripted

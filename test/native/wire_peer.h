// wire_peer.h -- the client's side of a connection over a real fabric, for tests that look at the unit's side.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "check.h"
#include "fabric/fabric.h"
#include "protocol/messages.h"

class WirePeer final : public rdmacp::fabric::ConnectionHandler {
 public:
  using Message = std::vector<std::byte>;

  static std::shared_ptr<WirePeer> connect(rdmacp::fabric::Fabric& fabric, rdmacp::EventLoop& loop,
                                           const rdmacp::fabric::SocketAddress& address,
                                           rdmacp::protocol::ConnectionKind kind,
                                           const rdmacp::protocol::Token& token) {
    auto peer = std::make_shared<WirePeer>();
    rdmacp::protocol::ConnectData data;
    data.kind = kind;
    data.token = token;
    auto connection = fabric.connect(address, {}, rdmacp::protocol::encode(data), loop, peer);
    if (!connection) check::fail(__FILE__, __LINE__, connection.error().message);
    peer->connection_ = std::move(connection).value();
    return peer;
  }

  void onEstablished(rdmacp::fabric::Connection&, rdmacp::fabric::ConstBytes) override {
    note([&] { established_ = true; });
  }
  void onMessage(rdmacp::fabric::Connection&, rdmacp::fabric::ConstBytes message) override {
    note([&] { messages_.emplace_back(message.begin(), message.end()); });
  }
  void onCompletions(rdmacp::fabric::Connection&, std::span<const rdmacp::fabric::Completion> completions) override {
    note([&] {
      for (const auto& completion : completions) {
        ++completed_;
        if (completion.status != rdmacp::ErrorCode::ok) ++failed_;
      }
    });
  }
  void onRejected(rdmacp::fabric::Connection&, rdmacp::fabric::ConstBytes data) override {
    note([&] { rejection_ = rdmacp::protocol::parseRejectData(data).value(); });
  }
  void onClosed(rdmacp::fabric::Connection&, const rdmacp::Error& reason) override {
    note([&] { closed_ = reason; });
  }

  bool waitEstablished() {
    return wait([&] { return established_ || closed_; }) && established_;
  }
  // The n-th message, counted from 0; empty when the connection closes without it.
  Message message(std::size_t n) {
    wait([&] { return messages_.size() > n || closed_; });
    const std::lock_guard lock(mutex_);
    return messages_.size() > n ? messages_[n] : Message{};
  }
  bool waitCompleted(std::uint64_t count) {
    return wait([&] { return completed_ >= count; });
  }
  // Of everything that has been posted, messages too.
  bool waitAllCompleted() {
    return wait([&] { return completed_ >= posted_; });
  }
  std::uint64_t completed() const {
    const std::lock_guard lock(mutex_);
    return completed_;
  }
  // Why it closed; nothing when it does not.
  std::optional<rdmacp::Error> waitClosed() {
    wait([&] { return closed_.has_value(); });
    const std::lock_guard lock(mutex_);
    return closed_;
  }
  bool isClosed() const {
    const std::lock_guard lock(mutex_);
    return closed_.has_value();
  }
  std::optional<rdmacp::protocol::RejectData> rejection() const {
    const std::lock_guard lock(mutex_);
    return rejection_;
  }

  rdmacp::Status write(std::span<std::byte> from, std::uint64_t address, std::uint32_t key) {
    return post(rdmacp::fabric::WorkRequest::Kind::write, from, address, key);
  }
  rdmacp::Status read(std::span<std::byte> into, std::uint64_t address, std::uint32_t key) {
    return post(rdmacp::fabric::WorkRequest::Kind::read, into, address, key);
  }
  // The message is kept until the peer ends.
  rdmacp::Status send(Message message) {
    std::span<std::byte> bytes;
    {
      const std::lock_guard lock(mutex_);
      sent_.push_back(std::make_unique<Message>(std::move(message)));
      bytes = *sent_.back();
    }
    return post(rdmacp::fabric::WorkRequest::Kind::send, bytes, 0, 0);
  }
  // Greets the unit and waits for its grant.
  rdmacp::protocol::Grant greet() {
    if (!waitEstablished()) check::fail(__FILE__, __LINE__, "the connection was not established");
    if (auto sent = send(rdmacp::protocol::encode(rdmacp::protocol::Hello{})); !sent) {
      check::fail(__FILE__, __LINE__, sent.error().message);
    }
    auto grant = rdmacp::protocol::parseGrant(message(0));
    if (!grant) check::fail(__FILE__, __LINE__, grant.error().message);
    return grant.value();
  }
  rdmacp::fabric::Connection& connection() { return *connection_; }

 private:
  rdmacp::Status post(rdmacp::fabric::WorkRequest::Kind kind, std::span<std::byte> bytes, std::uint64_t address,
                      std::uint32_t key) {
    const rdmacp::fabric::LocalSegment segment{bytes.data(), bytes.size(), nullptr};
    rdmacp::fabric::WorkRequest request;
    request.kind = kind;
    request.local = {&segment, 1};
    request.remoteAddress = address;
    request.remoteKey = key;
    request.deadline = rdmacp::Clock::now() + std::chrono::seconds(20);
    auto status = connection_->post({&request, 1});
    if (status) note([&] { ++posted_; });
    return status;
  }
  template <class Change>
  void note(Change change) {
    {
      const std::lock_guard lock(mutex_);
      change();
    }
    changed_.notify_all();
  }
  template <class Condition>
  bool wait(Condition condition) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(10), condition);
  }

  std::shared_ptr<rdmacp::fabric::Connection> connection_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool established_ = false;
  std::vector<Message> messages_;
  std::vector<std::unique_ptr<Message>> sent_;
  std::uint64_t posted_ = 0;
  std::uint64_t completed_ = 0;
  std::uint64_t failed_ = 0;
  std::optional<rdmacp::Error> closed_;
  std::optional<rdmacp::protocol::RejectData> rejection_;
};

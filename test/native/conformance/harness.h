// harness.h -- what the conformance tests share: the fabric under test, a handler that remembers what it was told, and
// a connected pair of ends with granted memory.
//
// A test executable defines conformance::fabricUnderTest() and includes the files of this folder; nothing here knows
// which fabric it is. Sizes and counts grow with RC_LONG=1.
#pragma once

#include <atomic>
#include <condition_variable>
#include <future>
#include <mutex>
#include <thread>

#include "../check.h"
#include "fabric/fabric.h"

namespace conformance {

using namespace rdmacp;
using namespace rdmacp::fabric;
using namespace std::chrono_literals;

struct UnderTest {
  std::shared_ptr<Fabric> fabric;
  SocketAddress address;                    // to listen on, port 0
  bool namesRemoteAccess = true;            // a refusal reaches the other end as remoteAccess, not merely as an end
  bool readsNeedPeerLoop = true;            // a blocked loop of the peer's leaves reads unanswered
  bool checksReadRight = true;              // some devices answer a read under a key that may only be written
  bool acceptorSpeaksFirst = true;          // false: the connecting end has to (RFC 5044 section 7.1.2)
  std::size_t connections = 100;            // that one process can have with itself
  std::shared_ptr<Fabric> connecting = {};  // what clients connect with; null: the same fabric
};
UnderTest& fabricUnderTest();

inline Fabric& connectingFabric() {
  const UnderTest& under = fabricUnderTest();
  return under.connecting != nullptr ? *under.connecting : *under.fabric;
}

inline constexpr auto kPatience = 60s;

// What a server posts behind a grant: when it has completed, the grant has taken effect (fabric.h, grant).
inline constexpr std::uint64_t kGrantMarker = ~std::uint64_t{0};

// Remembers everything but the marker; hooks run on the loop's thread.
class Recorder final : public ConnectionHandler {
 public:
  std::function<void(Connection&)> established;
  std::function<void(Connection&, ConstBytes)> message;
  std::function<void()> closedHook;

  // Null before the connection is established and after its end. Loop thread.
  Connection* alive = nullptr;

  void onEstablished(Connection& connection, ConstBytes privateData) override {
    alive = &connection;
    if (established) established(connection);
    change([&] {
      isEstablished_ = true;
      privateData_.assign(privateData.begin(), privateData.end());
    });
  }
  void onMessage(Connection& connection, ConstBytes bytes) override {
    if (message) message(connection, bytes);
    change([&] { messages_.emplace_back(bytes.begin(), bytes.end()); });
  }
  void onCompletions(Connection&, std::span<const Completion> batch) override {
    change([&] {
      if (isClosed_) lateCalls_ = true;
      for (const Completion& completion : batch) {
        if (completion.id == kGrantMarker) {
          granted_ = true;
        } else {
          completions_.push_back(completion);
        }
      }
    });
  }
  void onRejected(Connection&, ConstBytes privateData) override {
    change([&] { privateData_.assign(privateData.begin(), privateData.end()); });
  }
  void onClosed(Connection&, const Error& reason) override {
    if (closedHook) closedHook();
    alive = nullptr;
    change([&] {
      if (isClosed_) lateCalls_ = true;
      isClosed_ = true;
      reason_ = reason;
    });
  }

  bool waitEstablished() {
    const bool decided = wait([&] { return isEstablished_ || isClosed_; });
    const std::lock_guard lock(mutex_);
    if (!isEstablished_) std::printf("# not established: %s\n", decided ? reason_.message.c_str() : "no answer");
    return isEstablished_;
  }
  void waitGranted() {
    CHECK(wait([&] { return granted_ || isClosed_; }));
  }
  Error waitClosed() {
    CHECK(wait([&] { return isClosed_; }));
    const std::lock_guard lock(mutex_);
    return reason_;
  }
  std::vector<Completion> waitCompletions(std::size_t count) {
    CHECK(wait([&] { return completions_.size() >= count; }));
    const std::lock_guard lock(mutex_);
    return completions_;
  }
  std::vector<std::vector<std::byte>> waitMessages(std::size_t count) {
    CHECK(wait([&] { return messages_.size() >= count; }));
    const std::lock_guard lock(mutex_);
    return messages_;
  }
  std::size_t completed() {
    const std::lock_guard lock(mutex_);
    return completions_.size();
  }
  std::vector<std::byte> privateData() {
    const std::lock_guard lock(mutex_);
    return privateData_;
  }
  bool lateCalls() {
    const std::lock_guard lock(mutex_);
    return lateCalls_;
  }

 private:
  template <class Change>
  void change(Change apply) {
    const std::lock_guard lock(mutex_);
    apply();
    changed_.notify_all();
  }
  template <class Condition>
  bool wait(Condition condition) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kPatience, condition);
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool isEstablished_ = false;
  bool granted_ = false;
  bool isClosed_ = false;
  bool lateCalls_ = false;
  Error reason_;
  std::vector<std::byte> privateData_;
  std::vector<Completion> completions_;
  std::vector<std::vector<std::byte>> messages_;
};

template <class Work>
void runOn(EventLoop& loop, Work work) {
  std::promise<void> done;
  CHECK(loop.post([&] {
    work();
    done.set_value();
  }));
  done.get_future().wait();
}

inline std::unique_ptr<EventLoop> startLoop(const char* name) {
  auto loop = EventLoop::start(name);
  CHECK(loop.ok());
  return std::move(loop).value();
}

inline void waitFenced(Connection& connection) {
  std::promise<void> done;
  connection.fence([&] { done.set_value(); });
  CHECK(done.get_future().wait_for(kPatience) == std::future_status::ready);
}

inline std::vector<std::byte> pattern(std::size_t length, std::uint64_t salt) {
  std::vector<std::byte> bytes(length);
  std::uint64_t state = salt * 0x9e3779b97f4a7c15U + 1;
  for (auto& byte : bytes) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    byte = static_cast<std::byte>(state & 0xffU);
  }
  return bytes;
}

// Accepts everything with handlers made by a function.
class Accepting final : public AcceptHandler {
 public:
  std::function<AcceptDecision(const ConnectionRequest&)> decide;
  AcceptDecision onRequest(const ConnectionRequest& request) override { return decide(request); }
};

// One end that accepted: its handler, its connection and what it has granted.
struct Served {
  std::shared_ptr<Recorder> handler = std::make_shared<Recorder>();
  Connection* connection = nullptr;  // gone after onClosed
  EventLoop* loop = nullptr;
  RemoteWindow window;
};

// A listening end with memory that every accepted connection may read and write, each under a key of its own.
class Server {
 public:
  explicit Server(std::size_t bytes, ListenOptions options = {}, std::size_t loops = 1) : memory(bytes), dirty(bytes) {
    for (std::size_t i = 0; i < loops; ++i)
      loops_.push_back(startLoop("server"));
    auto registration = fabricUnderTest().fabric->registerMemory(memory, &dirty, false);
    CHECK(registration.ok());
    region = std::move(registration).value();
    accepting->decide = [this](const ConnectionRequest&) { return accept(); };
    std::vector<EventLoop*> pointers;
    for (auto& loop : loops_)
      pointers.push_back(loop.get());
    auto listening = fabricUnderTest().fabric->listen(fabricUnderTest().address, options, pointers, accepting);
    CHECK(listening.ok());
    listener = std::move(listening).value();
  }
  ~Server() {
    listener.reset();
    for (auto& served : all()) {
      if (!served->handler->waitEstablished()) continue;
      std::promise<void> fenced;
      served->loop->post([&] {
        if (served->handler->alive != nullptr) return served->handler->alive->fence([&] { fenced.set_value(); });
        fenced.set_value();
      });
      fenced.get_future().wait();
    }
    for (auto& loop : loops_)
      loop->stop();
  }

  AcceptDecision accept() {
    auto served = std::make_shared<Served>();
    auto* raw = served.get();
    served->handler->established = [this, raw](Connection& connection) {
      auto granted = connection.grant(region, 0, memory.size(), access);
      if (granted.ok()) raw->window = granted.value();
      if (marksGrants)
        CHECK(connection.post(std::vector<WorkRequest>{{WorkRequest::Kind::write, kGrantMarker, {}}}).ok());
      raw->connection = &connection;
      raw->loop = &connection.loop();
      if (onEstablished) onEstablished(connection);
    };
    const std::lock_guard lock(mutex_);
    served_.push_back(served);
    return {true, privateData, served->handler};
  }
  std::vector<std::shared_ptr<Served>> all() {
    const std::lock_guard lock(mutex_);
    return served_;
  }

  std::vector<std::byte> memory;
  DirtyMap dirty;
  std::shared_ptr<MemoryRegion> region;
  std::shared_ptr<Accepting> accepting = std::make_shared<Accepting>();
  std::unique_ptr<Listener> listener;
  Access access = Access::remoteReadWrite;
  // Not where the accepting end has to be silent at first: iWARP, which has no windows to bind.
  const bool marksGrants =
      fabricUnderTest().fabric->transport() == Transport::verbs && fabricUnderTest().acceptorSpeaksFirst;
  std::vector<std::byte> privateData;
  std::function<void(Connection&)> onEstablished;

 private:
  std::mutex mutex_;
  std::vector<std::shared_ptr<Served>> served_;
  std::vector<std::unique_ptr<EventLoop>> loops_;
};

// A connecting end.
class Client {
 public:
  explicit Client(const SocketAddress& address, ConnectionOptions options = {}, ConstBytes privateData = {},
                  EventLoop* shared = nullptr) {
    if (shared == nullptr) own_ = startLoop("client");
    auto started =
        connectingFabric().connect(address, options, privateData, shared != nullptr ? *shared : *own_, handler);
    CHECK(started.ok());
    connection = std::move(started).value();
  }
  ~Client() {
    waitFenced(*connection);
    handler->waitClosed();
    if (own_) own_->stop();
  }

  Status post(const WorkRequest& request) { return connection->post({&request, 1}); }
  // Waits for so many completions since the last call of settle, all of them good.
  void settle(std::size_t count) {
    settled_ += count;
    const auto completions = handler->waitCompletions(settled_);
    for (const Completion& completion : completions) {
      if (completion.status != ErrorCode::ok) {
        std::printf("# work request %llu failed: %s\n", static_cast<unsigned long long>(completion.id),
                    handler->waitClosed().message.c_str());
      }
      CHECK_EQ(completion.status, ErrorCode::ok);
    }
  }

  std::shared_ptr<Recorder> handler = std::make_shared<Recorder>();
  std::shared_ptr<Connection> connection;

 private:
  std::unique_ptr<EventLoop> own_;
  std::size_t settled_ = 0;
};

// Memory of a client's.
inline std::shared_ptr<MemoryRegion> registered(std::vector<std::byte>& memory) {
  auto registration = connectingFabric().registerMemory(memory, nullptr, false);
  CHECK(registration.ok());
  return std::move(registration).value();
}

// A client that is connected, with what its peer granted to it.
struct Pair {
  explicit Pair(Server& server, ConnectionOptions options = {}) : client(server.listener->address(), options) {
    CHECK(client.handler->waitEstablished());
    // The order of several clients of one server is that in which they were made.
    served = server.all().back();
    CHECK(served->handler->waitEstablished());
    // Clients of the product are told of their grant by a message behind it; these are told at once.
    if (server.marksGrants) served->handler->waitGranted();
  }
  std::uint64_t at(std::uint64_t offset) const { return served->window.base + offset; }
  std::uint32_t key() const { return served->window.key; }

  WorkRequest write(std::uint64_t id, std::span<const LocalSegment> local, std::uint64_t offset) const {
    return {WorkRequest::Kind::write, id, local, at(offset), key()};
  }
  WorkRequest read(std::uint64_t id, std::span<const LocalSegment> local, std::uint64_t offset) const {
    return {WorkRequest::Kind::read, id, local, at(offset), key()};
  }

  Client client;
  std::shared_ptr<Served> served;
};

}  // namespace conformance

// heartbeat_connection.h -- one session connection: heartbeats out, echoes and fence notices in.
//
// Everything runs on the event loop's thread but closeConnection and drop, which are for any. What becomes of a session whose
// connection ends is decided by its owner, session_channel.cpp.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "client/client_connection.h"

namespace rdmacp::client {

class HeartbeatConnection;

// On the loop's thread.
class HeartbeatConnectionOwner {
 public:
  virtual ~HeartbeatConnectionOwner() = default;
  // An error is a violation, and ends the connection.
  virtual Status onWelcome(HeartbeatConnection& connection, const protocol::Welcome& welcome) = 0;
  virtual void onEcho(HeartbeatConnection& connection) = 0;
  virtual void onFenced(std::uint64_t handle, std::uint64_t epoch) = 0;
  // The last call, once for each connection that was started.
  virtual void onConnectionOver(HeartbeatConnection& connection, const Error& reason) = 0;
};

class HeartbeatConnection final : public ClientConnection {
 public:
  HeartbeatConnection(EventLoop& eventLoop, const ConnectParameters& parameters,
                      std::shared_ptr<HeartbeatConnectionOwner> owner)
      : ClientConnection(eventLoop, parameters), owner_(std::move(owner)) {}

  // unansweredFor: after which time the connection counts as broken when this one still is not sent.
  void sendHeartbeat(std::uint32_t loopAgeMs, std::chrono::milliseconds unansweredFor);
  // At once.
  void drop(Error reason) { fail(std::move(reason)); }
  using ClientConnection::closeConnection;
  using ClientConnection::peer;

  void onCompletions(fabric::Connection& connection, std::span<const fabric::Completion> completions) override;

 protected:
  Status onAnswer(fabric::Connection& connection, protocol::MessageHeader header, fabric::ConstBytes message) override;
  Status onFurther(fabric::Connection& connection, protocol::MessageHeader header, fabric::ConstBytes message) override;
  void onOver(const Error& reason) override;

 private:
  static constexpr std::size_t kHeartbeatSlots = 16;

  // A heartbeat is sent from its slot, which is free again at its completion. Work request id: index + 1.
  struct Slot {
    std::vector<std::byte> bytes;
    bool busy = false;
  };

  std::shared_ptr<HeartbeatConnectionOwner> owner_;  // until it is over
  std::uint16_t version_ = protocol::kVersionMax;
  std::uint64_t sequence_ = 0;
  std::array<Slot, kHeartbeatSlots> slots_;
};

}  // namespace rdmacp::client

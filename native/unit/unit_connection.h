// unit_connection.h -- the unit's end of any connection: hello, version, owned send buffers, violations, the end.
//
// Handler calls run on the connection's loop; send and ref may be used by any thread. Owns what it sends until the
// completion. What the connection is for is decided by data_connection and session_connection.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "unit/connection_ref.h"
#include "unit/unit_state.h"

namespace rdmacp::unit {

class UnitConnection : public fabric::ConnectionHandler, public std::enable_shared_from_this<UnitConnection> {
 public:
  explicit UnitConnection(std::shared_ptr<UnitState> unit);

  const std::shared_ptr<ConnectionRef>& ref() const { return ref_; }
  // Ends it at once, whatever is under way.
  void abort();

  void onAccepted(fabric::Connection& connection) final;
  void onEstablished(fabric::Connection& connection, fabric::ConstBytes privateData) final;
  void onMessage(fabric::Connection& connection, fabric::ConstBytes message) final;
  void onCompletions(fabric::Connection& connection, std::span<const fabric::Completion> completions) final;
  void onClosed(fabric::Connection& connection, const Error& reason) final;

 protected:
  // The hello is done. What is returned refuses the connection.
  virtual Status onHello(fabric::Connection& connection) = 0;
  // A message of the agreed version. An error is a violation.
  virtual Status onRequest(protocol::MessageType type, fabric::ConstBytes message) = 0;
  // The last call, on the loop thread.
  virtual void onEnd() = 0;

  UnitState& unit() const { return *unit_; }
  std::uint16_t version() const { return version_; }
  bool peerHas(std::uint32_t capability) const { return (peerCapabilities_ & capability) != 0; }
  // Any thread.
  Status send(std::vector<std::byte> message);
  // On the loop, while the ref is alive.
  void refuse(const Error& why);

 private:
  enum class Phase { setUp, hello, open, refused };

  Status receive(fabric::Connection& connection, fabric::ConstBytes message);
  Status receiveHello(fabric::Connection& connection, fabric::ConstBytes message);

  const std::shared_ptr<UnitState> unit_;
  const std::shared_ptr<ConnectionRef> ref_;
  Phase phase_ = Phase::setUp;  // loop thread
  std::uint16_t version_ = 0;   // set before the first request is handled
  std::uint32_t peerCapabilities_ = 0;
  EventLoop::TimerId helloTimer_ = 0;
  bool violated_ = false;  // loop thread
  std::mutex sendMutex_;
  std::uint64_t nextSend_ = 1;
  std::unordered_map<std::uint64_t, std::vector<std::byte>> sending_;
};

}  // namespace rdmacp::unit

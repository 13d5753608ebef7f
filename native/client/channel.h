// channel.h -- the client's end of a data connection and of a session connection.
//
// A DataChannel is one open region handle's connection: connect with a token, hello, grant, then operations. An
// operation is what the user asked for (write these ranges, and then visible or durable), posted at once as the work
// requests it needs, and answered by one outcome.
//
// Threads: post, prepare, close from any thread. Handler calls come on the loop's thread, never from within a call into the channel.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/turn_listener.h"
#include "fabric/fabric.h"
#include "protocol/messages.h"

namespace rdmacp::client {

inline constexpr std::size_t kMaxTransfer = std::size_t{1} << 30;  // a larger range becomes several work requests
inline constexpr std::size_t kMaxWaiting = 1U << 20;               // operations that wait inside of a channel

struct OperationRange {
  std::uint64_t offset = 0;   // in the region
  std::byte* data = nullptr;  // null only for flush and for length 0
  std::uint64_t length = 0;
  const fabric::MemoryRegion* registration = nullptr;  // of data; kept until the outcome
};

struct Operation {
  enum class Kind : std::uint8_t { write, read, flush };
  // How far a write goes before it is answered. placed: local memory may be reused, no more (for pipelining).
  enum class Until : std::uint8_t { placed, visible, durable };
  std::uint64_t id = 0;
  Kind kind = Kind::write;
  Until until = Until::visible;                   // write
  std::vector<OperationRange> ranges;             // write: data out; read: data in
  std::vector<protocol::FlushRange> flushRanges;  // flush: what it covers; durable write: besides its own ranges
  // Of a flush or durable write: some of its ranges may have been written before this connection, so that the unit has to
  // make them durable. A flush by the verb covers what its own connection has written.
  bool flushByUnit = false;
  Clock::time_point deadline = Clock::time_point::max();
};

struct Outcome {
  std::uint64_t id = 0;
  ErrorCode code = ErrorCode::ok;
  std::uint16_t method = 0;  // as in protocol::Flushed
  std::int32_t systemError = 0;
};

class DataChannelHandler {
 public:
  virtual ~DataChannelHandler() = default;
  virtual void onOpen(const protocol::Grant& grant) = 0;
  virtual void onOutcomes(std::span<const Outcome> outcomes) = 0;
  // Exactly once and last; every operation has had its outcome before.
  virtual void onClosed(const Error& reason) = 0;
};

struct ConnectParameters {
  fabric::SocketAddress address;
  protocol::Token token{};
  fabric::ConnectionOptions options;
};

class DataChannel {
 public:
  static Result<std::shared_ptr<DataChannel>> connect(fabric::Fabric& fabric, EventLoop& loop,
                                                      const ConnectParameters& parameters,
                                                      std::shared_ptr<DataChannelHandler> handler);
  virtual ~DataChannel() = default;
  // A group of one or more operations of one kind that go equally far. They go out together and have one outcome, which is
  // told for each of them: all writes have one read that makes them visible, or one flush.
  // Refused before anything is sent, and then without an outcome: outOfBounds, invalidArgument, remoteAccess (the grant
  // has not that right), notDurable, limitReached (kMaxWaiting groups wait already), or why the channel is over.
  // answer: where the fabric can be polled, and doing so has paid lately, this thread looks for the answer for some
  // microseconds. A success that it finds is put there, and not told to the handler: that saves two changes of threads, more
  // than a device takes for a small transfer. For who has nothing else in flight.
  virtual Status post(std::span<const Operation> group, std::optional<Outcome>* answer) = 0;
  Status post(const Operation& operation, std::optional<Outcome>* answer = nullptr) {
    return post(std::span(&operation, 1), answer);
  }
  // Of the connection, while there is one.
  virtual bool prepare(const fabric::MemoryRegion& memory) = 0;
  // Orderly: what the connection has taken is sent, then it ends with localClosed.
  virtual void close() = 0;
  // At once: pending operations end with localClosed.
  virtual void abort() = 0;
};

class SessionChannelHandler {
 public:
  virtual ~SessionChannelHandler() = default;
  virtual void onOpen(const protocol::Welcome& welcome) = 0;
  // Another connection has taken the place of the one that stood, which had become silent or had broken: why.
  virtual void onMoved(const Error& why) = 0;
  virtual void onFenced(std::uint64_t handle, std::uint64_t epoch) = 0;
  virtual void onClosed(const Error& reason) = 0;
};

// Sends a heartbeat every welcome.heartbeatMs from the loop's thread, whatever JavaScript does. Where an echo is late it makes
// another connection by itself, with the spare token of the welcome. Ends (timedOut) when no echo has come for ten heartbeats or
// one second, whichever is longer.
class SessionChannel : public TurnListener {
 public:
  static Result<std::shared_ptr<SessionChannel>> connect(fabric::Fabric& fabric, EventLoop& loop,
                                                         const ConnectParameters& parameters,
                                                         std::shared_ptr<SessionChannelHandler> handler);
  virtual void close() = 0;
  virtual void abort() = 0;
};

}  // namespace rdmacp::client

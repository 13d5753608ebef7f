// connection.h -- one iWARP connection over a TCP socket, from connect or accept to the end.
//
// The loop thread owns the socket's readiness, the receiving half, the keys and the life. post() may transmit on any
// thread: the sending half and the phase are guarded by the mutex. A timer of the loop holds the connection until it
// is over, so that a loop that ends lets go of it.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "base/file_descriptor.h"
#include "fabric/fabric.h"
#include "fabric/iwarp/inbound.h"
#include "fabric/iwarp/key_table.h"
#include "fabric/iwarp/mpa.h"
#include "fabric/iwarp/receiver.h"
#include "fabric/iwarp/transmitter.h"

namespace rdmacp::fabric::iwarp {

// What both ends have agreed to when the set-up is over.
struct Agreement {
  bool initiator = false;
  bool crc = true;
  bool sameFabric = false;  // the peer is this fabric, too, and not a device or a stranger
  bool readySend = false;   // the peer's first frame is an empty Send that is nobody's message
  mpa::Depths depths;
};

class IwarpConnection final : public Connection,
                              public FdHandler,
                              public InboundEvents,
                              public std::enable_shared_from_this<IwarpConnection> {
 public:
  IwarpConnection(EventLoop& loop, FileDescriptor socket, const SocketAddress& peer, const ConnectionOptions& options,
                  std::shared_ptr<ConnectionHandler> handler, std::shared_ptr<void> slot);
  ~IwarpConnection() override;
  IwarpConnection(const IwarpConnection&) = delete;
  IwarpConnection& operator=(const IwarpConnection&) = delete;

  // The connecting side: the socket is connecting. revision: of MPA, 2 unless a test asks for 1.
  Status startConnecting(ConstBytes privateData, std::uint8_t revision);
  // The accepting side, loop thread: the reply has been sent.
  void startAccepted(const Agreement& agreement, ConstBytes privateData);
  // Loop thread: accepted, but the reply could not be sent.
  void startBroken(const Error& reason);

  Transport transport() const override { return Transport::iwarp; }
  EventLoop& loop() const override { return loop_; }
  SocketAddress peer() const override { return peer_; }
  ConnectionCounters counters() const override;
  std::uint32_t outboundReads() const override { return outboundReads_.load(); }
  bool watchesPeer() const override { return true; }
  Status post(std::span<const WorkRequest> batch, Lookout lookout) override;
  Result<RemoteWindow> grant(std::shared_ptr<const MemoryRegion> region, std::uint64_t offset, std::uint64_t length,
                             Access access) override;
  void revoke(std::uint32_t key) override;
  void fence(std::function<void()> done) override;
  void close() override;

  void onReady(std::uint32_t events) override;

 private:
  enum class Phase : std::uint8_t { connecting, requesting, established, over };

  // connection_setup.cpp
  void beginConnecting();
  void finishConnecting();
  void receiveReply();
  void useReply(const mpa::ParsedSetup& reply);
  void establish(const Agreement& agreement, ConstBytes privateData, ConstBytes rest);

  // InboundEvents
  OutstandingRead* headRead() override;
  void finishRead() override;
  bool respond(ReadResponse response) override;
  bool readsFrom(std::uint32_t key) override;
  void onMessageArrived(ConstBytes message) override;
  void onTerminate(ConstBytes payload) override;

  Status check(std::span<const WorkRequest> batch) const;
  void transmit(std::size_t budget);  // under the mutex
  void scheduleTransmit(bool whenWritable);
  void continueTransmit();
  void failFromTransmit();
  void scheduleDelivery();  // under the mutex
  void receiveTurn();
  void deliver();
  void armDeadline(Clock::time_point deadline);  // under the mutex
  void checkDeadlines();
  void nudgeSoon(std::chrono::milliseconds delay);
  void setInterest(std::uint32_t events);
  void keepAlive();
  void watchPeer();

  enum class Ending : std::uint8_t { orderly, abrupt };
  void violate(rdmap::TerminateCode code);
  // The one way out; loop thread. lastWords follow a frame that was sent in part.
  void finish(const Error& reason, Ending ending, std::vector<std::byte> lastWords = {});

  EventLoop& loop_;
  FileDescriptor socket_;
  const SocketAddress peer_;
  const ConnectionOptions options_;
  std::shared_ptr<ConnectionHandler> handler_;  // loop thread
  std::shared_ptr<void> slot_;

  // Loop thread
  KeyTable keys_;
  std::unique_ptr<Inbound> inbound_;
  std::unique_ptr<Receiver> receiver_;
  Agreement agreement_;
  std::uint32_t interest_ = 0;
  bool registered_ = false;
  bool held_ = false;
  bool transmitAfterReceive_ = false;
  std::optional<Error> remoteEnd_;
  EventLoop::TimerId keeper_ = 0;
  EventLoop::TimerId setupTimer_ = 0;
  EventLoop::TimerId violationTimer_ = 0;
  EventLoop::TimerId vigil_ = 0;
  std::vector<std::byte> setupOut_;
  std::vector<std::byte> setupIn_;
  std::uint8_t revision_ = 2;
  std::vector<Completion> completions_;

  mutable std::mutex mutex_;  // guards what follows
  Phase phase_ = Phase::connecting;
  bool closing_ = false;
  Error reason_;
  std::unique_ptr<Transmitter> transmitter_;
  bool transmitScheduled_ = false;
  bool deliveryScheduled_ = false;
  Clock::time_point deadlineArmed_ = Clock::time_point::max();

  std::atomic<std::uint32_t> outboundReads_{0};
  std::atomic<std::uint64_t> bytesIn_{0};
  std::atomic<std::uint64_t> segmentsIn_{0};
};

}  // namespace rdmacp::fabric::iwarp

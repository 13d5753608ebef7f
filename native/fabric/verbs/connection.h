// connection.h -- one reliable connected queue pair and its identifier, on either side.
//
// Threads: post and poll from any thread, under mutex_; prepare from any thread; everything else on the connection's loop. It has two completion
// queues: of what it posts (transmit_queue.h), and of the messages it receives, which the loop alone looks into. One
// completion channel tells the loop of both. It keeps itself alive until onClosed has returned.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "fabric/fabric.h"
#include "fabric/verbs/bounce_ring.h"
#include "fabric/verbs/cm_channel.h"
#include "fabric/verbs/device.h"
#include "fabric/verbs/transmit_queue.h"

namespace rdmacp::fabric::verbs {

// What a listener hands over: the identifier of a request, and what the request carried.
struct IncomingRequest {
  ConnectionId id;
  std::vector<std::byte> privateData;
  std::uint8_t responderResources = 0;
  std::uint8_t initiatorDepth = 0;
};

class VerbsConnection final : public Connection,
                              public CmHandler,
                              public FdHandler,
                              public std::enable_shared_from_this<VerbsConnection> {
 public:
  VerbsConnection(const Library& library, std::shared_ptr<DeviceTable> devices, std::shared_ptr<CmChannel> channel,
                  const ConnectionOptions& options, std::shared_ptr<ConnectionHandler> handler);
  ~VerbsConnection() override;
  VerbsConnection(const VerbsConnection&) = delete;
  VerbsConnection& operator=(const VerbsConnection&) = delete;

  // Client. Address, route and connection are resolved one after the other, by events; any thread.
  Status connect(const SocketAddress& address, ConstBytes privateData);
  // Unit. On the loop: what the accept handler decided is carried out.
  void receiveRequest(IncomingRequest request, AcceptHandler& decider, std::function<void()> released);

  Transport transport() const override { return Transport::verbs; }
  EventLoop& loop() const override { return loop_; }
  SocketAddress peer() const override;
  ConnectionCounters counters() const override;
  std::uint32_t outboundReads() const override { return outboundReads_.load(); }
  bool canFlush() const override { return canFlush_.load(); }
  Status post(std::span<const WorkRequest> batch, Lookout lookout) override;
  bool canPoll() const override { return true; }
  void poll(std::vector<Completion>& completions, bool rest) override;
  Result<RemoteWindow> grant(std::shared_ptr<const MemoryRegion> region, std::uint64_t offset, std::uint64_t length,
                             Access access) override;
  bool prepare(const MemoryRegion& memory) override;
  std::function<Status()> groundwork(const std::shared_ptr<const MemoryRegion>& region, Access access) override;
  void revoke(std::uint32_t key) override;
  void fence(std::function<void()> done) override;
  void close() override;

 private:
  enum class State : std::uint8_t { resolving, requested, accepting, established, draining, closed };
  struct GrantedKey {
    std::shared_ptr<const MemoryRegion> region;
    Registration registration;  // where the device has no windows, or for a part of the region
    Window window;              // goes before the registration it is bound to
  };

  // A registration made ahead of its grant, where the device has no windows. Its maker, on another thread, is done with it
  // before the grant, or is its last owner: the connection may end first, and then has no queue pair that could use the key.
  struct Groundwork {
    Groundwork() = default;
    ~Groundwork();
    Groundwork(const Groundwork&) = delete;
    Groundwork& operator=(const Groundwork&) = delete;
    std::shared_ptr<Device> device;
    std::shared_ptr<ProtectionDomain> domain;
    std::shared_ptr<const MemoryRegion> region;
    Access access = Access::none;
    Registration registration;
  };

  void onEvent(const CmEvent& event) override;
  void onReady(std::uint32_t events) override;

  Status prepareQueuePair();
  Status createQueuePair(ibv_pd* domain, ibv_qp_init_attr& attributes);
  Error unreached(const char* call, int number) const;
  rdma_conn_param parameters(ConstBytes privateData) const;
  void resolve();
  void startConnect();
  void connectAgain();
  void establish(ConstBytes privateData);
  void endedByPeer();
  void endedByDevice(const Error& reason);
  void nudgeSoon(std::chrono::milliseconds delay);
  // What one look into both queues has found.
  struct Look {
    TransmitQueue::Found sent;
    std::vector<ibv_wc> received;
    Status status;
  };
  void pollCompletions();
  Look lookForAWhile();
  Look look(bool* busy);
  Status arm();
  void handleReceive(const ibv_wc& completion);
  Status postReceive(std::uint32_t index);
  Error failureOf(const ibv_wc& completion) const;
  Error flushedFailure() const;
  std::string lately() const;              // what the device has said of the port
  ConnectionCounters countersNow() const;  // with the mutex
  void deliver(std::vector<Completion>& completions);
  void watchDeadlines(Clock::time_point next);
  void checkDeadlines(Clock::time_point watched);
  void startSetupTimer();
  void finishIfDrained();
  void breakWith(Error reason);
  void releaseDevice();
  void releaseMemory();  // with the mutex

  const Library& library_;
  std::shared_ptr<DeviceTable> devices_;
  EventLoop& loop_;
  std::shared_ptr<CmChannel> channel_;  // until onClosed has returned
  const ConnectionOptions options_;
  std::shared_ptr<ConnectionHandler> handler_;
  std::shared_ptr<VerbsConnection> self_;  // from the start until onClosed has returned
  std::function<void()> released_;

  // Loop thread.
  State state_ = State::resolving;
  // Set before open_ is, and then for good: any thread that has seen open_ may read it.
  std::shared_ptr<Device> device_;
  std::uint64_t watch_ = 0;             // what the device says of the queue pair and its queues
  std::vector<std::byte> privateData_;  // to send, with the preamble; on the unit's side what was received
  SocketAddress peer_;
  int portTries_ = kPortTries;
  std::shared_ptr<ProtectionDomain> ownDomain_;  // null: the device's
  std::shared_ptr<Groundwork> groundwork_;
  CompletionChannel completionChannel_;
  CompletionQueue sentQueue_;  // looked into under the mutex
  CompletionQueue receivedQueue_;
  bool armed_ = false;  // an event of receivedQueue_ has been asked for, and not been taken
  Mapping receiveMemory_;
  Registration receiveRegistration_;
  std::map<std::uint32_t, GrantedKey> keys_;
  std::vector<std::function<void()>> fenceDone_;
  EventLoop::TimerId setupTimer_ = 0;
  EventLoop::TimerId drainTimer_ = 0;
  bool disconnecting_ = false;

  std::atomic<std::uint32_t> outboundReads_{0};
  std::atomic<bool> canFlush_{false};  // the queue pair was made for it
  std::atomic<std::uint64_t> receivedBytes_{0}, receivedMessages_{0};

  mutable std::mutex mutex_;  // guards what follows
  ConnectionId id_;           // its queue pair is posted to under the mutex
  std::unique_ptr<TransmitQueue> transmit_;
  bool open_ = false;         // posts are taken
  bool closing_ = false;      // close() was called
  bool gone_ = false;         // nothing of the device's is left
  ConnectionCounters total_;  // once the transmit queue is gone
  Error overReason_{ErrorCode::invalidArgument, "the connection is not established yet", 0};
  Clock::time_point watchedDeadline_ = Clock::time_point::max();
};

}  // namespace rdmacp::fabric::verbs

// inbound.h -- what the peer's frames mean: places writes and read responses, assembles messages, takes read requests
// and Terminates, and names the Terminate for each rule that a frame breaks.
//
// A write is marked once it is placed and not before: a flush meanwhile would clear the mark and miss the rest of it.
//
// Loop thread of the connection. Owns the message being assembled and the sequence numbers of the inbound queues.
#pragma once

#include <array>
#include <vector>

#include "fabric/iwarp/key_table.h"
#include "fabric/iwarp/receiver.h"
#include "fabric/iwarp/work_item.h"

namespace rdmacp::fabric::iwarp {

// What Inbound needs of its connection.
class InboundEvents {
 public:
  virtual ~InboundEvents() = default;
  virtual OutstandingRead* headRead() = 0;
  virtual void finishRead() = 0;
  virtual bool respond(ReadResponse response) = 0;
  virtual bool readsFrom(std::uint32_t key) = 0;
  virtual void onMessageArrived(ConstBytes message) = 0;
  virtual void onTerminate(ConstBytes payload) = 0;
};

class Inbound final : public FrameHandler {
 public:
  struct Limits {
    std::uint32_t maxMessage = 0;
    std::uint32_t receiveDepth = 0;
  };
  Inbound(InboundEvents& events, KeyTable& keys, const Limits& limits)
      : events_(events), keys_(keys), limits_(limits) {}

  std::optional<rdmap::TerminateCode> onHeader(const ddp::Header& header, std::size_t payload,
                                               PlacementTarget& target) override;
  std::optional<rdmap::TerminateCode> onFrame(const ddp::Header& header, std::size_t payload) override;

  // The first message, if empty, is the peer's ready-to-receive frame (RFC 6581 section 9.1) and nobody's message.
  void expectReadySend() { swallowReadySend_ = true; }
  // The write that is being received goes no further; what has come of it is marked in its region's dirty map. Before its
  // key is forgotten, and before anybody is told that the connection has ended.
  void endPlacement();
  // Adds the read request to what a Terminate carries, when that is what broke a rule.
  void complete(rdmap::Culprit& culprit) const;
  std::uint64_t payloadReceived() const { return payloadReceived_; }

 private:
  using Verdict = std::optional<rdmap::TerminateCode>;

  Verdict onWriteHeader(const ddp::Header& header, std::size_t payload, PlacementTarget& target);
  Verdict onReadResponseHeader(const ddp::Header& header, std::size_t payload, PlacementTarget& target);
  Verdict onUntaggedHeader(const ddp::Header& header, std::size_t payload, PlacementTarget& target);
  Verdict onSendHeader(const ddp::Header& header, std::size_t payload, PlacementTarget& target);
  Verdict onMessageEnd(const ddp::Header& header);
  Verdict onReadRequest();
  Verdict checkSequence(const ddp::Header& header, std::uint32_t buffers) const;

  InboundEvents& events_;
  KeyTable& keys_;
  const Limits limits_;
  bool swallowReadySend_ = false;
  // The write being received, where it is to be marked. The map is its grant's.
  DirtyMap* dirty_ = nullptr;
  std::uint64_t dirtyOffset_ = 0;
  std::uint64_t dirtyLength_ = 0;
  std::array<std::uint32_t, 3> nextSequence_{1, 1, 1};  // RFC 5041 section 5.4: the first MSN of a queue is 1
  std::vector<std::byte> message_;
  std::size_t messageLength_ = 0;
  std::uint8_t messageOpcode_ = 0;
  std::array<std::byte, rdmap::kMaxTerminateBytes> control_{};  // a Read Request or a Terminate
  std::uint64_t payloadReceived_ = 0;
};

}  // namespace rdmacp::fabric::iwarp

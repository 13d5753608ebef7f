// transmitter.h -- the sending half of a connection: turns work requests and read responses into FPDUs and hands them
// to the socket, many in one sendmsg, payload from where it lies.
//
// Guarded by the connection's mutex: whoever posts may transmit, and so does the loop. Owns the queues and the staging
// of read responses; not the socket.
#pragma once

#include <sys/uio.h>

#include <array>
#include <deque>
#include <memory>
#include <vector>

#include "fabric/iwarp/rdmap.h"
#include "fabric/iwarp/work_item.h"

namespace rdmacp::fabric::iwarp {

class Transmitter {
 public:
  struct Limits {
    bool crc = true;
    std::size_t maxUlpdu = 0;
    std::uint32_t outboundReads = 0;
    std::uint32_t inboundReads = 0;
    std::uint32_t sendDepth = 0;
    bool foreign = false;  // the peer may be siw: see siw_reads.h, and transmit
  };
  enum class Outcome : std::uint8_t {
    idle,     // nothing (more) may be sent now
    blocked,  // the socket is full
    more,     // the budget is used up
    failed    // systemError()
  };

  explicit Transmitter(const Limits& limits);

  // All or none. The requests have been checked for what is independent of the state.
  bool enqueue(std::span<const WorkRequest> batch);
  // false: more reads in flight than agreed.
  bool respond(ReadResponse response);
  Outcome transmit(int socket, std::size_t budget);

  // While held nothing is framed: the accepting side may not send before the first FPDU of the peer (RFC 5044 section
  // 7.1.2).
  void hold(bool held) { held_ = held; }

  // One frame with an RDMA Write of no bytes more, between two messages.
  void nudge() { nudge_ = true; }

  // Reads in flight. The head may be looked at by the loop thread without the mutex until finishRead removes it.
  OutstandingRead* headRead() { return reads_.empty() ? nullptr : &reads_.front(); }
  void finishRead();
  bool readsInFlight() const { return !reads_.empty(); }

  bool completionReady() const { return !items_.empty() && items_.front().done; }
  void takeCompletions(std::vector<Completion>& completions);
  // The end: everything that has not completed does so with that status, and nothing refers to user memory any more.
  void abandon(ErrorCode status, std::vector<Completion>& completions);
  // The rest of a frame that was sent in part, to be called before abandon: a Terminate can only follow a whole frame.
  std::vector<std::byte> unfinishedFrame() const;

  // Copies what waits to be sent in place from that key's memory. false: a response from it is not yet framed.
  bool detachSource(std::uint32_t key);
  bool readsFrom(std::uint32_t key) const;

  bool empty() const { return items_.empty(); }
  Clock::time_point earliestDeadline() const;
  int systemError() const { return systemError_; }
  std::uint64_t payloadSent() const { return payloadSent_; }
  std::uint64_t framesSent() const { return framesSent_; }

  // A whole FPDU with a Terminate.
  static std::vector<std::byte> terminateFrame(rdmap::TerminateCode code, const rdmap::Culprit& culprit, bool crc);
  // A whole FPDU with an RDMA Write of no bytes: what the connecting side sends first so that the other may send.
  static std::vector<std::byte> readyFrame(bool crc);

 private:
  static constexpr std::size_t kFrames = 32;
  static constexpr std::size_t kHeadBytes = 160;

  struct Frame {
    std::array<std::byte, kHeadBytes> head;  // headers; for small payloads the whole frame
    std::size_t headLength = 0;
    std::vector<iovec> payload;
    std::array<std::byte, 8> tail;
    std::size_t tailLength = 0;
    std::size_t payloadLength = 0;
    std::size_t size = 0;
    std::size_t sent = 0;
    WorkItem* completes = nullptr;
    bool endsResponse = false;
    std::uint32_t sourceKey = 0;  // sent in place from granted memory
    std::unique_ptr<std::byte[]> staging;
  };
  enum class Speaker : std::uint8_t { none, work, response };

  bool frameNext();
  bool mayFrameWork() const;
  bool frameWork();
  void frameReadRequest(WorkItem& item);
  bool frameResponse();
  bool frameNudge();
  Frame& beginFrame();
  void putHeader(Frame& frame, const ddp::Header& header, std::size_t payload);
  void finishFrame(Frame& frame);
  Frame& frameAt(std::size_t i) { return frames_[(firstFrame_ + i) % kFrames]; }
  const Frame& frameAt(std::size_t i) const { return frames_[(firstFrame_ + i) % kFrames]; }
  void gather(std::size_t frames);
  void consume(std::size_t bytes);
  void release(Frame& frame);

  const Limits limits_;
  bool held_ = false;
  bool nudge_ = false;
  Speaker speaking_ = Speaker::none;  // whose message is unfinished: messages are not interleaved
  Speaker spokeLast_ = Speaker::none;

  std::deque<WorkItem> items_;  // in the order of posting, until completion
  std::size_t framed_ = 0;      // how many at the front have been framed as a whole
  SegmentCursor cursor_;        // in the item that is being framed
  std::shared_ptr<SegmentCursor> readCursor_;
  std::uint32_t sendSequence_ = 0;
  std::uint32_t readSequence_ = 0;
  std::uint32_t sinkKey_;
  std::deque<OutstandingRead> reads_;

  std::deque<ReadResponse> responses_;  // not yet framed as a whole
  std::size_t responsesInFlight_ = 0;   // not yet sent as a whole

  std::vector<Frame> frames_;  // a ring
  std::size_t firstFrame_ = 0;
  std::size_t frameCount_ = 0;
  std::size_t framedBytes_ = 0;
  std::uint32_t crc_ = 0;  // of the frame that is being built
  std::vector<std::unique_ptr<std::byte[]>> freeStaging_;
  std::size_t stagingInUse_ = 0;
  std::vector<iovec> vector_;
  int systemError_ = 0;
  std::uint64_t payloadSent_ = 0;
  std::uint64_t framesSent_ = 0;
};

}  // namespace rdmacp::fabric::iwarp

// transmit_queue.h -- the sending half of a verbs connection: work requests, cut into pieces that the device takes.
//
// A request becomes one or more pieces, each one send work request on the queue pair: cut at the device's number of
// segments, at its largest message, and at the size of a bounce piece where the local memory is not registered. Many
// pieces go with one doorbell. Of writes and sends only the last is signalled: they complete in order, so one completion
// tells of all before it. Every read is signalled: some devices (siw) complete what follows a read before the read
// itself. So is every flush, which is posted by itself, by the extended interface. On iWARP everything is: of what is not, siw may hand TCP the pages themselves and not a copy (from kernel 6.5
// on), and the completion of a later piece does not say that they have been sent.
//
// Its completion queue holds nothing else, so that any thread may look into it. An event is asked for only while somebody
// sleeps until there is something: before a post whose completion the loop looks out for, or after one that poll() did not
// find the completion of. Guarded by the connection's mutex; knows no handlers.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "fabric/fabric.h"
#include "fabric/verbs/bounce_ring.h"
#include "fabric/verbs/device.h"

namespace rdmacp::fabric::verbs {

class TransmitQueue {
 public:
  struct Limits {
    std::uint32_t depth = 128;       // send work requests on the queue pair at most
    std::uint32_t segments = 1;      // of a write or send
    std::uint32_t readSegments = 1;  // of a read
    std::uint32_t inlineBytes = 0;   // of a write or send that the device copies when it is posted
    std::size_t messageBytes = 1U << 30;
  };

  // completions: of everything posted here and of nothing else.
  TransmitQueue(std::shared_ptr<Device> device, ibv_pd* domain, ibv_cq* completions, Limits limits);
  ~TransmitQueue();
  TransmitQueue(const TransmitQueue&) = delete;
  TransmitQueue& operator=(const TransmitQueue&) = delete;

  void attach(ibv_qp* queuePair) { queuePair_ = queuePair; }
  std::size_t requests() const { return requests_.size(); }
  // The earliest deadline of what has not completed.
  Clock::time_point nextDeadline() const;

  void add(const WorkRequest& request);
  // Posts what the queue pair has room for. An error ends the connection.
  Status pump(Lookout lookout);
  // Binds a window; posted at once, ahead of requests that wait for room.
  Status bind(ibv_mw* window, std::uint32_t key, ibv_mr* registration, Bytes memory, int access);
  // A write of no bytes, which nobody waits for, if there is room.
  Status nudge();

  struct Found {
    std::vector<Completion> completions;  // in the order of posting
    std::optional<ibv_wc> failure;        // found by now, also by another call; ends the connection
    Status status;                        // what could not be posted behind them, which ends it too
    bool any = false;
  };
  // What has completed since; posts what there is room for by now.
  void collect(Found& found);
  // Something is on the queue pair.
  bool busy() const { return !pieces_.empty(); }
  bool failed() const { return failure_.has_value(); }
  // Asks for an event at the next completion, unless one is due. What has completed before is found by collect only.
  Status arm();
  void eventTaken() { armed_ = false; }
  // Everything that is left, after the queue pair is gone.
  void abandon(ErrorCode reason, std::vector<Completion>& completions);

  std::uint64_t bytesOut() const { return bytesOut_; }
  std::uint64_t bytesIn() const { return bytesIn_; }
  std::uint64_t segmentsOut() const { return segmentsOut_; }

 private:
  struct Request {
    std::uint64_t id = 0;
    WorkRequest::Kind kind = WorkRequest::Kind::write;
    std::vector<LocalSegment> local;
    std::uint64_t remoteAddress = 0;
    std::uint32_t remoteKey = 0;
    std::uint32_t flushBytes = 0;
    Clock::time_point deadline;
    // How far it has been cut.
    std::size_t segment = 0;
    std::size_t segmentOffset = 0;
    bool cut = false;
  };
  struct Copy {  // of a read's piece, from the bounce ring to where it belongs
    std::byte* target;
    const std::byte* source;
    std::size_t length;
  };
  struct Piece {
    BounceRing* ring = nullptr;
    const std::byte* bounce = nullptr;
    std::size_t bounceBytes = 0;
    std::vector<Copy> copies;
    bool alone = false;  // a read or flush: no other completion tells of it
    bool done = false;
    bool endsRequest = false;
  };
  struct Chain;

  // A signalled completion of a piece (by its wr_id) and so of all before it but reads.
  void complete(std::uint64_t number, std::vector<Completion>& completions);
  bool cutPiece(Request& request, Chain& chain, Status& failure);
  bool mustBounce(const Request& request, const LocalSegment& segment) const;
  BounceRing* ringFor(std::size_t length, Status& failure);
  Status post(Chain& chain);
  Status postFlush(const Request& request);

  std::shared_ptr<Device> device_;
  ibv_pd* domain_;
  Limits limits_;
  ibv_cq* completionQueue_;
  ibv_qp* queuePair_ = nullptr;
  bool armed_ = false;             // an event has been asked for, and not been taken
  std::optional<ibv_wc> failure_;  // of the completions that failed the one that says why
  std::unique_ptr<BounceRing> small_;
  std::unique_ptr<BounceRing> large_;
  std::unique_ptr<Chain> chain_;  // reused: it is large
  std::deque<Request> requests_;  // not complete, in order
  std::size_t uncut_ = 0;         // index of the first that is not wholly on the queue pair
  std::deque<Piece> pieces_;      // on the queue pair, in order
  std::uint64_t firstPiece_ = 1;  // number (wr_id) of pieces_.front()
  std::uint64_t bytesOut_ = 0, bytesIn_ = 0, segmentsOut_ = 0;
};

}  // namespace rdmacp::fabric::verbs

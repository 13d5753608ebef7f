// transmit_queue.cpp -- cuts work requests into send work requests and keeps their order. Under the connection's mutex.
#include "fabric/verbs/transmit_queue.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "fabric/siw_reads.h"
#include "fabric/verbs/flush_verb.h"

namespace rdmacp::fabric::verbs {
namespace {

constexpr std::size_t kSmallRing = 256U << 10;
constexpr std::size_t kSmallPiece = 4U << 10;
constexpr std::size_t kLargeRing = 4U << 20;
constexpr std::size_t kLargePiece = 512U << 10;
constexpr std::size_t kChain = 32;  // send work requests a doorbell
constexpr std::size_t kMaxSegments = 16;
constexpr std::uint32_t kKeptForBinds = 4;  // of the queue pair's depth
constexpr int kPollBatch = 32;

}  // namespace

// Send work requests that will be posted together.
struct TransmitQueue::Chain {
  std::array<ibv_send_wr, kChain> work;
  std::array<std::array<ibv_sge, kMaxSegments>, kChain> segments;
  std::size_t length = 0;
};

TransmitQueue::TransmitQueue(std::shared_ptr<Device> device, ibv_pd* domain, ibv_cq* completions, Limits limits)
    : device_(std::move(device)),
      domain_(domain),
      limits_(limits),
      completionQueue_(completions),
      chain_(std::make_unique<Chain>()) {
  limits_.segments = std::clamp<std::uint32_t>(limits_.segments, 1, kMaxSegments);
  limits_.readSegments = std::clamp<std::uint32_t>(limits_.readSegments, 1, kMaxSegments);
}

TransmitQueue::~TransmitQueue() = default;

Clock::time_point TransmitQueue::nextDeadline() const {
  Clock::time_point next = Clock::time_point::max();
  for (const Request& request : requests_)
    next = std::min(next, request.deadline);
  return next;
}

void TransmitQueue::add(const WorkRequest& request) {
  Request queued;
  queued.id = request.id;
  queued.kind = request.kind;
  queued.local.reserve(request.local.size());
  for (const LocalSegment& segment : request.local) {
    if (segment.length > 0) queued.local.push_back(segment);
  }
  if (device_->iwarp()) queued.kind = siw::kindFor(queued.kind, queued.local.size());
  queued.remoteAddress = request.remoteAddress;
  queued.remoteKey = request.remoteKey;
  queued.flushBytes = request.flushBytes;
  queued.deadline = request.deadline;
  requests_.push_back(std::move(queued));
}

// Unregistered memory; on iWARP every read sink, which needs remote-write rights; and where each connection has a
// protection domain of its own, what was registered on the shared one.
bool TransmitQueue::mustBounce(const Request& request, const LocalSegment& segment) const {
  if (segment.registration == nullptr || !device_->windows()) return true;
  return request.kind == WorkRequest::Kind::read && device_->iwarp();
}

BounceRing* TransmitQueue::ringFor(std::size_t length, Status& failure) {
  std::unique_ptr<BounceRing>& ring = length <= kSmallPiece ? small_ : large_;
  if (ring == nullptr) {
    const int access = IBV_ACCESS_LOCAL_WRITE | (device_->iwarp() ? IBV_ACCESS_REMOTE_WRITE : 0);
    auto made = BounceRing::make(device_->library(), domain_, length <= kSmallPiece ? kSmallRing : kLargeRing, access);
    if (!made) {
      failure = made.error();
      return nullptr;
    }
    ring = std::move(made).value();
  }
  return ring.get();
}

// Cuts the next piece of the request, which is no flush, onto the chain; false when there is no bounce memory for it now.
bool TransmitQueue::cutPiece(Request& request, Chain& chain, Status& failure) {
  ibv_send_wr& work = chain.work[chain.length];
  auto& segments = chain.segments[chain.length];
  work = {};
  work.sg_list = segments.data();
  const bool isRead = request.kind == WorkRequest::Kind::read;
  const std::size_t maxSegments = isRead ? limits_.readSegments : limits_.segments;

  std::size_t left = 0;
  bool bounce = false;
  for (std::size_t i = request.segment; i < request.local.size(); ++i) {
    left += request.local[i].length - (i == request.segment ? request.segmentOffset : 0);
    bounce = bounce || mustBounce(request, request.local[i]);
  }

  Piece piece;
  std::size_t length = std::min(left, limits_.messageBytes);
  std::byte* bounceMemory = nullptr;
  // A message is one work request: it may not be cut.
  const bool whole = request.kind == WorkRequest::Kind::send;
  if (whole && request.local.size() > maxSegments) bounce = true;
  // What the device copies while it is posted needs no registration.
  const bool inlined = !isRead && left <= limits_.inlineBytes && request.local.size() - request.segment <= maxSegments;
  if (inlined) bounce = false;
  if (bounce && !whole) length = std::min(length, kLargePiece);
  if (isRead && device_->iwarp()) length = siw::readAtOnce(request.remoteAddress, length);
  if (bounce && length > 0) {
    BounceRing* ring = ringFor(length, failure);
    if (ring == nullptr) return false;
    bounceMemory = ring->take(length);
    if (bounceMemory == nullptr) return false;
    piece.ring = ring;
    piece.bounce = bounceMemory;
    piece.bounceBytes = length;
    segments[0] = {reinterpret_cast<std::uint64_t>(bounceMemory), static_cast<std::uint32_t>(length), ring->localKey()};
    work.num_sge = 1;
  }

  std::size_t taken = 0;
  while (taken < length) {
    const LocalSegment& segment = request.local[request.segment];
    const std::size_t part = std::min(segment.length - request.segmentOffset, length - taken);
    std::byte* at = segment.address + request.segmentOffset;
    if (bounceMemory == nullptr) {
      if (static_cast<std::size_t>(work.num_sge) == maxSegments) break;
      std::uint32_t localKey = 0;
      if (!inlined) {
        // Registered local memory is on the shared domain of this device: see VerbsMemoryRegion::on.
        const auto registration = static_cast<const VerbsMemoryRegion*>(segment.registration)->on(device_);
        if (!registration) {
          failure = registration.error();
          return false;
        }
        localKey = registration.value().registration->lkey;
      }
      segments[static_cast<std::size_t>(work.num_sge++)] = {reinterpret_cast<std::uint64_t>(at),
                                                            static_cast<std::uint32_t>(part), localKey};
    } else if (isRead) {
      piece.copies.push_back({at, bounceMemory + taken, part});
    } else {
      std::memcpy(bounceMemory + taken, at, part);
    }
    taken += part;
    request.segmentOffset += part;
    if (request.segmentOffset == segment.length) {
      ++request.segment;
      request.segmentOffset = 0;
    }
  }

  switch (request.kind) {
    case WorkRequest::Kind::write:
      work.opcode = IBV_WR_RDMA_WRITE;
      break;
    case WorkRequest::Kind::read:
      work.opcode = IBV_WR_RDMA_READ;
      break;
    case WorkRequest::Kind::send:
      work.opcode = IBV_WR_SEND;
      break;
    case WorkRequest::Kind::flush:
      break;  // postFlush
  }
  piece.alone = isRead;
  if (isRead || device_->iwarp()) work.send_flags |= IBV_SEND_SIGNALED;
  if (!isRead && taken <= limits_.inlineBytes) work.send_flags |= IBV_SEND_INLINE;
  work.wr.rdma.remote_addr = request.remoteAddress;
  work.wr.rdma.rkey = request.remoteKey;
  request.remoteAddress += taken;
  if (isRead)
    bytesIn_ += taken;
  else
    bytesOut_ += taken;

  request.cut = request.segment == request.local.size();
  piece.endsRequest = request.cut;
  work.wr_id = firstPiece_ + pieces_.size();
  pieces_.push_back(std::move(piece));
  ++chain.length;
  return true;
}

Status TransmitQueue::post(Chain& chain) {
  if (chain.length == 0) return {};
  for (std::size_t i = 0; i + 1 < chain.length; ++i)
    chain.work[i].next = &chain.work[i + 1];
  chain.work[chain.length - 1].next = nullptr;
  chain.work[chain.length - 1].send_flags |= IBV_SEND_SIGNALED;
  segmentsOut_ += chain.length;
  ibv_send_wr* bad = nullptr;
  const int number = ibv_post_send(queuePair_, chain.work.data(), &bad);
  chain.length = 0;
  if (number != 0) return verbsError("ibv_post_send", number);
  return {};
}

// What was cut before it has been posted.
Status TransmitQueue::postFlush(const Request& request) {
  Piece piece;
  piece.alone = true;
  piece.endsRequest = true;
  const std::uint64_t number = firstPiece_ + pieces_.size();
  pieces_.push_back(std::move(piece));
  ++segmentsOut_;
  const int failed = flush_verb::post(device_->library(), queuePair_, number, request.remoteKey, request.remoteAddress,
                                      request.flushBytes);
  if (failed != 0) return verbsError("ibv_wr_flush", failed);
  return {};
}

Status TransmitQueue::pump(Lookout lookout) {
  if (queuePair_ == nullptr) return {};
  if (lookout == Lookout::loop) {
    if (Status armed = arm(); !armed) return armed;
  }
  Chain& chain = *chain_;
  Status failure;
  const std::size_t depth = limits_.depth - kKeptForBinds;
  while (uncut_ < requests_.size() && pieces_.size() < depth) {
    Request& request = requests_[uncut_];
    if (request.kind == WorkRequest::Kind::flush) {
      if (Status posted = post(chain); !posted) return posted;
      if (Status posted = postFlush(request); !posted) return posted;
      request.cut = true;
      ++uncut_;
      continue;
    }
    if (!cutPiece(request, chain, failure)) break;
    if (request.cut) ++uncut_;
    if (chain.length == kChain) {
      if (Status posted = post(chain); !posted) return posted;
    }
  }
  if (Status posted = post(chain); !posted) return posted;
  return failure;
}

Status TransmitQueue::bind(ibv_mw* window, std::uint32_t key, ibv_mr* registration, Bytes memory, int access) {
  if (pieces_.size() >= limits_.depth) return Error{ErrorCode::limitReached, "no room on the queue pair for a bind", 0};
  if (Status armed = arm(); !armed) return armed;
  ibv_send_wr work{};
  work.wr_id = firstPiece_ + pieces_.size();
  work.opcode = IBV_WR_BIND_MW;
  work.send_flags = IBV_SEND_SIGNALED;
  work.bind_mw.mw = window;
  work.bind_mw.rkey = key;
  work.bind_mw.bind_info.mr = registration;
  work.bind_mw.bind_info.addr = reinterpret_cast<std::uint64_t>(memory.data());
  work.bind_mw.bind_info.length = memory.size();
  work.bind_mw.bind_info.mw_access_flags = static_cast<unsigned>(access);
  ibv_send_wr* bad = nullptr;
  if (const int number = ibv_post_send(queuePair_, &work, &bad); number != 0) {
    return verbsError("ibv_post_send (bind of a memory window)", number);
  }
  pieces_.emplace_back();
  return {};
}

Status TransmitQueue::nudge() {
  if (queuePair_ == nullptr || pieces_.size() >= limits_.depth - kKeptForBinds) return {};
  if (Status armed = arm(); !armed) return armed;
  ibv_send_wr work{};
  work.wr_id = firstPiece_ + pieces_.size();
  work.opcode = IBV_WR_RDMA_WRITE;
  work.send_flags = IBV_SEND_SIGNALED;
  ibv_send_wr* bad = nullptr;
  if (const int number = ibv_post_send(queuePair_, &work, &bad); number != 0) {
    return verbsError("ibv_post_send (of no bytes)", number);
  }
  pieces_.emplace_back();
  return {};
}

Status TransmitQueue::arm() {
  if (armed_) return {};
  if (const int number = ibv_req_notify_cq(completionQueue_, 0); number != 0) {
    return verbsError("ibv_req_notify_cq", number);
  }
  armed_ = true;
  return {};
}

void TransmitQueue::collect(Found& found) {
  if (queuePair_ == nullptr) return;
  // What was in the queue at the call is found, however fast more comes.
  for (std::size_t polls = limits_.depth / kPollBatch + 1; polls > 0; --polls) {
    std::array<ibv_wc, kPollBatch> entries;
    const int count = ibv_poll_cq(completionQueue_, kPollBatch, entries.data());
    if (count < 0) found.status = Error{ErrorCode::connectionBroken, "ibv_poll_cq failed", 0};
    if (count <= 0) break;
    found.any = true;
    for (const ibv_wc& entry : std::span(entries).first(static_cast<std::size_t>(count))) {
      if (entry.status == IBV_WC_SUCCESS) {
        if (!failure_) complete(entry.wr_id, found.completions);
      } else if (!failure_ || failure_->status == IBV_WC_WR_FLUSH_ERR) {
        // Of the entries of a broken queue pair the first that was not flushed says why.
        failure_ = entry;
      }
    }
    if (count < kPollBatch) break;
  }
  found.failure = failure_;
  if (found.any && !failure_ && found.status) found.status = pump(Lookout::poll);
}

void TransmitQueue::complete(std::uint64_t number, std::vector<Completion>& completions) {
  if (number < firstPiece_ || number - firstPiece_ >= pieces_.size()) return;
  const std::size_t index = number - firstPiece_;
  // Back to the last that was known to be done; what lies before it was marked then.
  for (std::size_t i = index + 1; i-- > 0;) {
    Piece& piece = pieces_[i];
    if (i < index && piece.done && !piece.alone) break;
    if (!piece.alone || i == index) piece.done = true;
  }
  while (!pieces_.empty() && pieces_.front().done) {
    Piece& piece = pieces_.front();
    for (const Copy& copy : piece.copies)
      std::memcpy(copy.target, copy.source, copy.length);
    if (piece.ring != nullptr) piece.ring->giveBack(piece.bounce, piece.bounceBytes);
    if (piece.endsRequest) {
      completions.push_back({requests_.front().id, ErrorCode::ok});
      requests_.pop_front();
      --uncut_;
    }
    pieces_.pop_front();
    ++firstPiece_;
  }
}

void TransmitQueue::abandon(ErrorCode reason, std::vector<Completion>& completions) {
  queuePair_ = nullptr;
  pieces_.clear();
  for (const Request& request : requests_)
    completions.push_back({request.id, reason});
  requests_.clear();
  uncut_ = 0;
}

}  // namespace rdmacp::fabric::verbs

// connection.cpp -- an established connection: posting, receiving, completions, deadlines and the end.
// See connection.h for the threads and for what it owns.
#include "fabric/iwarp/connection.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <system_error>
#include <utility>

#include "fabric/iwarp/linger.h"
#include "fabric/iwarp/vigil.h"

namespace rdmacp::fabric::iwarp {
namespace {

// What one thread transmits before it lets others go on.
constexpr std::size_t kPostBudget = 256 * 1024;
constexpr std::size_t kTransmitTurn = 512 * 1024;
constexpr std::size_t kReceiveTurn = 1024 * 1024;
constexpr std::chrono::milliseconds kDeadlineGrain{10};
// How long the rest of a frame is awaited that broke a rule in its header.
constexpr std::chrono::milliseconds kViolationPatience{1000};
constexpr std::chrono::milliseconds kLastNudge{1000};
constexpr std::chrono::hours kForever{24 * 365 * 50};
// RFC 5041: the message offset of an untagged message has 32 bits.
constexpr std::uint64_t kMaxSend = 0xffffffffU;
constexpr const char* kNoFlush = "user-space iWARP has no RDMA FLUSH; it is of RDMA devices";

Error socketError(const char* what, int number) {
  return {ErrorCode::connectionBroken, std::string(what) + ": " + std::generic_category().message(number), number};
}

}  // namespace

IwarpConnection::IwarpConnection(EventLoop& loop, FileDescriptor socket, const SocketAddress& peer,
                                 const ConnectionOptions& options, std::shared_ptr<ConnectionHandler> handler,
                                 std::shared_ptr<void> slot)
    : loop_(loop),
      socket_(std::move(socket)),
      peer_(peer),
      options_(options),
      handler_(std::move(handler)),
      slot_(std::move(slot)) {}

IwarpConnection::~IwarpConnection() = default;

void IwarpConnection::keepAlive() {
  keeper_ = loop_.after(kForever, [self = shared_from_this()] {});
}

ConnectionCounters IwarpConnection::counters() const {
  ConnectionCounters counters;
  counters.bytesIn = bytesIn_.load(std::memory_order_relaxed);
  counters.segmentsIn = segmentsIn_.load(std::memory_order_relaxed);
  const std::lock_guard lock(mutex_);
  if (transmitter_ != nullptr) {
    counters.bytesOut = transmitter_->payloadSent();
    counters.segmentsOut = transmitter_->framesSent();
  }
  return counters;
}

// ---- posting

Status IwarpConnection::check(std::span<const WorkRequest> batch) const {
  for (const WorkRequest& request : batch) {
    std::uint64_t length = 0;
    for (const LocalSegment& segment : request.local) {
      if (segment.address == nullptr && segment.length != 0) {
        return Error{ErrorCode::invalidArgument,
                     "a local segment of " + std::to_string(segment.length) + " bytes has no address", 0};
      }
      length += segment.length;
    }
    if (request.kind == WorkRequest::Kind::flush) {
      return Error{ErrorCode::notSupported, kNoFlush, 0};
    }
    if (request.kind == WorkRequest::Kind::send && length > kMaxSend) {
      return Error{ErrorCode::invalidArgument, "a message of " + std::to_string(length) + " bytes is too long", 0};
    }
    if (request.kind == WorkRequest::Kind::read && outboundReads_.load() == 0) {
      return Error{ErrorCode::notSupported, "the set-up of this connection allows no reads", 0};
    }
  }
  return {};
}

Status IwarpConnection::post(std::span<const WorkRequest> batch, Lookout /*lookout*/) {
  if (batch.empty()) return {};
  if (Status status = check(batch); !status) return status;
  auto deadline = Clock::time_point::max();
  for (const WorkRequest& request : batch)
    deadline = std::min(deadline, request.deadline);

  const std::lock_guard lock(mutex_);
  if (phase_ == Phase::over) return reason_;
  if (closing_) return Error{ErrorCode::localClosed, "the connection is being closed by this side", 0};
  if (phase_ != Phase::established) return Error{ErrorCode::invalidArgument, "the connection is not established", 0};
  if (!transmitter_->enqueue(batch)) {
    return Error{ErrorCode::limitReached,
                 "more than " + std::to_string(options_.sendDepth) + " work requests are not yet complete", 0};
  }
  armDeadline(deadline);
  if (!transmitScheduled_) transmit(kPostBudget);
  return {};
}

void IwarpConnection::transmit(std::size_t budget) {
  switch (transmitter_->transmit(socket_.get(), budget)) {
    case Transmitter::Outcome::idle:
      break;
    case Transmitter::Outcome::blocked:
      scheduleTransmit(true);
      break;
    case Transmitter::Outcome::more:
      scheduleTransmit(false);
      break;
    case Transmitter::Outcome::failed:
      transmitScheduled_ = true;  // nobody else tries
      loop_.post([self = shared_from_this()] { self->failFromTransmit(); });
      break;
  }
  // With a read in flight its response will wake the loop soon enough.
  if (transmitter_->completionReady() && !transmitter_->readsInFlight()) scheduleDelivery();
}

void IwarpConnection::scheduleTransmit(bool whenWritable) {
  transmitScheduled_ = true;
  if (whenWritable && loop_.onThread()) return setInterest(EPOLLIN | EPOLLOUT);
  loop_.post([self = shared_from_this(), whenWritable] {
    if (!self->registered_) return;
    if (whenWritable) {
      self->setInterest(EPOLLIN | EPOLLOUT);
    } else {
      self->continueTransmit();
    }
  });
}

void IwarpConnection::continueTransmit() {
  const std::lock_guard lock(mutex_);
  if (phase_ != Phase::established) return;
  transmitScheduled_ = false;
  transmit(kTransmitTurn);
  if (!transmitScheduled_) setInterest(EPOLLIN);
}

// The peer may have said why before it closed: what it sent is looked at first.
void IwarpConnection::failFromTransmit() {
  if (!registered_) return;
  int number = 0;
  {
    const std::lock_guard lock(mutex_);
    number = transmitter_->systemError();
  }
  receiveTurn();
  finish(socketError("sending failed", number), Ending::abrupt);
}

void IwarpConnection::scheduleDelivery() {
  if (deliveryScheduled_) return;
  deliveryScheduled_ = true;
  loop_.post([self = shared_from_this()] { self->deliver(); });
}

void IwarpConnection::deliver() {
  bool drained = false;
  {
    const std::lock_guard lock(mutex_);
    deliveryScheduled_ = false;
    if (phase_ != Phase::established) return;
    transmitter_->takeCompletions(completions_);
    drained = closing_ && transmitter_->empty();
  }
  if (!completions_.empty()) {
    std::vector<Completion> batch;
    batch.swap(completions_);
    handler_->onCompletions(*this, batch);
    batch.clear();
    completions_.swap(batch);
  }
  if (drained) finish({ErrorCode::localClosed, "closed by this side", 0}, Ending::orderly);
}

// siw does not look at what arrives between its reply and its socket's coming under the queue pair's control (siw_cm.c,
// siw_accept and siw_cm_llp_data_ready) before something more arrives. That may be a request of ours, which then waits
// for its answer for ever: so something more is sent, by and by.
void IwarpConnection::nudgeSoon(std::chrono::milliseconds delay) {
  loop_.after(delay, [weak = weak_from_this(), delay] {
    const auto self = weak.lock();
    if (self == nullptr || !self->registered_) return;
    {
      const std::lock_guard lock(self->mutex_);
      if (self->phase_ != Phase::established) return;
      self->transmitter_->nudge();
      if (!self->transmitScheduled_) self->transmit(kPostBudget);
    }
    if (delay < kLastNudge) self->nudgeSoon(delay * 10);
  });
}

// ---- receiving

void IwarpConnection::onReady(std::uint32_t events) {
  const auto self = shared_from_this();
  if (phase_ == Phase::connecting) return finishConnecting();
  if (phase_ == Phase::requesting) return receiveReply();
  if ((events & EPOLLOUT) != 0) continueTransmit();
  if (registered_ && (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0) receiveTurn();
}

void IwarpConnection::receiveTurn() {
  const Receiver::Outcome outcome = receiver_->receive(socket_.get(), kReceiveTurn);
  bytesIn_.store(inbound_->payloadReceived(), std::memory_order_relaxed);
  segmentsIn_.store(receiver_->frames(), std::memory_order_relaxed);
  if (!registered_) return;
  if (held_ && receiver_->frames() > 0) {
    held_ = false;
    transmitAfterReceive_ = true;
  }
  if (std::exchange(transmitAfterReceive_, false)) {
    const std::lock_guard lock(mutex_);
    transmitter_->hold(held_);
    if (!transmitScheduled_) transmit(kTransmitTurn);
  }
  deliver();
  if (!registered_) return;
  if (remoteEnd_) return finish(*remoteEnd_, Ending::orderly);
  switch (outcome) {
    case Receiver::Outcome::drained:
      if (receiver_->violationPending() && violationTimer_ == 0) {
        violationTimer_ = loop_.after(kViolationPatience, [self = shared_from_this()] {
          if (self->registered_) self->violate(self->receiver_->pendingViolation());
        });
      }
      return;
    case Receiver::Outcome::stopped:
      return;
    case Receiver::Outcome::ended:
      return finish({ErrorCode::connectionClosed, "the peer closed the connection", 0}, Ending::orderly);
    case Receiver::Outcome::truncated:
      return finish({ErrorCode::connectionBroken, "the peer closed the connection inside of a frame", 0},
                    Ending::orderly);
    case Receiver::Outcome::failed:
      return finish(socketError("receiving failed", receiver_->systemError()), Ending::abrupt);
    case Receiver::Outcome::violation:
      return violate(receiver_->violationCode());
  }
}

OutstandingRead* IwarpConnection::headRead() {
  const std::lock_guard lock(mutex_);
  return transmitter_->headRead();
}

void IwarpConnection::finishRead() {
  const std::lock_guard lock(mutex_);
  transmitter_->finishRead();
  transmitAfterReceive_ = true;  // a further read may go out
}

bool IwarpConnection::respond(ReadResponse response) {
  const std::lock_guard lock(mutex_);
  transmitAfterReceive_ = true;
  return transmitter_->respond(std::move(response));
}

bool IwarpConnection::readsFrom(std::uint32_t key) {
  const std::lock_guard lock(mutex_);
  return !transmitter_->detachSource(key);
}

void IwarpConnection::onMessageArrived(ConstBytes message) {
  handler_->onMessage(*this, message);
}

void IwarpConnection::onTerminate(ConstBytes payload) {
  const auto code = rdmap::parseTerminate(payload);
  remoteEnd_ = code ? rdmap::terminateError(*code, !agreement_.sameFabric)
                    : Error{ErrorCode::connectionBroken, "the peer ended the connection and did not say why", 0};
  receiver_->stop();
}

// ---- keys

Result<RemoteWindow> IwarpConnection::grant(std::shared_ptr<const MemoryRegion> region, std::uint64_t offset,
                                            std::uint64_t length, Access access) {
  if (!registered_) return Error{ErrorCode::connectionClosed, "the connection is over", 0};
  if (allows(access, Access::remoteFlush)) return Error{ErrorCode::notSupported, kNoFlush, 0};
  return keys_.grant(std::move(region), offset, length, access);
}

void IwarpConnection::revoke(std::uint32_t key) {
  if (inbound_ != nullptr) inbound_->endPlacement();
  if (!keys_.revoke(key)) return;
  if (receiver_ != nullptr) receiver_->refuseRest(key);
  bool detached = false;
  {
    const std::lock_guard lock(mutex_);
    if (transmitter_ == nullptr || phase_ != Phase::established) return;
    detached = transmitter_->detachSource(key);
  }
  // The rest of a read that had begun cannot be answered any more.
  if (!detached) {
    receiver_->stop();
    loop_.post([self = shared_from_this()] {
      if (self->registered_) self->violate(rdmap::terminate_code::kReadInvalidStag);
    });
  }
}

// ---- deadlines

void IwarpConnection::armDeadline(Clock::time_point deadline) {
  if (deadline == Clock::time_point::max()) return;
  if (deadlineArmed_ != Clock::time_point::max() && deadline + kDeadlineGrain >= deadlineArmed_) return;
  deadlineArmed_ = deadline;
  const auto delay = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
  loop_.after(delay, [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->checkDeadlines();
  });
}

void IwarpConnection::checkDeadlines() {
  {
    const std::lock_guard lock(mutex_);
    if (phase_ != Phase::established) return;
    const auto now = Clock::now();
    if (now < deadlineArmed_) return;  // an earlier timer than the one that counts
    deadlineArmed_ = Clock::time_point::max();
    const auto earliest = transmitter_->earliestDeadline();
    if (earliest > now) return armDeadline(earliest);
  }
  finish({ErrorCode::timedOut, "a work request was not complete at its deadline", 0}, Ending::abrupt);
}

// ---- a peer that is gone without a word

void IwarpConnection::watchPeer() {
  vigil_ = loop_.after(kVigilInterval, [weak = weak_from_this()] {
    const auto self = weak.lock();
    if (self == nullptr || !self->registered_) return;
    const auto silent = unansweredFor(self->socket_.get());
    if (!silent) return self->watchPeer();
    resetOnClose(self->socket_.get());
    self->finish({ErrorCode::connectionBroken,
                  self->peer_.text() + " has not been heard for " + std::to_string(silent->count()) +
                      " ms, though it was asked: its machine, or the way to it, is gone",
                  0},
                 Ending::abrupt);
  });
}

// ---- the end

void IwarpConnection::setInterest(std::uint32_t events) {
  if (!registered_ || interest_ == events) return;
  if (loop_.modify(socket_.get(), events, this)) interest_ = events;
}

void IwarpConnection::violate(rdmap::TerminateCode code) {
  rdmap::Culprit culprit = receiver_->current();
  inbound_->complete(culprit);
  auto words = Transmitter::terminateFrame(code, culprit, agreement_.crc);
  finish({ErrorCode::protocolViolation, "the peer broke the protocol: " + rdmap::describe(code), 0}, Ending::orderly,
         std::move(words));
}

void IwarpConnection::finish(const Error& reason, Ending ending, std::vector<std::byte> lastWords) {
  const auto self = shared_from_this();
  if (inbound_ != nullptr) inbound_->endPlacement();  // before fence can see that it is over
  std::vector<std::byte> words;
  std::vector<Completion> completions;
  {
    const std::lock_guard lock(mutex_);
    if (phase_ == Phase::over) return;
    phase_ = Phase::over;
    reason_ = reason;
    if (transmitter_ != nullptr) {
      words = transmitter_->unfinishedFrame();
      transmitter_->abandon(reason.code, completions);
    }
  }
  if (receiver_ != nullptr) receiver_->stop();
  keys_.clear();
  if (registered_) loop_.remove(socket_.get());
  registered_ = false;
  loop_.cancel(keeper_);
  loop_.cancel(setupTimer_);
  loop_.cancel(violationTimer_);
  loop_.cancel(vigil_);
  if (ending == Ending::orderly && socket_) {
    words.insert(words.end(), lastWords.begin(), lastWords.end());
    linger(loop_, std::move(socket_), std::move(words), std::move(slot_));
  }
  socket_.reset();
  slot_.reset();
  if (!completions.empty()) handler_->onCompletions(*this, completions);
  handler_->onClosed(*this, reason);
  handler_.reset();
}

// fence and close post under the mutex: the connection cannot be over before, so its loop is still there.
void IwarpConnection::fence(std::function<void()> done) {
  bool posted = false;
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
    if (phase_ != Phase::over) {
      posted = loop_.post([self = shared_from_this(), done] {
        self->finish({ErrorCode::localClosed, "fenced by this side", 0}, Ending::abrupt);
        done();
      });
    }
  }
  if (!posted) done();  // it is over, or its loop has ended: nothing is received any more
}

void IwarpConnection::close() {
  const std::lock_guard closing(mutex_);
  if (phase_ == Phase::over || closing_) return;
  closing_ = true;
  loop_.post([self = shared_from_this()] {
    bool now = false;
    {
      const std::lock_guard lock(self->mutex_);
      now = self->phase_ != Phase::established || self->transmitter_->empty();
    }
    if (now) self->finish({ErrorCode::localClosed, "closed by this side", 0}, Ending::orderly);
  });
}

}  // namespace rdmacp::fabric::iwarp

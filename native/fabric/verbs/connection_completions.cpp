// connection_completions.cpp -- what a verbs connection finds in its completion queues, and who is told. Threads: see connection.h.
#include "fabric/verbs/connection.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

namespace rdmacp::fabric::verbs {
namespace {

constexpr int kPollBatch = 32;
constexpr int kLooksPerTurn = 8;
// For so long what is under way is polled for before its event is waited for, which costs a wake-up of this thread.
constexpr std::chrono::microseconds kPollTime{20};

}  // namespace

Status VerbsConnection::postReceive(std::uint32_t index) {
  const Bytes slot = receiveMemory_.memory().subspan(std::size_t{index} * options_.maxMessage, options_.maxMessage);
  ibv_sge segment{reinterpret_cast<std::uint64_t>(slot.data()), options_.maxMessage, receiveRegistration_->lkey};
  ibv_recv_wr work{};
  work.wr_id = index;
  work.sg_list = &segment;
  work.num_sge = 1;
  ibv_recv_wr* bad = nullptr;
  if (const int number = ibv_post_recv(id_->qp, &work, &bad); number != 0) return verbsError("ibv_post_recv", number);
  return {};
}

void VerbsConnection::onReady(std::uint32_t) {
  const auto keep = shared_from_this();
  ibv_cq* queue = nullptr;
  void* context = nullptr;
  unsigned sent = 0;
  unsigned received = 0;
  while (library_.getCqEvent(completionChannel_.get(), &queue, &context) == 0)
    ++(queue == sentQueue_.get() ? sent : received);
  if (received > 0) {
    library_.ackCqEvents(receivedQueue_.get(), received);
    armed_ = false;
  }
  if (sent > 0) {
    library_.ackCqEvents(sentQueue_.get(), sent);
    const std::lock_guard lock(mutex_);
    if (transmit_ != nullptr) transmit_->eventTaken();
  }
  pollCompletions();
}

VerbsConnection::Look VerbsConnection::look(bool* busy) {
  Look found;
  // What a message follows has completed before it: messages are taken out first, and dealt with last.
  std::array<ibv_wc, kPollBatch> entries;
  const int count = ibv_poll_cq(receivedQueue_.get(), kPollBatch, entries.data());
  if (count < 0) found.status = Error{ErrorCode::connectionBroken, "ibv_poll_cq failed", 0};
  if (count > 0) found.received.assign(entries.begin(), entries.begin() + count);
  const std::lock_guard lock(mutex_);
  if (transmit_ == nullptr) return found;
  transmit_->collect(found.sent);
  if (found.status) found.status = found.sent.status;
  *busy = transmit_->busy();
  return found;
}

VerbsConnection::Look VerbsConnection::lookForAWhile() {
  const auto until = Clock::now() + kPollTime;
  for (;;) {
    bool busy = false;
    Look found = look(&busy);
    if (found.sent.any || found.sent.failure || !found.received.empty() || !found.status) return found;
    if (!busy || Clock::now() >= until) return found;
  }
}

// Of what is under way, and of messages always.
Status VerbsConnection::arm() {
  if (!armed_) {
    if (const int number = ibv_req_notify_cq(receivedQueue_.get(), 0); number != 0) {
      return verbsError("ibv_req_notify_cq", number);
    }
    armed_ = true;
  }
  const std::lock_guard lock(mutex_);
  return transmit_ != nullptr && transmit_->busy() ? transmit_->arm() : Status{};
}

// Looks, and asks for events before it believes that there is nothing more.
void VerbsConnection::pollCompletions() {
  // A message may come before the event that says that the connection stands: it waits in the queue.
  if (state_ == State::resolving) return;
  bool armed = false;
  for (int turn = 0; turn < kLooksPerTurn; ++turn) {
    if (receivedQueue_ == nullptr) return;
    bool busy = false;
    Look found = armed ? look(&busy) : lookForAWhile();
    if (!found.sent.any && !found.sent.failure && found.received.empty() && found.status) {
      if (armed) return finishIfDrained();
      if (Status asked = arm(); !asked) return breakWith(asked.error());
      armed = true;
      continue;
    }
    armed = false;
    deliver(found.sent.completions);
    std::optional<ibv_wc> failure = found.sent.failure;
    for (const ibv_wc& entry : found.received) {
      if (receivedQueue_ == nullptr) return;
      if (entry.status == IBV_WC_SUCCESS) {
        handleReceive(entry);
      } else if (!failure || failure->status == IBV_WC_WR_FLUSH_ERR) {
        failure = entry;
      }
    }
    if (receivedQueue_ == nullptr) return;
    if (failure) return breakWith(failureOf(*failure));
    if (!found.status) return breakWith(found.status.error());
  }
  // Others on this loop have their turn first.
  (void)loop().post([keep = shared_from_this()] { keep->pollCompletions(); });
}

void VerbsConnection::poll(std::vector<Completion>& completions, bool rest) {
  TransmitQueue::Found found;
  bool drained = false;
  {
    const std::lock_guard lock(mutex_);
    if (transmit_ == nullptr || transmit_->failed()) return;
    transmit_->collect(found);
    if (rest && found.status && !found.failure && transmit_->busy()) {
      if (found.status = transmit_->arm(); found.status) transmit_->collect(found);
    }
    drained = closing_ && transmit_->requests() == 0;
  }
  completions.insert(completions.end(), found.completions.begin(), found.completions.end());
  if (found.failure) {
    (void)loop().post([keep = shared_from_this()] { keep->pollCompletions(); });
  } else if (!found.status) {
    (void)loop().post([keep = shared_from_this(), reason = found.status.error()] { keep->breakWith(reason); });
  } else if (drained) {
    (void)loop().post([keep = shared_from_this()] { keep->finishIfDrained(); });
  }
}

void VerbsConnection::deliver(std::vector<Completion>& completions) {
  if (completions.empty()) return;
  handler_->onCompletions(*this, completions);
  completions.clear();
}

void VerbsConnection::handleReceive(const ibv_wc& completion) {
  // A message can overtake the event that says the connection stands.
  if (state_ == State::accepting) establish(privateData_);
  if (state_ != State::established && state_ != State::draining) return;
  const auto index = static_cast<std::uint32_t>(completion.wr_id);
  const Bytes slot = receiveMemory_.memory().subspan(std::size_t{index} * options_.maxMessage, options_.maxMessage);
  receivedBytes_ += completion.byte_len;
  ++receivedMessages_;
  handler_->onMessage(*this, slot.first(std::min<std::size_t>(completion.byte_len, slot.size())));
  if (receivedQueue_ == nullptr) return;
  if (Status posted = postReceive(index); !posted) breakWith(posted.error());
}

Error VerbsConnection::failureOf(const ibv_wc& completion) const {
  const std::string text = std::string(library_.wcStatusText(completion.status)) + " (vendor " +
                           std::to_string(completion.vendor_err) + ") with " + peer_.text();
  switch (completion.status) {
    case IBV_WC_REM_ACCESS_ERR:
    case IBV_WC_REM_INV_REQ_ERR:
      return Error{ErrorCode::remoteAccess, text, 0};
    case IBV_WC_LOC_LEN_ERR:
      return Error{ErrorCode::protocolViolation, "a message was too long: " + text, 0};
    case IBV_WC_WR_FLUSH_ERR:
      return flushedFailure();
    default:
      return Error{ErrorCode::connectionBroken, text + lately(), 0};
  }
}

std::string VerbsConnection::lately() const {
  return device_ != nullptr && id_ != nullptr ? device_->lately(id_->port_num) : std::string();
}

// Work was flushed though nothing of this side's failed and the connection manager has said nothing. A queue pair of
// InfiniBand or RoCE goes into error by itself only when the peer did what it may not; on iWARP it does so too when the
// peer ends the connection, and the device's own event tells the two apart.
Error VerbsConnection::flushedFailure() const {
  if (device_->violated(id_->qp->qp_num) || !device_->iwarp()) {
    return Error{ErrorCode::protocolViolation, peer_.text() + " used a key, a bound or a right that it has not", 0};
  }
  return Error{ErrorCode::connectionClosed, "the peer ended the connection", 0};
}

}  // namespace rdmacp::fabric::verbs

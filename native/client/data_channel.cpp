// data_channel.cpp -- one open region handle's connection: operations out, outcomes back.
//
// post() runs on any thread and transmits there, and may look for the answer there; so does prepare(). Everything else here
// runs on the event loop's thread. The parts of a posted operation are counted down under outcomeMutex_, by the loop's thread or by the one
// that looks for the answer; whoever counts the last one frees it.
//
// Order of the mutexes: postMutex_, outcomeMutex_, the connection's.
#include <algorithm>
#include <array>
#include <atomic>
#include <deque>

#include "client/client_connection.h"
#include "client/flush_table.h"
#include "client/handshake.h"
#include "client/operation_plan.h"

namespace rdmacp::client {

namespace {

using fabric::WorkRequest;

constexpr std::size_t kMostCredits = 256;  // what this side uses of what the unit offers
constexpr std::size_t kControlRequests = 4;
constexpr std::chrono::milliseconds kProbeTime{2000};
// Where the fabric does not watch the peer: how often this side looks whether anything has come back, and how often in a row
// nothing may have while it should. A device that sends gives up after two seconds by itself, but not the kernel's iWARP.
constexpr std::chrono::milliseconds kVigilInterval{500};
constexpr unsigned kMostStandstills = 8;
// Less than what it costs to wake the loop's thread and then JavaScript's, and several round trips of a device.
constexpr std::chrono::microseconds kPollTime{20};
constexpr unsigned kMostMisses = 8;

class Channel final : public DataChannel, public ClientConnection {
 public:
  Channel(EventLoop& eventLoop, const ConnectParameters& parameters, std::shared_ptr<DataChannelHandler> handler)
      : ClientConnection(eventLoop, parameters), handler_(std::move(handler)) {}

  Status post(std::span<const Operation> group, std::optional<Outcome>* answer) override;
  bool prepare(const fabric::MemoryRegion& memory) override;
  void close() override;
  void abort() override { fail({ErrorCode::localClosed, "the connection was closed by this side"}); }

  void onCompletions(fabric::Connection& connection, std::span<const fabric::Completion> completions) override;

 protected:
  Status onAnswer(fabric::Connection& connection, protocol::MessageHeader header, fabric::ConstBytes message) override;
  Status onFurther(fabric::Connection& connection, protocol::MessageHeader header, fabric::ConstBytes message) override;
  void onOver(const Error& reason) override;

 private:
  // Under postMutex_, any thread.
  void advance();
  bool shallPoll(const PendingOperation& operation);
  void pollFor(std::uint64_t id, std::optional<Outcome>& answer);
  bool advanceWaiting(fabric::Connection& connection);
  bool advanceFlushes(fabric::Connection& connection);
  bool transmit(fabric::Connection& connection);
  void addSend(const FlushMessage& message, const PendingOperation& operation);
  void armSweep(Clock::time_point deadline);

  // Any thread.
  void count(std::span<const fabric::Completion> completions);
  void finish(PendingOperation* operation, std::size_t parts, ErrorCode code);

  // Loop thread.
  void sweep();
  bool probe();
  void watchPeer();
  void deliver();

  std::shared_ptr<DataChannelHandler> handler_;  // loop thread; null after onClosed
  std::mutex outcomeMutex_;
  std::vector<Outcome> outcomes_;    // under outcomeMutex_
  std::vector<Outcome> delivering_;  // loop thread; keeps its capacity
  std::array<std::byte, 8> sink_{};  // the reads that make writes visible end here

  FlushTable flushes_;
  std::atomic<std::size_t> inFlight_{0};   // work requests posted and not complete
  std::atomic<bool> queued_{false};        // something waits for room or credits
  std::atomic<std::uint64_t> answers_{0};  // completions, probes included
  std::uint64_t answersSeen_ = 0;          // loop thread, of watchPeer
  unsigned standstills_ = 0;               // loop thread

  std::mutex postMutex_;
  bool open_ = false;
  bool closing_ = false;
  std::optional<Error> over_;
  PlanLimits limits_;
  std::uint64_t nextRequest_ = 1;
  std::size_t depth_ = 0;                  // of inFlight_, for reads and writes
  std::deque<PendingOperation*> waiting_;  // not all of their requests are posted
  Clock::time_point sweepAt_ = Clock::time_point::max();
  std::vector<WorkRequest> batch_;  // scratch of advance
  std::vector<fabric::LocalSegment> sends_;
  fabric::Lookout lookout_ = fabric::Lookout::loop;  // for what advance posts
  std::vector<fabric::Completion> polled_;           // scratch of pollFor
  unsigned misses_ = 0;                              // polls in a row that did not find the answer
  unsigned passOver_ = 0;                            // operations that go by before the next
};

Status Channel::post(std::span<const Operation> group, std::optional<Outcome>* answer) {
  const std::lock_guard lock(postMutex_);
  if (over_) return *over_;
  if (closing_) return Error{ErrorCode::localClosed, "the connection was closed by this side"};
  if (!open_) return Error{ErrorCode::invalidArgument, "an operation before the connection was open"};
  if (waiting_.size() >= kMaxWaiting) {
    return Error{ErrorCode::limitReached, std::to_string(kMaxWaiting) + " operations wait for this connection already"};
  }
  auto planned = plan(group, limits_);
  if (!planned) return planned.error();
  const Clock::time_point deadline = planned.value()->deadline;
  if (!planned.value()->flushes.empty()) armSweep(deadline);
  const bool polls = answer != nullptr && group.size() == 1 && shallPoll(*planned.value());
  waiting_.push_back(planned.value().release());
  queued_ = true;
  lookout_ = polls ? fabric::Lookout::poll : fabric::Lookout::loop;
  advance();
  lookout_ = fabric::Lookout::loop;
  if (!waiting_.empty()) armSweep(deadline);
  if (polls) pollFor(group.front().id, *answer);
  return {};
}

// The answer to a flush message comes as a message, which the loop takes. Each miss doubles the number of operations that
// go by before the next try: where the network is slow, or the medium, looking in vain is only so much lost time.
bool Channel::shallPoll(const PendingOperation& operation) {
  if (!operation.flushes.empty() || queued_) return false;
  if (passOver_ > 0) return --passOver_, false;
  const auto open = connection();
  return open && open->canPoll();
}

// With postMutex_, so that the end of the connection waits until what was found is counted.
void Channel::pollFor(std::uint64_t id, std::optional<Outcome>& answer) {
  const auto open = connection();
  if (!open) return;
  const auto until = Clock::now() + kPollTime;
  bool left = false;
  for (bool rest = false; !rest && !answer;) {
    rest = Clock::now() >= until || !waiting_.empty();
    polled_.clear();
    open->poll(polled_, rest);
    count(polled_);
    const std::lock_guard lock(outcomeMutex_);
    if (outcomes_.size() == 1 && outcomes_[0].id == id && outcomes_[0].code == ErrorCode::ok) {
      answer = outcomes_[0];
      outcomes_.clear();
    }
    left = !outcomes_.empty();
  }
  misses_ = answer ? 0 : std::min(misses_ + 1, kMostMisses);
  if (misses_ > 0) passOver_ = 1U << misses_;
  if (queued_) advance();
  if (!left) return;
  (void)loop().post([weak = weak_from_this()] {
    if (const auto self = weak.lock()) static_cast<Channel&>(*self).deliver();
  });
}

bool Channel::prepare(const fabric::MemoryRegion& memory) {
  const auto open = connection();
  return open && open->prepare(memory);
}

void Channel::close() {
  {
    const std::lock_guard lock(postMutex_);
    closing_ = true;
  }
  closeConnection();
}

// queued_ is set before room and credits are looked at, and the loop's thread gives room and credits back before it
// looks at queued_: so one of the two sees what the other did, and nothing is left waiting.
void Channel::advance() {
  const auto taken = connection();
  // While it closes the connection takes nothing more, and a refused post would end it before it has sent what it took.
  if (!taken || closing_) return;
  if (advanceWaiting(*taken)) advanceFlushes(*taken);
  queued_ = !waiting_.empty() || flushes_.hasQueued();
}

bool Channel::advanceWaiting(fabric::Connection& connection) {
  while (!waiting_.empty()) {
    PendingOperation* operation = waiting_.front();
    const std::size_t used = inFlight_;
    const std::size_t room = used < depth_ ? depth_ - used : 0;
    const std::size_t left = operation->requests.size() - operation->posted;
    const std::size_t count = std::min(room, left);
    if (count == 0 && left > 0) return true;
    const bool last = count == left;

    const auto first = operation->requests.begin() + static_cast<std::ptrdiff_t>(operation->posted);
    batch_.assign(first, first + static_cast<std::ptrdiff_t>(count));
    sends_.clear();
    sends_.reserve(operation->flushes.size());
    if (last) {
      for (FlushMessage& message : operation->flushes) {
        if (flushes_.enter({operation, &message})) addSend(message, *operation);
      }
      waiting_.pop_front();
    }
    operation->posted += count;
    // Once transmitted, the loop's thread may complete and free the operation at any time.
    if (transmit(connection)) continue;

    operation->posted -= count;
    if (last) {
      for (FlushMessage& message : operation->flushes)
        flushes_.withdraw({operation, &message});
      waiting_.push_front(operation);
    }
    return false;
  }
  return true;
}

bool Channel::advanceFlushes(fabric::Connection& connection) {
  for (;;) {
    const FlushTable::Entry entry = flushes_.takeQueued();
    if (entry.message == nullptr) return true;
    batch_.clear();
    sends_.clear();
    sends_.reserve(1);
    addSend(*entry.message, *entry.operation);
    if (!transmit(connection)) {
      flushes_.requeue(entry);
      return false;
    }
  }
}

void Channel::addSend(const FlushMessage& message, const PendingOperation& operation) {
  // A send only reads its memory.
  sends_.push_back({const_cast<std::byte*>(message.bytes.data()), message.bytes.size(), nullptr});
  WorkRequest& request = batch_.emplace_back();
  request.kind = WorkRequest::Kind::send;
  request.id = reinterpret_cast<std::uintptr_t>(&operation);
  request.local = {&sends_.back(), 1};
  request.deadline = operation.deadline;
}

bool Channel::transmit(fabric::Connection& connection) {
  if (batch_.empty()) return true;
  inFlight_ += batch_.size();
  const Status posted = connection.post(batch_, lookout_);
  if (posted) return true;
  inFlight_ -= batch_.size();
  // A full queue empties by itself. Anything else ends the connection, and onOver gives every operation its outcome.
  if (posted.error().code != ErrorCode::limitReached) fail(posted.error());
  return false;
}

void Channel::armSweep(Clock::time_point deadline) {
  if (deadline >= sweepAt_) return;
  sweepAt_ = deadline;
  const auto wait = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
  loop().after(std::max(wait, std::chrono::milliseconds{0}), [weak = weak_from_this()] {
    if (const auto self = weak.lock()) static_cast<Channel&>(*self).sweep();
  });
}

Status Channel::onAnswer(fabric::Connection& connection, protocol::MessageHeader header, fabric::ConstBytes message) {
  if (header.type != protocol::MessageType::grant) {
    return Error{ErrorCode::protocolViolation, "the hello of a data connection was answered by message type " +
                                                   std::to_string(static_cast<int>(header.type))};
  }
  auto grant = protocol::parseGrant(message);
  if (!grant) return grant.error();
  if (Status checked = checkGrant(grant.value()); !checked) return checked;
  if (!connection.canFlush()) grant.value().capabilities &= ~protocol::kCapabilityFlushVerb;
  const bool flushVerb = (grant.value().capabilities & protocol::kCapabilityFlushVerb) != 0;
  {
    const std::lock_guard lock(postMutex_);
    limits_ = {grant.value(), header.version, sink_.data(), &nextRequest_, flushVerb};
    const std::size_t total = std::max<std::size_t>(options().sendDepth, 16);
    const std::size_t credits = std::min({std::size_t{grant.value().credits}, kMostCredits, total / 4});
    flushes_.setCredits(credits);
    depth_ = total - credits - kControlRequests;
    open_ = true;
  }
  if (!connection.watchesPeer()) watchPeer();
  handler_->onOpen(grant.value());
  return {};
}

// RDMA has no keepalive: what is dropped in silence is not missed by an idle connection.
void Channel::watchPeer() {
  loop().after(kVigilInterval, [weak = weak_from_this()] {
    const auto held = weak.lock();
    if (!held) return;
    auto& self = static_cast<Channel&>(*held);
    if (!self.connection()) return;
    const std::uint64_t answers = self.answers_;
    if (std::exchange(self.answersSeen_, answers) != answers) {
      self.standstills_ = 0;
    } else if (self.inFlight_ == 0) {
      self.standstills_ = 0;
      (void)self.probe();
    } else if (++self.standstills_ >= kMostStandstills) {
      return self.fail({ErrorCode::connectionBroken, "nothing came back from the unit at " + self.peer() + " for " +
                                                         std::to_string((kVigilInterval * kMostStandstills).count()) +
                                                         " ms, though it was asked"});
    }
    self.watchPeer();
  });
}

Status Channel::onFurther(fabric::Connection& /*connection*/, protocol::MessageHeader header,
                          fabric::ConstBytes message) {
  if (header.type != protocol::MessageType::flushed) {
    return Error{ErrorCode::protocolViolation,
                 "message type " + std::to_string(static_cast<int>(header.type)) + " on a data connection"};
  }
  const auto parsed = protocol::parseFlushed(message);
  if (!parsed) return parsed.error();
  const protocol::Flushed& flushed = parsed.value();
  PendingOperation* operation = nullptr;
  FlushTable::Answer answer{};
  {
    // A message is in the table shortly before it is sent; an answer to it counts only once post is through with it.
    const std::lock_guard lock(postMutex_);
    answer = flushes_.answer(flushed.request, &operation);
  }
  switch (answer) {
    case FlushTable::Answer::unknown:
      return Error{ErrorCode::protocolViolation,
                   "the answer to a flush that was not asked, number " + std::to_string(flushed.request)};
    case FlushTable::Answer::abandoned:
      break;
    case FlushTable::Answer::found:
      operation->outcome.method = flushed.method;
      if (flushed.systemError != 0) operation->outcome.systemError = flushed.systemError;
      finish(operation, 1, flushed.code == ErrorCode::ok ? ErrorCode::ok : knownCode(flushed.code));
      break;
  }
  if (queued_) {
    const std::lock_guard lock(postMutex_);
    advance();
  }
  deliver();
  return {};
}

void Channel::onCompletions(fabric::Connection& /*connection*/, std::span<const fabric::Completion> completions) {
  count(completions);
  if (queued_) {
    const std::lock_guard lock(postMutex_);
    advance();
  }
  deliver();
}

void Channel::count(std::span<const fabric::Completion> completions) {
  std::size_t counted = 0;
  answers_ += completions.size();
  for (const fabric::Completion& completion : completions) {
    if (completion.id == kControl) continue;
    ++counted;
    // plan() made the id of the operation's address. NOLINTNEXTLINE(performance-no-int-to-ptr)
    finish(reinterpret_cast<PendingOperation*>(completion.id), 1, codeOf(completion.status));
  }
  inFlight_ -= counted;
}

void Channel::finish(PendingOperation* operation, std::size_t parts, ErrorCode code) {
  std::unique_ptr<PendingOperation> ended;
  const std::lock_guard lock(outcomeMutex_);
  if (code != ErrorCode::ok && operation->outcome.code == ErrorCode::ok) operation->outcome.code = code;
  operation->remaining -= parts;
  if (operation->remaining > 0) return;
  ended.reset(operation);
  outcomes_.push_back(ended->outcome);
  for (const std::uint64_t id : ended->further) {
    outcomes_.push_back(ended->outcome);
    outcomes_.back().id = id;
  }
}

void Channel::deliver() {
  if (!handler_) return;
  {
    const std::lock_guard lock(outcomeMutex_);
    delivering_.swap(outcomes_);
  }
  if (delivering_.empty()) return;
  handler_->onOutcomes(delivering_);
  delivering_.clear();
}

// Ends what waits for credits, room or the answer to a flush beyond its deadline.
void Channel::sweep() {
  const Clock::time_point now = Clock::now();
  bool unanswered = false;
  {
    const std::lock_guard lock(postMutex_);
    sweepAt_ = Clock::time_point::max();
    FlushTable::Expired expired = flushes_.expire(now);
    unanswered = !expired.sent.empty();
    for (PendingOperation* operation : expired.sent)
      finish(operation, 1, ErrorCode::timedOut);
    for (PendingOperation* operation : expired.queued)
      finish(operation, 2, ErrorCode::timedOut);
    std::erase_if(waiting_, [&](PendingOperation* operation) {
      if (operation->deadline > now) {
        expired.next = std::min(expired.next, operation->deadline);
        return false;
      }
      const std::size_t unposted = operation->requests.size() - operation->posted + 2 * operation->flushes.size();
      finish(operation, unposted, ErrorCode::timedOut);
      return true;
    });
    if (expired.next != Clock::time_point::max()) armSweep(expired.next);
  }
  if (unanswered && !probe()) {
    fail({ErrorCode::timedOut, "the unit at " + peer() + " did not answer a flush within its deadline"});
  }
  deliver();
}

// Tells a slow medium, or an idle unit, from one that is gone: the latter does not answer a read either, and its deadline
// breaks the connection. false: the grant lets nothing be read.
bool Channel::probe() {
  const bool readable =
      (limits_.grant.rights & static_cast<std::uint32_t>(fabric::Access::remoteRead)) != 0 && limits_.grant.length > 0;
  if (!readable) return false;
  const auto asked = connection();
  if (!asked) return true;
  const fabric::LocalSegment segment{sink_.data(), 1, nullptr};
  WorkRequest request;
  request.kind = WorkRequest::Kind::read;
  request.id = kControl;
  request.local = {&segment, 1};
  request.remoteAddress = limits_.grant.base;
  request.remoteKey = limits_.grant.remoteKey;
  request.deadline = Clock::now() + kProbeTime;
  // A full queue has requests with deadlines of their own in it.
  (void)asked->post({&request, 1}).ok();
  return true;
}

void Channel::onOver(const Error& reason) {
  {
    const std::lock_guard lock(postMutex_);
    over_ = reason;
    const FlushTable::Expired open = flushes_.drain();
    for (PendingOperation* operation : open.sent)
      finish(operation, 1, reason.code);
    for (PendingOperation* operation : open.queued)
      finish(operation, 2, reason.code);
    for (PendingOperation* operation : waiting_) {
      finish(operation, operation->requests.size() - operation->posted + 2 * operation->flushes.size(), reason.code);
    }
    waiting_.clear();
  }
  deliver();
  const std::shared_ptr<DataChannelHandler> handler = std::move(handler_);
  if (handler) handler->onClosed(reason);
}

}  // namespace

Result<std::shared_ptr<DataChannel>> DataChannel::connect(fabric::Fabric& fabric, EventLoop& loop,
                                                          const ConnectParameters& parameters,
                                                          std::shared_ptr<DataChannelHandler> handler) {
  auto channel = std::make_shared<Channel>(loop, parameters, std::move(handler));
  if (Status started = channel->start(fabric, protocol::ConnectionKind::data); !started) return started.error();
  return std::shared_ptr<DataChannel>(std::move(channel));
}

}  // namespace rdmacp::client

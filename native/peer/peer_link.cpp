// peer_link.cpp -- listening, retrying, settling on one connection, and the status block. The loop's thread, but for what
// the header says. It owns the loop, the listener and, with the fabric, the connections.
#include "peer/peer_link.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <random>
#include <set>
#include <unordered_set>
#include <utility>

#include "fabric/unheard.h"
#include "protocol/messages.h"

namespace rdmacp::peer {

namespace {

using Connection = std::shared_ptr<PeerConnection>;

constexpr milliseconds kFirstBackOff{10};
constexpr milliseconds kLongestBackOff{500};
// How often the clock of the block is set while somebody may read it.
constexpr milliseconds kTick{20};
constexpr milliseconds kStopPatience{1000};
constexpr std::uint32_t kMaxSockets = 64;
// Connections that have not asked for anything yet. Strangers that say nothing and come back at once push out whoever has waited
// longest; among so many a partner has milliseconds for its one frame, however fast they are.
constexpr std::uint32_t kMaxSilent = 512;
// Accepted and not proved yet. Whoever has heard a ticket of the partner's can hold some; the oldest gives way.
constexpr std::size_t kMaxUnproved = 16;
constexpr std::uint32_t kMessagesOnTheWay = 8;

double systemMs() {
  return std::chrono::duration<double, std::milli>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// Whoever came has gone again: a partner that settles on the other connection does, too.
bool isDeparture(ErrorCode code) {
  return code == ErrorCode::connectionClosed || code == ErrorCode::connectionBroken;
}

// Takes the same time wherever the two differ.
bool sameBytes(const Ticket& a, const Ticket& b) {
  volatile unsigned char difference = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference = static_cast<unsigned char>(difference | std::to_integer<unsigned char>(a[i] ^ b[i]));
  }
  return difference == 0;
}

// What says no more than that the partner is not there (yet).
bool isAbsence(ErrorCode code) {
  return isDeparture(code) || code == ErrorCode::connectionRefused || code == ErrorCode::timedOut ||
         code == ErrorCode::stopped;
}

// Ends that the rules of one connection bring about, and nobody needs to know of.
bool isSettling(ErrorCode code) {
  return code == ErrorCode::exists || code == ErrorCode::localClosed;
}

bool sameText(const std::optional<Error>& a, const Error& b) {
  return a && a->code == b.code && a->message == b.message;
}

// Nonces of the requests that a ticket was good for: who has heard one and says it again takes no place with it. A partner makes
// no more than two requests a second for long, so that what falls out again is an hour old.
class AskedBefore {
 public:
  bool firstTime(const Nonce& nonce) {
    if (!known_.insert(nonce).second) return false;
    order_.push_back(nonce);
    if (order_.size() > kMost) {
      known_.erase(order_.front());
      order_.pop_front();
    }
    return true;
  }

 private:
  static constexpr std::size_t kMost = 8192;

  std::set<Nonce> known_;
  std::deque<Nonce> order_;  // the oldest first
};

class Link final : public PeerLink, public ConnectionOwner {
 public:
  Link(std::shared_ptr<fabric::Fabric> fabric, const PeerLinkOptions& options, std::unique_ptr<EventLoop> loop,
       std::shared_ptr<Area> statusArea, std::shared_ptr<PeerLinkHandler> handler)
      : fabric_(std::move(fabric)),
        options_(options),
        context_{*fabric_,
                 *loop,
                 std::move(statusArea),
                 options.bootId.value_or(randomIdentity()),
                 pairKey(options.secret, std::as_bytes(std::span(options.name))),
                 options.versionMin,
                 options.versionMax,
                 options.handshakeTimeout,
                 options.stepTimeout,
                 options.probeInterval},
        handler_(std::move(handler)),
        startedAt_(Clock::now()),
        jitter_(std::random_device{}()),
        loop_(std::move(loop)) {
    report_.bootId = context_.bootId;
    report_.startedAtMs = systemMs();
    block_.version = context_.versionMax;
    block_.bootId = context_.bootId;
    block_.state = Published{}.state;
  }
  ~Link() override { stop(); }
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  Status listen();

  fabric::SocketAddress address() const override { return address_; }
  PeerReport report() const override;
  Status publish(const Published& published) override;
  void touch() override { turnedMs_.store(clockMs(), std::memory_order_relaxed); }
  void readPartner(Answer answer) override;
  void stop() override;

  // ConnectionOwner
  Status admit(PeerConnection& connection, bool taking) override;
  bool mayConfirm(PeerConnection& connection) override;
  void greet(const Nonce& connection, MailStep step) override;
  void onLinked(PeerConnection& connection) override;
  void onOver(PeerConnection& connection, const Error& reason) override;

  // Of the listener
  fabric::AcceptDecision decide(const fabric::ConnectionRequest& request);

 private:
  class Gate;

  Result<Connection> receive(const fabric::ConnectionRequest& request);
  void attempt();
  void attemptLater();
  void writeBlock();
  void tick();
  void tickSoon();
  void noteProblem(const Error& error, bool ofRequest);
  void tell(const PeerChange& change);
  void closeAll();
  bool post(EventLoop::Task task);  // any thread; false once stopped
  std::vector<Connection> all() const { return {connections_.begin(), connections_.end()}; }
  void changedConnections();
  std::uint64_t clockMs() const {
    return static_cast<std::uint64_t>(std::chrono::duration_cast<milliseconds>(Clock::now() - startedAt_).count());
  }

  const std::shared_ptr<fabric::Fabric> fabric_;
  const PeerLinkOptions options_;
  const PeerContext context_;
  const std::shared_ptr<PeerLinkHandler> handler_;
  const Clock::time_point startedAt_;
  std::atomic<std::uint64_t> turnedMs_{0};
  std::atomic<std::uint32_t> unheard_{0};
  fabric::SocketAddress address_;  // set by listen, before anybody else knows the link

  // Loop thread
  StatusBlock block_;
  std::unordered_set<Connection> connections_;
  AskedBefore asking_;
  Connection outgoing_;  // this process's attempt
  Connection taken_;     // the partner's, whose introduction was taken
  Connection linked_;
  Clock::time_point attemptedAt_;
  milliseconds backOff_ = kFirstBackOff;
  bool attemptScheduled_ = false;
  bool ticking_ = false;
  bool stopping_ = false;
  std::optional<Error> toldAttempt_;
  std::optional<Error> toldRequest_;
  std::minstd_rand jitter_;

  mutable std::mutex mutex_;         // guards what follows, up to the blank line
  std::shared_ptr<EventLoop> loop_;  // none once stopped: its descriptors are not kept for as long as the link is
  std::condition_variable emptied_;
  std::size_t open_ = 0;  // connections_.size()
  bool closed_ = false;
  PeerReport report_;

  std::once_flag stopped_;
  std::unique_ptr<fabric::Listener> listener_;  // of start and stop
};

class Link::Gate final : public fabric::AcceptHandler, public fabric::UnheardListener {
 public:
  explicit Gate(Link& link) : link_(link) {}
  fabric::AcceptDecision onRequest(const fabric::ConnectionRequest& request) override { return link_.decide(request); }
  void onUnheard() override { ++link_.unheard_; }

 private:
  Link& link_;  // it stops the loop, and with it these calls, before it ends
};

Status Link::listen() {
  writeBlock();
  fabric::ListenOptions options;
  options.connection.maxMessage = kMaxMessage;
  options.connection.receiveDepth = kMessagesOnTheWay;
  options.connection.setupTimeout = context_.handshakeTimeout;
  options.maxConnections = kMaxSockets;
  options.maxWaiting = kMaxSilent;
  EventLoop* const loops[] = {&context_.loop};
  auto listener = fabric_->listen(options_.listen, options, loops, std::make_shared<Gate>(*this));
  if (!listener) return listener.error();
  listener_ = std::move(listener).value();
  address_ = listener_->address();
  post([this] { attempt(); });
  return {};
}

// ---- the partner's connections

fabric::AcceptDecision Link::decide(const fabric::ConnectionRequest& request) {
  fabric::AcceptDecision decision;
  auto received = receive(request);
  if (received) {
    decision.accept = true;
    decision.privateData = encode(received.value()->acceptData());
    decision.handler = std::move(received).value();
    return decision;
  }
  protocol::RejectData reject;
  reject.code = received.error().code;
  reject.versionMin = context_.versionMin;
  reject.versionMax = context_.versionMax;
  decision.privateData = protocol::encode(reject);
  noteProblem({received.error().code, "a request from " + request.peer.host() + ": " + received.error().message, 0},
              true);
  return decision;
}

Result<Connection> Link::receive(const fabric::ConnectionRequest& request) {
  if (stopping_) return Error{ErrorCode::stopped, "the link is being closed", 0};
  const auto partner = parseIntroduction(request.privateData);
  if (!partner) return partner.error();
  const auto version = protocol::commonVersion(context_.versionMin, context_.versionMax, partner.value().versionMin,
                                               partner.value().versionMax);
  if (!version) {
    return Error{ErrorCode::versionMismatch,
                 "it speaks versions " + std::to_string(partner.value().versionMin) + " to " +
                     std::to_string(partner.value().versionMax) + " of the peer protocol, and this process " +
                     std::to_string(context_.versionMin) + " to " + std::to_string(context_.versionMax),
                 0};
  }
  if (partner.value().bootId == context_.bootId) {
    return Error{ErrorCode::invalidArgument, "the partner's address leads back to this process", 0};
  }
  // A stranger has cost no more than this, and holds nothing.
  const Introduction& asked = partner.value();
  const Ticket ticket = ticketOf(context_.key, asked);
  if (!sameBytes(ticket, asked.ticket)) {
    return Error{ErrorCode::unauthenticated, "it does not know the secret and the name of this pair", 0};
  }
  if (!asking_.firstTime(asked.nonce)) {
    return Error{ErrorCode::exists, "the same request came before: somebody repeats what a partner has said", 0};
  }
  std::vector<Connection> unproved;
  for (const Connection& other : connections_) {
    if (!other->connecting() && !other->proved()) unproved.push_back(other);
  }
  if (unproved.size() >= kMaxUnproved) {
    const auto oldest = std::ranges::min_element(unproved, {}, [](const Connection& one) { return one->begunAt(); });
    (*oldest)->fail({ErrorCode::limitReached, "others came that had not proved themselves either", 0},
                    PeerConnection::Farewell::none);
  }
  auto connection = std::make_shared<PeerConnection>(context_, *this, partner.value(), *version);
  connections_.insert(connection);
  changedConnections();
  return connection;
}

void Link::changedConnections() {
  if (!connections_.empty()) tickSoon();
  const std::lock_guard lock(mutex_);
  open_ = connections_.size();
  if (open_ == 0) emptied_.notify_all();
}

// Both ends come to the same connection without a word more. Of two processes that connect at once, the one with the
// smaller boot id decides: it takes the other's introduction and drops its own attempt, unless it has confirmed that
// already; then it refuses the other's. So the one with the larger boot id may take an introduction and go on with its own:
// only one of the two can come to its end. A link that stands is never given up for another: a partner that was
// restarted has closed it, or the probes will find that it is gone.
Status Link::admit(PeerConnection& connection, bool taking) {
  if (linked_) {
    if (linked_->partner() == connection.partner()) return Error{ErrorCode::exists, "the two are linked already", 0};
    return Error{ErrorCode::limitReached, "the partner is linked with another process already", 0};
  }
  if (outgoing_ && outgoing_->committed()) {
    return Error{ErrorCode::exists, "another connection of the two was faster", 0};
  }
  if (!taking) return {};
  // Of what the partner has begun, the newest counts.
  for (const Connection& other : all()) {
    if (other.get() == &connection || other->connecting() || !other->proved()) continue;
    other->fail({ErrorCode::exists, "the partner has started again", 0}, PeerConnection::Farewell::tell);
  }
  if (outgoing_ && context_.bootId < connection.partner()) {
    outgoing_->fail({ErrorCode::exists, "the partner's connection is preferred", 0}, PeerConnection::Farewell::tell);
  }
  taken_ = connection.shared_from_this();
  return {};
}

bool Link::mayConfirm(PeerConnection& connection) {
  const bool decided = taken_ && context_.bootId < taken_->partner();
  return !linked_ && !decided && outgoing_.get() == &connection;
}

void Link::greet(const Nonce& connection, MailStep step) {
  block_.greeted = connection;
  block_.greetedStep = static_cast<std::uint32_t>(step);
  writeBlock();
}

void Link::onLinked(PeerConnection& connection) {
  const Connection self = connection.shared_from_this();
  linked_ = self;
  backOff_ = kFirstBackOff;
  toldAttempt_.reset();
  toldRequest_.reset();
  {
    const std::lock_guard lock(mutex_);
    report_.linked = true;
    report_.partner = connection.partner();
    report_.linkedAtMs = systemMs();
    report_.connected = connection.connecting();
    ++report_.links;
    report_.problem.reset();
    for (std::size_t i = 0; i < report_.stepMs.size(); ++i) {
      const auto since = connection.steps()[i] - attemptedAt_;
      report_.stepMs[i] = connection.connecting() ? std::chrono::duration<double, std::milli>(since).count() : 0;
    }
  }
  for (const Connection& other : all()) {
    if (other == self) continue;
    other->fail({ErrorCode::exists, "the two are linked already", 0}, PeerConnection::Farewell::tell);
  }
  tell({PeerChange::Kind::linked, connection.partner(), {}});
}

void Link::onOver(PeerConnection& connection, const Error& reason) {
  const Connection self = connection.shared_from_this();
  connections_.erase(self);
  const bool wasLinked = linked_ == self;
  if (wasLinked) linked_.reset();
  if (outgoing_ == self) outgoing_.reset();
  if (taken_ == self) taken_.reset();
  changedConnections();
  if (wasLinked) {
    {
      const std::lock_guard lock(mutex_);
      report_.linked = false;
      report_.problem = reason;
    }
    tell({PeerChange::Kind::lost, connection.partner(), reason});
  } else if (!isSettling(reason.code) && (connection.connecting() || !isDeparture(reason.code))) {
    noteProblem(reason, !connection.connecting());
  }
  attemptLater();
}

// ---- this process's attempts

void Link::attempt() {
  attemptScheduled_ = false;
  if (stopping_ || linked_ || outgoing_ || taken_) return;
  attemptedAt_ = Clock::now();
  {
    const std::lock_guard lock(mutex_);
    ++report_.attempts;
  }
  outgoing_ = std::make_shared<PeerConnection>(context_, *this);
  const Connection started = outgoing_;
  if (Status status = started->connect(options_.partner); !status) {
    outgoing_.reset();
    noteProblem(status.error(), false);
    return attemptLater();
  }
  connections_.insert(started);
  changedConnections();
}

void Link::attemptLater() {
  if (stopping_ || linked_ || outgoing_ || taken_ || std::exchange(attemptScheduled_, true)) return;
  // Two that fail at the same time do not try again at the same time.
  const auto half = backOff_.count() / 2;
  const milliseconds delay{half + std::uniform_int_distribution<std::int64_t>(0, half)(jitter_)};
  backOff_ = std::min(backOff_ * 2, kLongestBackOff);
  context_.loop.after(delay, [this] { attempt(); });
}

void Link::noteProblem(const Error& error, bool ofRequest) {
  {
    const std::lock_guard lock(mutex_);
    if (ofRequest) ++report_.refusals;
    if (!ofRequest && !linked_) report_.problem = error;
  }
  std::optional<Error>& told = ofRequest ? toldRequest_ : toldAttempt_;
  if (sameText(told, error)) return;
  told = error;
  if (ofRequest || !isAbsence(error.code)) tell({PeerChange::Kind::problem, {}, error});
}

void Link::tell(const PeerChange& change) {
  if (handler_ && !stopping_) handler_->onChange(change);
}

// ---- the status block

void Link::writeBlock() {
  ++block_.sequence;
  block_.clockMs = clockMs();
  block_.turnedMs = std::min(turnedMs_.load(std::memory_order_relaxed), block_.clockMs);
  std::ranges::copy(encode(block_), context_.statusArea->bytes().begin());
}

void Link::tickSoon() {
  if (std::exchange(ticking_, true)) return;
  context_.loop.post([this] { tick(); });
}

void Link::tick() {
  writeBlock();
  ticking_ = !connections_.empty();
  if (ticking_) context_.loop.after(kTick, [this] { tick(); });
}

Status Link::publish(const Published& published) {
  if (!isState(published.state)) {
    return Error{ErrorCode::invalidArgument,
                 "the state must have 1 to " + std::to_string(kMaxState) +
                     " printable ASCII characters without space; it is '" + published.state + "'",
                 0};
  }
  const bool posted = post([this, published] {
    block_.state = published.state;
    block_.epoch = published.epoch;
    block_.progress = published.progress;
    writeBlock();
  });
  if (!posted) return Error{ErrorCode::localClosed, "the link was closed by this process", 0};
  return {};
}

// ---- what others ask

PeerReport Link::report() const {
  const std::lock_guard lock(mutex_);
  PeerReport report = report_;
  report.refusals += unheard_;
  return report;
}

void Link::readPartner(Answer answer) {
  const auto shared = std::make_shared<Answer>(std::move(answer));
  const bool posted = post([this, shared] {
    if (stopping_) return (*shared)(Error{ErrorCode::localClosed, "the link was closed by this process", 0});
    if (linked_) return linked_->readPartner(*shared);
    const auto problem = report().problem;
    (*shared)(problem.value_or(
        Error{ErrorCode::connectionRefused, "the partner at " + options_.partner.text() + " was not there yet", 0}));
  });
  if (!posted) (*shared)(Error{ErrorCode::localClosed, "the link was closed by this process", 0});
}

void Link::closeAll() {
  stopping_ = true;
  for (const Connection& connection : all())
    connection->close();
  const std::lock_guard lock(mutex_);
  closed_ = true;
  emptied_.notify_all();
}

bool Link::post(EventLoop::Task task) {
  std::shared_ptr<EventLoop> loop;
  {
    const std::lock_guard lock(mutex_);
    loop = loop_;
  }
  return loop && loop->post(std::move(task));
}

void Link::stop() {
  std::call_once(stopped_, [this] {
    listener_.reset();
    post([this] { closeAll(); });
    {
      // A connection that does not close in order is ended by its own time limit, which is shorter.
      std::unique_lock lock(mutex_);
      (void)emptied_.wait_for(lock, kStopPatience, [this] { return closed_ && open_ == 0; });
    }
    context_.loop.stop();
    // The thread has been joined: what was its own is anybody's.
    linked_.reset();
    outgoing_.reset();
    taken_.reset();
    connections_.clear();
    std::shared_ptr<EventLoop> ended;
    const std::lock_guard lock(mutex_);
    ended.swap(loop_);
  });
}

}  // namespace

Result<std::shared_ptr<PeerLink>> PeerLink::start(std::shared_ptr<fabric::Fabric> fabric,
                                                  const PeerLinkOptions& options,
                                                  std::shared_ptr<PeerLinkHandler> handler) {
  if (options.listen.port() != 0 && options.listen.text() == options.partner.text()) {
    return Error{ErrorCode::invalidArgument, "the partner's address is this process's own, " + options.listen.text(),
                 0};
  }
  if (options.partner.port() == 0) {
    return Error{ErrorCode::invalidArgument, "the partner's address needs a port", 0};
  }
  auto loop = EventLoop::start("rdmacp-peer");
  if (!loop) return loop.error();
  auto area = Area::make(*fabric, kStatusBytes);
  if (!area) return area.error();
  auto link = std::make_shared<Link>(std::move(fabric), options, std::move(loop).value(), std::move(area).value(),
                                     std::move(handler));
  if (Status listening = link->listen(); !listening) return listening.error();
  return std::shared_ptr<PeerLink>(std::move(link));
}

}  // namespace rdmacp::peer

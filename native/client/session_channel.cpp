// session_channel.cpp -- a client's session as its native side keeps it: one connection with heartbeats, and another in
// its place as soon as their echoes stay away.
//
// The other connection is made with the spare token of the welcome, by this loop and the unit's alone, so that neither a busy
// event loop nor a dead control plane costs an owner its lease. Everything runs on the event loop's thread but touch, close
// and abort, which are for any; heartbeats go on while JavaScript is busy, and how long it has been is what each of them says.
#include <algorithm>
#include <atomic>
#include <limits>
#include <mutex>
#include <optional>
#include <utility>

#include "client/heartbeat_connection.h"

namespace rdmacp::client {

namespace {

using std::chrono::milliseconds;

// The session is over.
constexpr int kSilentHeartbeats = 10;
constexpr milliseconds kLeastSilence{1000};
// Another connection is made after so many tenths of a heartbeat's interval without an echo. Twice as many after each time that
// the old connection had been alive, since then it is the unit, or the way to it, that is slow; the most still beats a
// lease of a second.
constexpr int kLeastPatience = 25;
constexpr int kMostPatience = 50;
constexpr std::chrono::seconds kPatienceLasts{60};
// How long a connection that was replaced may still show that it had been alive.
constexpr milliseconds kEpilogue{1000};
// One that breaks sooner may do so for what is said on it, and so would the next.
constexpr milliseconds kGood{1000};
constexpr protocol::Token kNoToken{};

std::uint64_t nanoseconds(Clock::time_point time) {
  return static_cast<std::uint64_t>(std::chrono::nanoseconds(time.time_since_epoch()).count());
}

// The unit has not taken the token of a connection that was refused for this: it is good once more.
bool isUnused(ErrorCode refusal) {
  return refusal == ErrorCode::limitReached || refusal == ErrorCode::connectionRefused;
}

class Session final : public SessionChannel,
                      public HeartbeatConnectionOwner,
                      public std::enable_shared_from_this<Session> {
 public:
  Session(fabric::Fabric& fabric, EventLoop& loop, const ConnectParameters& parameters,
          std::shared_ptr<SessionChannelHandler> handler)
      : fabric_(fabric),
        loop_(loop),
        parameters_(parameters),
        touchedNs_(nanoseconds(Clock::now())),
        handler_(std::move(handler)) {}

  Status begin() {
    const auto started = startConnection(parameters_.token);
    return started ? Status{} : Status{started.error()};
  }

  void touch() override { touchedNs_.store(nanoseconds(Clock::now()), std::memory_order_relaxed); }
  void close() override {
    for (const auto& connection : endingConnections())
      connection->closeConnection();
  }
  void abort() override {
    for (const auto& connection : endingConnections())
      connection->drop({ErrorCode::localClosed, "the connection was closed by this side"});
  }

  Status onWelcome(HeartbeatConnection& connection, const protocol::Welcome& welcome) override;
  void onEcho(HeartbeatConnection& connection) override;
  void onFenced(std::uint64_t handle, std::uint64_t epoch) override {
    if (handler_) handler_->onFenced(handle, epoch);
  }
  void onConnectionOver(HeartbeatConnection& connection, const Error& reason) override;

 private:
  using Connections = std::vector<std::shared_ptr<HeartbeatConnection>>;

  Result<HeartbeatConnection*> startConnection(const protocol::Token& token);
  void forget(const HeartbeatConnection& connection);  // with the mutex
  Connections endingConnections();
  bool ending();

  void turnLater();
  void turn();
  void look();
  void reach();
  void use(const protocol::Welcome& welcome);
  void heartbeat() { current_->sendHeartbeat(loopAgeMs(), silenceLimit()); }
  void heard();
  void end(Error reason);
  void tellEnd(const HeartbeatConnection& connection);
  bool replaceable();
  std::uint32_t loopAgeMs() const;
  milliseconds silenceLimit() const { return std::max(interval_ * kSilentHeartbeats, kLeastSilence); }

  fabric::Fabric& fabric_;
  EventLoop& loop_;
  const ConnectParameters parameters_;
  std::atomic<std::uint64_t> touchedNs_;

  std::mutex mutex_;
  std::vector<std::weak_ptr<HeartbeatConnection>> connections_;  // all that are not over; the fabric keeps them
  bool ending_ = false;

  // Loop thread. The connections are among connections_, where one that was replaced may be that is none of these any more.
  std::shared_ptr<SessionChannelHandler> handler_;  // until the end is told
  HeartbeatConnection* current_ = nullptr;          // welcomed; null before, and after it has ended
  HeartbeatConnection* next_ = nullptr;             // in set-up, to take its place
  HeartbeatConnection* former_ = nullptr;           // whose place was taken
  std::optional<Error> lost_;                       // why current_ ended while next_ was in set-up
  std::uint64_t losses_ = 0;
  bool welcomed_ = false;     // by any connection
  std::optional<Error> end_;  // of the session, told when no connection is left
  std::uint64_t session_ = 0;
  milliseconds interval_{0};
  protocol::Token spare_ = kNoToken;
  protocol::Token tried_ = kNoToken;  // by next_
  bool beatDue_ = false;
  // How long no echo has come, without what this loop was held up for.
  Clock::duration quiet_{0};
  Clock::time_point lookedAt_;
  int patience_ = kLeastPatience;
  Clock::time_point reachedAt_;
  Clock::time_point stoodAt_;
  bool answeredAfterAll_ = false;  // the connection that is replaced has been heard since
};

Result<HeartbeatConnection*> Session::startConnection(const protocol::Token& token) {
  ConnectParameters parameters = parameters_;
  parameters.token = token;
  const auto connection = std::make_shared<HeartbeatConnection>(loop_, parameters, shared_from_this());
  {
    const std::lock_guard lock(mutex_);
    if (ending_) return Error{ErrorCode::localClosed, "the connection was closed by this side"};
    connections_.push_back(connection);
  }
  if (Status started = connection->start(fabric_, protocol::ConnectionKind::session); !started) {
    const std::lock_guard lock(mutex_);
    forget(*connection);
    return started.error();
  }
  // Whoever ended the session meanwhile may have found this one not connected yet.
  if (ending()) connection->drop({ErrorCode::localClosed, "the connection was closed by this side"});
  return connection.get();
}

void Session::forget(const HeartbeatConnection& connection) {
  std::erase_if(connections_, [&connection](const auto& one) {
    const auto held = one.lock();
    return held == nullptr || held.get() == &connection;
  });
}

Session::Connections Session::endingConnections() {
  const std::lock_guard lock(mutex_);
  ending_ = true;
  Connections connections;
  for (const auto& one : connections_) {
    if (auto connection = one.lock()) connections.push_back(std::move(connection));
  }
  return connections;
}

bool Session::ending() {
  const std::lock_guard lock(mutex_);
  return ending_;
}

// ---- connections come and go

Status Session::onWelcome(HeartbeatConnection& connection, const protocol::Welcome& welcome) {
  if (&connection == next_) {
    if (welcome.session != session_) {
      return Error{ErrorCode::protocolViolation, "the spare token of a session was answered by the welcome of another"};
    }
    next_ = nullptr;
    if (former_ != nullptr) former_->drop({ErrorCode::localClosed, "replaced"});
    former_ = std::exchange(current_, &connection);
    Error why = lost_.value_or(Error{
        ErrorCode::timedOut, "the unit at " + parameters_.address.text() + " had not answered a heartbeat for " +
                                 std::to_string(std::chrono::duration_cast<milliseconds>(quiet_).count()) + " ms"});
    use(welcome);
    if (handler_ && !answeredAfterAll_) handler_->onMoved(why);
    loop_.after(kEpilogue, [weak = weak_from_this(), former = former_] {
      const auto self = weak.lock();
      if (self && former != nullptr && self->former_ == former) former->drop({ErrorCode::localClosed, "replaced"});
    });
    return {};
  }
  session_ = welcome.session;
  welcomed_ = true;
  current_ = &connection;
  use(welcome);
  if (handler_) handler_->onOpen(welcome);
  turnLater();
  return {};
}

void Session::use(const protocol::Welcome& welcome) {
  interval_ = milliseconds{welcome.heartbeatMs};
  spare_ = welcome.spare;
  lost_.reset();
  stoodAt_ = Clock::now();
  heard();
  beatDue_ = false;
  heartbeat();
}

void Session::onConnectionOver(HeartbeatConnection& connection, const Error& reason) {
  if (&connection == former_) {
    former_ = nullptr;
  } else if (&connection == next_) {
    next_ = nullptr;
    if (isUnused(reason.code)) spare_ = tried_;
    if (lost_) end(*lost_);
  } else if (&connection == current_ && (next_ != nullptr || replaceable())) {
    // With another under way most often because the unit has replaced it, and then the welcome comes next.
    current_ = nullptr;
    lost_ = reason;
    if (next_ == nullptr) reach();
    if (next_ == nullptr) end(reason);
    loop_.after(2 * interval_, [weak = weak_from_this(), loss = ++losses_] {
      const auto self = weak.lock();
      if (self && self->lost_ && self->losses_ == loss) self->end(*self->lost_);
    });
  } else if (&connection == current_ || !welcomed_) {
    current_ = nullptr;
    end(reason);
  }
  tellEnd(connection);
}

void Session::tellEnd(const HeartbeatConnection& connection) {
  {
    const std::lock_guard lock(mutex_);
    forget(connection);
    if (!end_ || !connections_.empty()) return;
  }
  const std::shared_ptr<SessionChannelHandler> handler = std::move(handler_);
  if (handler) handler->onClosed(*end_);
}

void Session::end(Error reason) {
  if (end_) return;
  end_ = std::move(reason);
  for (const auto& connection : endingConnections())
    connection->drop(*end_);
}

bool Session::replaceable() {
  return spare_ != kNoToken && Clock::now() - stoodAt_ > kGood && !ending();
}

// ---- heartbeats

// Twice in each interval, so that a missing echo is seen before the next heartbeat.
void Session::turnLater() {
  loop_.after(std::max(interval_ / 2, milliseconds{1}), [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->turn();
  });
}

void Session::turn() {
  if (end_) return;
  look();
  if (end_) return;
  if (std::exchange(beatDue_, !beatDue_) && current_ != nullptr) heartbeat();
  turnLater();
}

void Session::look() {
  const auto now = Clock::now();
  quiet_ += std::min<Clock::duration>(now - lookedAt_, interval_ * 3 / 4);
  lookedAt_ = now;
  if (now - reachedAt_ > kPatienceLasts) patience_ = kLeastPatience;
  if (current_ != nullptr && quiet_ > silenceLimit()) {
    end({ErrorCode::timedOut, "the unit at " + parameters_.address.text() + " has not answered a heartbeat for " +
                                  std::to_string(silenceLimit().count()) + " ms"});
  } else if (quiet_ > interval_ * patience_ / 10) {
    reach();
  }
}

void Session::heard() {
  quiet_ = Clock::duration::zero();
  lookedAt_ = Clock::now();
}

void Session::onEcho(HeartbeatConnection& connection) {
  if (&connection == current_) heard();
  const bool replaced = &connection == former_ || (&connection == current_ && next_ != nullptr);
  if (!replaced || std::exchange(answeredAfterAll_, true)) return;
  patience_ = std::min(patience_ * 2, kMostPatience);
}

// A token is good for one connection; without one, silence ends the session, and JavaScript asks for another.
void Session::reach() {
  if (next_ != nullptr || spare_ == kNoToken || ending()) return;
  reachedAt_ = Clock::now();
  answeredAfterAll_ = false;
  const auto started = startConnection(spare_);
  if (!started) return;  // nothing has used the token
  next_ = started.value();
  tried_ = std::exchange(spare_, kNoToken);
}

std::uint32_t Session::loopAgeMs() const {
  const std::uint64_t touched = touchedNs_.load(std::memory_order_relaxed);
  const std::uint64_t current = nanoseconds(Clock::now());
  const std::uint64_t age = current > touched ? (current - touched) / 1'000'000 : 0;
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(age, std::numeric_limits<std::uint32_t>::max()));
}

}  // namespace

Result<std::shared_ptr<SessionChannel>> SessionChannel::connect(fabric::Fabric& fabric, EventLoop& loop,
                                                                const ConnectParameters& parameters,
                                                                std::shared_ptr<SessionChannelHandler> handler) {
  auto session = std::make_shared<Session>(fabric, loop, parameters, std::move(handler));
  if (Status started = session->begin(); !started) return started.error();
  return std::shared_ptr<SessionChannel>(std::move(session));
}

}  // namespace rdmacp::client

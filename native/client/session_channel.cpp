// session_channel.cpp -- one session connection: heartbeats out, echoes and fence notices in.
//
// Everything but touch, close and abort runs on the event loop's thread, so that heartbeats go on while JavaScript is
// busy; how long it has been busy is what each of them says.
#include <algorithm>
#include <array>
#include <atomic>
#include <limits>

#include "handshake.h"
#include "link.h"

namespace rdmacp::client {

namespace {

using std::chrono::milliseconds;

constexpr std::size_t kHeartbeatSlots = 16;
constexpr int kSilentHeartbeats = 10;
constexpr milliseconds kLeastSilence{1000};

std::uint64_t nanoseconds(Clock::time_point time) {
  return static_cast<std::uint64_t>(std::chrono::nanoseconds(time.time_since_epoch()).count());
}

class Channel final : public SessionChannel, public Link {
 public:
  Channel(EventLoop& eventLoop, const ConnectParameters& parameters, std::shared_ptr<SessionChannelHandler> handler)
      : Link(eventLoop, parameters), handler_(std::move(handler)), touchedNs_(nanoseconds(Clock::now())) {}

  void touch() override { touchedNs_.store(nanoseconds(Clock::now()), std::memory_order_relaxed); }
  void close() override { closeLink(); }
  void abort() override { fail({ErrorCode::localClosed, "the connection was closed by this side"}); }

  void onCompletions(fabric::Connection& connection, std::span<const fabric::Completion> completions) override;

 protected:
  Status onAnswer(fabric::Connection& connection, protocol::MessageHeader header, fabric::ConstBytes message) override;
  Status onFurther(fabric::Connection& connection, protocol::MessageHeader header, fabric::ConstBytes message) override;
  void onOver(const Error& reason) override;

 private:
  // A heartbeat is sent from its slot, which is free again at its completion. Work request id: index + 1.
  struct Slot {
    std::vector<std::byte> bytes;
    bool busy = false;
  };

  void beat();
  void send();
  std::uint32_t loopAgeMs(Clock::time_point now) const;
  milliseconds silenceLimit() const { return std::max(interval_ * kSilentHeartbeats, kLeastSilence); }

  std::shared_ptr<SessionChannelHandler> handler_;
  std::atomic<std::uint64_t> touchedNs_;
  // Loop thread.
  std::uint16_t version_ = protocol::kVersionMax;
  milliseconds interval_{0};
  std::uint64_t sequence_ = 0;
  Clock::time_point heardAt_;
  std::array<Slot, kHeartbeatSlots> slots_;
};

Status Channel::onAnswer(fabric::Connection& /*connection*/, protocol::MessageHeader header,
                         fabric::ConstBytes message) {
  if (header.type != protocol::MessageType::welcome) {
    return Error{ErrorCode::protocolViolation, "the hello of a session connection was answered by message type " +
                                                   std::to_string(static_cast<int>(header.type))};
  }
  const auto welcome = protocol::parseWelcome(message);
  if (!welcome) return welcome.error();
  if (Status checked = checkWelcome(welcome.value()); !checked) return checked;
  version_ = header.version;
  interval_ = milliseconds{welcome.value().heartbeatMs};
  heardAt_ = Clock::now();
  beat();
  handler_->onOpen(welcome.value());
  return {};
}

void Channel::beat() {
  if (!connection() && sequence_ > 0) return;  // over
  if (Clock::now() - heardAt_ > silenceLimit()) {
    fail({ErrorCode::timedOut, "the unit at " + peer() + " has not answered a heartbeat for " +
                                   std::to_string(silenceLimit().count()) + " ms"});
    return;
  }
  send();
  loop().after(interval_, [weak = weak_from_this()] {
    if (const auto self = weak.lock()) static_cast<Channel&>(*self).beat();
  });
}

void Channel::send() {
  const auto open = connection();
  if (!open) return;
  const auto free = std::find_if(slots_.begin(), slots_.end(), [](const Slot& slot) { return !slot.busy; });
  // All of them unsent: the connection stands still, and silence ends it.
  if (free == slots_.end()) return;
  const Clock::time_point now = Clock::now();
  protocol::Heartbeat heartbeat;
  heartbeat.sequence = ++sequence_;
  heartbeat.sentAtNs = nanoseconds(now);
  heartbeat.loopAgeMs = loopAgeMs(now);
  free->bytes = protocol::encode(heartbeat, protocol::MessageType::heartbeat, version_);
  free->busy = true;
  const fabric::LocalSegment segment{free->bytes.data(), free->bytes.size(), nullptr};
  fabric::WorkRequest request;
  request.kind = fabric::WorkRequest::Kind::send;
  request.id = static_cast<std::uint64_t>(free - slots_.begin()) + 1;
  request.local = {&segment, 1};
  request.deadline = now + silenceLimit();
  if (Status posted = open->post({&request, 1}); !posted) {
    free->busy = false;
    if (posted.error().code != ErrorCode::limitReached) fail(posted.error());
  }
}

std::uint32_t Channel::loopAgeMs(Clock::time_point now) const {
  const std::uint64_t touched = touchedNs_.load(std::memory_order_relaxed);
  const std::uint64_t current = nanoseconds(now);
  const std::uint64_t age = current > touched ? (current - touched) / 1'000'000 : 0;
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(age, std::numeric_limits<std::uint32_t>::max()));
}

Status Channel::onFurther(fabric::Connection& /*connection*/, protocol::MessageHeader header,
                          fabric::ConstBytes message) {
  if (header.type == protocol::MessageType::heartbeatEcho) {
    const auto echo = protocol::parseHeartbeat(message);
    if (!echo) return echo.error();
    if (echo.value().sequence == 0 || echo.value().sequence > sequence_) {
      return Error{ErrorCode::protocolViolation,
                   "the echo of a heartbeat that was not sent, number " + std::to_string(echo.value().sequence)};
    }
    heardAt_ = Clock::now();
    return {};
  }
  if (header.type == protocol::MessageType::fenced) {
    const auto fenced = protocol::parseFenced(message);
    if (!fenced) return fenced.error();
    handler_->onFenced(fenced.value().handle, fenced.value().epoch);
    return {};
  }
  return Error{ErrorCode::protocolViolation,
               "message type " + std::to_string(static_cast<int>(header.type)) + " on a session connection"};
}

void Channel::onCompletions(fabric::Connection& /*connection*/, std::span<const fabric::Completion> completions) {
  for (const fabric::Completion& completion : completions) {
    if (completion.id == kControl || completion.id > slots_.size()) continue;
    slots_[completion.id - 1].busy = false;
  }
}

void Channel::onOver(const Error& reason) {
  const std::shared_ptr<SessionChannelHandler> handler = std::move(handler_);
  if (handler) handler->onClosed(reason);
}

}  // namespace

Result<std::shared_ptr<SessionChannel>> SessionChannel::connect(fabric::Fabric& fabric, EventLoop& loop,
                                                                const ConnectParameters& parameters,
                                                                std::shared_ptr<SessionChannelHandler> handler) {
  auto channel = std::make_shared<Channel>(loop, parameters, std::move(handler));
  if (Status started = channel->start(fabric, protocol::ConnectionKind::session); !started) return started.error();
  return std::shared_ptr<SessionChannel>(std::move(channel));
}

}  // namespace rdmacp::client

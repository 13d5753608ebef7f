// responder.cpp -- the unit's data plane put together: loops, listeners, and what the control plane may ask.
//
// Every method may be called from any thread. Owns the event loops, the listeners and, with its connections, the state.
#include "unit/responder.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "unit/acceptor.h"
#include "unit/end_barrier.h"
#include "unit/session_connection.h"
#include "unit/unit_connection.h"
#include "unit/unit_state.h"

namespace rdmacp::unit {
namespace {

using Done = std::function<void(Status)>;

// Receives beyond the flush credits: the hello, and heartbeats that come close together.
constexpr std::uint32_t kSpareReceives = 16;
constexpr std::uint32_t kLeavingAtOnce = 1024;
// A connection that is still in its set-up ends by the set-up's own timeout; longer than this nobody waits for one.
constexpr std::chrono::milliseconds kStopPatience{10000};
constexpr std::chrono::milliseconds kStopRound{50};

Error unknownRegion(RegionId id) {
  return {ErrorCode::notFound, "region " + std::to_string(id) + " is not known to the responder", 0};
}

// The loop outlives what runs on it.
void keepLeaseClock(EventLoop& loop, const std::weak_ptr<UnitState>& unit) {
  loop.after(kLeaseTick, [&loop, unit] {
    const auto state = unit.lock();
    if (!state || state->stopping) return;
    state->sessions.tick(loop);
    keepLeaseClock(loop, unit);
  });
}

class UnitResponder final : public Responder {
 public:
  UnitResponder(std::shared_ptr<UnitState> state, std::vector<std::unique_ptr<EventLoop>> loops)
      : state_(std::move(state)), loops_(std::move(loops)) {
    for (const auto& loop : loops_)
      loopPointers_.push_back(loop.get());
  }
  ~UnitResponder() override { stopNow(); }
  UnitResponder(const UnitResponder&) = delete;
  UnitResponder& operator=(const UnitResponder&) = delete;

  Result<fabric::SocketAddress> listen(fabric::Fabric& fabric, const fabric::SocketAddress& address) override;
  Status addRegion(RegionId id, std::span<const media::ByteRange> extents, std::uint64_t length, std::uint64_t epoch,
                   bool readOnly) override;
  void removeRegion(RegionId id, Done done) override;
  void fence(RegionId id, std::uint64_t epoch, Done done) override;
  void dropHandle(RegionId id, HandleId handle, Done done) override;
  void makeDurable(RegionId id, Done done) override;
  Status addSession(SessionId session) override { return state_->sessions.add(session); }
  void removeSession(SessionId session) override;
  std::vector<SessionState> sessions() const override { return state_->sessions.states(); }
  std::chrono::milliseconds leaseTime() const override { return state_->sessions.leaseTime(); }
  Result<protocol::Token> issueToken(const TokenRequest& request) override;
  ResponderCounters counters() const override;
  void stop() override { stopNow(); }

 private:
  void answer(Done done, const Status& status);
  void endThenAnswer(const std::vector<std::shared_ptr<ConnectionRef>>& refs, Done done);
  void stopNow();

  const std::shared_ptr<UnitState> state_;
  const std::vector<std::unique_ptr<EventLoop>> loops_;
  std::vector<EventLoop*> loopPointers_;
  std::mutex mutex_;  // listeners and fabrics
  std::vector<std::unique_ptr<fabric::Listener>> listeners_;
  std::vector<fabric::Fabric*> fabrics_;
  std::vector<std::shared_ptr<void>> deviceWatches_;  // of the fabrics, until the stop
  std::once_flag stopped_;
};

Result<fabric::SocketAddress> UnitResponder::listen(fabric::Fabric& fabric, const fabric::SocketAddress& address) {
  const std::lock_guard lock(mutex_);
  if (state_->stopping) return Error{ErrorCode::stopped, "the unit is stopping", 0};
  const auto& given = state_->options;
  fabric::ListenOptions options;
  options.connection.maxMessage = protocol::kMaxMessage;
  options.connection.receiveDepth = given.credits + kSpareReceives;
  options.connection.crc = given.crc;
  // The limit is kept by the registry, where those without a hello give way. One that does is gone a moment later.
  options.maxConnections = given.maxConnections + std::min(kLeavingAtOnce, UINT32_MAX - given.maxConnections);
  const bool known = std::find(fabrics_.begin(), fabrics_.end(), &fabric) != fabrics_.end();
  auto watch = !known && given.onDeviceNews ? fabric.watchDevices(given.onDeviceNews) : nullptr;
  auto listener = fabric.listen(address, options, loopPointers_, std::make_shared<Acceptor>(state_, fabric));
  if (!listener) return listener.error();
  listeners_.push_back(std::move(listener).value());
  if (!known) fabrics_.push_back(&fabric);
  if (watch) deviceWatches_.push_back(std::move(watch));
  return listeners_.back()->address();
}

Status UnitResponder::addRegion(RegionId id, std::span<const media::ByteRange> extents, std::uint64_t length,
                                std::uint64_t epoch, bool readOnly) {
  if (state_->stopping) return Error{ErrorCode::stopped, "the unit is stopping", 0};
  auto memory = RegionMemory::map(state_->medium, extents, length);
  if (!memory) return memory.error();
  // Epoch 0: nobody has written it yet.
  if (auto* dirty = memory.value()->dirty(); dirty != nullptr && epoch > 0 && state_->medium->keepsUnflushed()) {
    dirty->markUnseen();
  }
  {
    // Registered now, so that opening costs no time in proportion to the size.
    const std::lock_guard lock(mutex_);
    for (auto* fabric : fabrics_) {
      if (auto registered = memory.value()->registration(*fabric); !registered) return registered.error();
    }
  }
  if (!state_->regions.add(id, std::make_shared<Region>(id, std::move(memory).value(), epoch, readOnly))) {
    return Error{ErrorCode::exists, "there is a region " + std::to_string(id) + " already", 0};
  }
  return {};
}

void UnitResponder::removeRegion(RegionId id, Done done) {
  const auto region = state_->regions.remove(id);
  if (!region) return answer(std::move(done), unknownRegion(id));
  endThenAnswer(region->remove(state_->tokens).refs, std::move(done));
}

void UnitResponder::fence(RegionId id, std::uint64_t epoch, Done done) {
  const auto region = state_->regions.find(id);
  if (!region) return answer(std::move(done), unknownRegion(id));
  const auto revoked = region->raiseEpoch(epoch, state_->tokens);
  if (!revoked) return answer(std::move(done), revoked.error());
  ++state_->counters.fences;
  endThenAnswer(revoked.value().refs, std::move(done));
  for (const auto& [session, handle] : revoked.value().handles) {
    if (const auto connection = state_->sessions.connectionOf(session)) connection->tellFenced(handle, epoch);
  }
}

void UnitResponder::dropHandle(RegionId id, HandleId handle, Done done) {
  const auto region = state_->regions.find(id);
  if (!region) return answer(std::move(done), unknownRegion(id));
  endThenAnswer(region->dropHandle(handle, state_->tokens).refs, std::move(done));
}

void UnitResponder::makeDurable(RegionId id, Done done) {
  auto region = state_->regions.find(id);
  if (!region) return answer(std::move(done), unknownRegion(id));
  if (!state_->medium->durable()) return answer(std::move(done), {});
  FlushJob job;
  job.region = std::move(region);
  job.rest = true;
  job.wanted = [] { return true; };
  job.answer = [shared = std::make_shared<Done>(std::move(done))](const Status& status) { (*shared)(status); };
  auto refused = job.answer;
  if (!state_->flushes.push(std::move(job))) refused(Error{ErrorCode::stopped, "the unit is stopping", 0});
}

void UnitResponder::removeSession(SessionId session) {
  const auto removed = state_->sessions.remove(session);
  state_->tokens.revokeSession(session);
  state_->spares.revokeSession(session);
  if (!removed) return;
  const auto& connections = removed.value();
  if (connections.session) connections.session->abort();
  for (const auto& ref : connections.data)
    ref->end([] {});
}

Result<protocol::Token> UnitResponder::issueToken(const TokenRequest& request) {
  if (state_->stopping) return Error{ErrorCode::stopped, "the unit is stopping", 0};
  if (!state_->sessions.has(request.session)) {
    return Error{ErrorCode::notFound, "session " + std::to_string(request.session) + " is not known to the responder",
                 0};
  }
  const std::chrono::milliseconds life(request.lifeMs != 0 ? request.lifeMs : state_->options.tokenLifeMs);
  TokenBinding binding{request.kind, request.region, request.handle, request.session, request.rights, request.epoch};
  if (request.kind == protocol::ConnectionKind::session) {
    binding = {};
    binding.kind = protocol::ConnectionKind::session;
    binding.session = request.session;
    return state_->tokens.issue(binding, life);
  }
  const auto region = state_->regions.find(request.region);
  if (!region) return unknownRegion(request.region);
  return region->issueToken(state_->tokens, binding, life);
}

ResponderCounters UnitResponder::counters() const {
  const auto& counted = state_->counters;
  ResponderCounters counters;
  counters.connectionsOpen = state_->connections.size();
  counters.connectionsAccepted = counted.accepted;
  counters.connectionsRefused = counted.refused;
  counters.connectionsViolated = counted.violated;
  counters.connectionsUnheard = counted.unheard;
  counters.connectionsYielded = counted.yielded;
  counters.sessionsOpen = state_->sessions.size();
  counters.tokensOutstanding = state_->tokens.outstanding();
  counters.flushes = counted.flushes;
  counters.flushesFailed = counted.flushesFailed;
  counters.fences = counted.fences;
  const auto past = state_->connections.past();
  counters.bytesIn = past.bytesIn;
  counters.bytesOut = past.bytesOut;
  counters.segmentsIn = past.segmentsIn;
  counters.segmentsOut = past.segmentsOut;
  for (const auto& connection : state_->connections.all()) {
    const auto present = connection->ref()->counters();
    counters.bytesIn += present.bytesIn;
    counters.bytesOut += present.bytesOut;
    counters.segmentsIn += present.segmentsIn;
    counters.segmentsOut += present.segmentsOut;
  }
  return counters;
}

// Callbacks come on a responder thread, except when there is none any more.
void UnitResponder::answer(Done done, const Status& status) {
  const auto call = [shared = std::make_shared<Done>(std::move(done)), status] { (*shared)(status); };
  if (!loops_.front()->post(call)) call();
}

void UnitResponder::endThenAnswer(const std::vector<std::shared_ptr<ConnectionRef>>& refs, Done done) {
  endAll(refs, [this, shared = std::make_shared<Done>(std::move(done))] { answer(std::move(*shared), {}); });
}

void UnitResponder::stopNow() {
  std::call_once(stopped_, [&] {
    state_->stopping = true;
    std::vector<std::unique_ptr<fabric::Listener>> listeners;
    {
      const std::lock_guard lock(mutex_);
      listeners.swap(listeners_);
      deviceWatches_.clear();
    }
    listeners.clear();
    const auto patience = Clock::now() + kStopPatience;
    do {
      for (const auto& connection : state_->connections.all())
        connection->abort();
    } while (!state_->connections.waitUntilEmpty(kStopRound) && Clock::now() < patience);
    state_->flushes.stop();
    state_->registrar.stop();
    for (const auto& loop : loops_)
      loop->stop();
  });
}

}  // namespace

Result<std::unique_ptr<Responder>> Responder::create(const ResponderOptions& options,
                                                     std::shared_ptr<media::Medium> medium) {
  if (!medium) return Error{ErrorCode::invalidArgument, "a responder needs a medium", 0};
  if (options.loops == 0 || options.flushThreads == 0 || options.credits == 0 || options.heartbeatMs == 0 ||
      options.tokenLifeMs == 0 || options.tokensPerSession == 0 || options.helloTimeoutMs == 0 ||
      options.maxConnections == 0) {
    return Error{ErrorCode::invalidArgument,
                 "loops, flush threads, credits, connections and times of a responder cannot be 0", 0};
  }
  std::vector<std::unique_ptr<EventLoop>> loops;
  for (std::uint32_t i = 0; i < options.loops; ++i) {
    auto loop = EventLoop::start("rdmacp-unit-" + std::to_string(i));
    if (!loop) return loop.error();
    loops.push_back(std::move(loop).value());
  }
  auto state = std::make_shared<UnitState>(options, std::move(medium));
  if (const Status& started = state->flushes.started(); !started) return started.error();
  for (const auto& loop : loops) {
    state->sessions.tick(*loop);
    keepLeaseClock(*loop, state);
  }
  return std::unique_ptr<Responder>(std::make_unique<UnitResponder>(std::move(state), std::move(loops)));
}

}  // namespace rdmacp::unit

// connection.cpp -- what a verbs connection posts and grants, its deadlines, and its end. Threads: see connection.h.
#include "fabric/verbs/connection.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "fabric/verbs/flush_verb.h"

namespace rdmacp::fabric::verbs {
namespace {

constexpr std::chrono::milliseconds kDisconnectPatience{1000};
constexpr std::chrono::milliseconds kDeadlineGrain{10};

Error localEnd() {
  return Error{ErrorCode::localClosed, "closed by this side", 0};
}

int accessFlags(Access access) {
  int flags = 0;
  if (allows(access, Access::remoteRead)) flags |= IBV_ACCESS_REMOTE_READ;
  if (allows(access, Access::remoteWrite)) flags |= IBV_ACCESS_REMOTE_WRITE;
  if (allows(access, Access::remoteFlush)) flags |= flush_verb::accessFlag();
  return flags;
}

Error noFlush() {
  return Error{ErrorCode::notSupported, "the device, its driver or the memory has no RDMA FLUSH to persistence", 0};
}

}  // namespace

VerbsConnection::VerbsConnection(const Library& library, std::shared_ptr<DeviceTable> devices,
                                 std::shared_ptr<CmChannel> channel, const ConnectionOptions& options,
                                 std::shared_ptr<ConnectionHandler> handler)
    : library_(library),
      devices_(std::move(devices)),
      loop_(channel->loop()),
      channel_(std::move(channel)),
      options_(options),
      handler_(std::move(handler)) {}

VerbsConnection::~VerbsConnection() {
  if (watch_ != 0) device_->unwatch(watch_);
}

SocketAddress VerbsConnection::peer() const {
  return peer_;
}

ConnectionCounters VerbsConnection::counters() const {
  const std::lock_guard lock(mutex_);
  return transmit_ != nullptr ? countersNow() : total_;
}

ConnectionCounters VerbsConnection::countersNow() const {
  ConnectionCounters counters;
  counters.bytesIn = receivedBytes_ + transmit_->bytesIn();
  counters.segmentsIn = receivedMessages_;
  counters.bytesOut = transmit_->bytesOut();
  counters.segmentsOut = transmit_->segmentsOut();
  return counters;
}

Status VerbsConnection::post(std::span<const WorkRequest> batch, Lookout lookout) {
  std::optional<Error> failure;
  Clock::time_point next = Clock::time_point::max();
  {
    const std::lock_guard lock(mutex_);
    if (!open_) return overReason_;
    if (transmit_->requests() + batch.size() > options_.sendDepth) {
      return Error{ErrorCode::limitReached, "more than " + std::to_string(options_.sendDepth) + " work requests posted",
                   0};
    }
    for (const WorkRequest& request : batch) {
      std::size_t length = 0;
      for (const LocalSegment& segment : request.local)
        length += segment.length;
      if (request.kind == WorkRequest::Kind::send && length > (std::size_t{1} << 20)) {
        return Error{ErrorCode::invalidArgument, "a message is larger than 1 MiB", 0};
      }
      if (request.kind == WorkRequest::Kind::flush && !canFlush_) {
        return Error{ErrorCode::notSupported,
                     "no RDMA FLUSH on this connection: it takes rdma-core 45 to build with, and a device and kernel "
                     "that have it",
                     0};
      }
    }
    for (const WorkRequest& request : batch) {
      transmit_->add(request);
      next = std::min(next, request.deadline);
    }
    if (Status pumped = transmit_->pump(lookout); !pumped) failure = pumped.error();
    if (next < watchedDeadline_) {
      watchedDeadline_ = next;
    } else {
      next = Clock::time_point::max();
    }
  }
  if (next != Clock::time_point::max()) watchDeadlines(next);
  if (failure) {
    // The batch was taken: its completions carry the failure.
    (void)loop().post([keep = shared_from_this(), reason = *failure] { keep->breakWith(reason); });
  }
  return {};
}

void VerbsConnection::watchDeadlines(Clock::time_point next) {
  const auto wait = std::chrono::ceil<std::chrono::milliseconds>(next - Clock::now());
  (void)loop().after(std::max(wait, kDeadlineGrain), [weak = weak_from_this(), next] {
    if (const auto connection = weak.lock()) connection->checkDeadlines(next);
  });
}

void VerbsConnection::checkDeadlines(Clock::time_point watched) {
  Clock::time_point next;
  {
    const std::lock_guard lock(mutex_);
    // An earlier deadline has come meanwhile, and a timer of its own.
    if (transmit_ == nullptr || watched != watchedDeadline_) return;
    next = transmit_->nextDeadline();
    watchedDeadline_ = next;
  }
  if (next == Clock::time_point::max()) return;
  if (next <= Clock::now()) {
    return breakWith(
        Error{ErrorCode::timedOut, "a work request to " + peer_.text() + " passed its deadline" + lately(), 0});
  }
  watchDeadlines(next);
}

Result<RemoteWindow> VerbsConnection::grant(std::shared_ptr<const MemoryRegion> region, std::uint64_t offset,
                                            std::uint64_t length, Access access) {
  const Bytes whole = region->memory();
  if (offset > whole.size() || length > whole.size() - offset || length == 0) {
    return Error{ErrorCode::invalidArgument, "a grant outside of its registration", 0};
  }
  if (state_ != State::established) return Error{ErrorCode::localClosed, "the connection is over", 0};
  const Bytes granted = whole.subspan(offset, length);
  const bool writes = allows(access, Access::remoteWrite);
  const bool flushes = allows(access, Access::remoteFlush);
  const int flags = accessFlags(access);
  const auto* const memory = static_cast<const VerbsMemoryRegion*>(region.get());
  if (flushes && (!device_->flushes() || !memory->persistent())) return noFlush();

  // The device places without this process: from here on nobody knows which bytes.
  if (writes && region->dirty() != nullptr) region->dirty()->markUnseen();

  GrantedKey key;
  std::uint32_t remoteKey = 0;
  if (device_->windows()) {
    ibv_mr* registration = nullptr;
    if (length == whole.size()) {
      const auto shared = memory->on(device_);
      if (!shared) return shared.error();
      if (flushes && !shared.value().flush) return noFlush();
      registration = shared.value().registration;
    } else {
      // Not every device checks the bounds of a window, but all check those of its registration.
      auto own = device_->registerMemory(
          device_->sharedDomain(), granted,
          IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_MW_BIND | (flushes ? flush_verb::accessFlag() : 0));
      if (!own) return flushes ? noFlush() : own.error();
      key.registration = std::move(own).value();
      registration = key.registration.get();
    }
    key.window = Window(ibv_alloc_mw(device_->sharedDomain(), IBV_MW_TYPE_2));
    if (key.window == nullptr) return verbsError("ibv_alloc_mw", errno);
    remoteKey = ibv_inc_rkey(key.window->rkey);
    const std::lock_guard lock(mutex_);
    if (Status bound = transmit_->bind(key.window.get(), remoteKey, registration, granted, flags); !bound) {
      return bound.error();
    }
    key.window->rkey = remoteKey;
  } else {
    const auto ready = std::exchange(groundwork_, nullptr);
    if (ready != nullptr && ready->region == region && ready->access == access && length == whole.size()) {
      key.registration = std::move(ready->registration);
    }
    if (key.registration == nullptr) {
      auto registration = device_->registerMemory(ownDomain_->get(), granted, flags | IBV_ACCESS_LOCAL_WRITE);
      if (!registration) return flushes ? noFlush() : registration.error();
      key.registration = std::move(registration).value();
    }
    remoteKey = key.registration->rkey;
  }
  key.region = std::move(region);
  keys_[remoteKey] = std::move(key);
  return RemoteWindow{remoteKey, reinterpret_cast<std::uint64_t>(granted.data()), length};
}

bool VerbsConnection::prepare(const MemoryRegion& memory) {
  std::shared_ptr<Device> device;
  {
    const std::lock_guard lock(mutex_);
    if (open_) device = device_;
  }
  // Where each connection has a domain of its own everything is copied: TransmitQueue::mustBounce.
  return device != nullptr && device->windows() && static_cast<const VerbsMemoryRegion&>(memory).prepare(device);
}

VerbsConnection::Groundwork::~Groundwork() {
  if (device->gone()) {
    (void)registration.release();
    if (domain.use_count() == 1) (void)domain->release();
  }
}

std::function<Status()> VerbsConnection::groundwork(const std::shared_ptr<const MemoryRegion>& region, Access access) {
  if (state_ != State::established) return {};
  if (device_->windows()) {
    auto memory = std::static_pointer_cast<const VerbsMemoryRegion>(region);
    if (memory->isOn(*device_)) return {};
    return [memory = std::move(memory), device = device_]() -> Status {
      const auto made = memory->on(device);
      return made ? Status{} : Status{made.error()};
    };
  }
  if (allows(access, Access::remoteFlush)) return {};
  if (allows(access, Access::remoteWrite) && region->dirty() != nullptr) region->dirty()->markUnseen();
  groundwork_ = std::make_shared<Groundwork>();
  groundwork_->device = device_;
  groundwork_->domain = ownDomain_;
  groundwork_->region = region;
  groundwork_->access = access;
  return [made = groundwork_, flags = accessFlags(access) | IBV_ACCESS_LOCAL_WRITE]() -> Status {
    auto registration = made->device->registerMemory(made->domain->get(), made->region->memory(), flags);
    if (!registration) return registration.error();
    made->registration = std::move(registration).value();
    return {};
  };
}

void VerbsConnection::revoke(std::uint32_t key) {
  keys_.erase(key);
}

void VerbsConnection::fence(std::function<void()> done) {
  {
    const std::lock_guard lock(mutex_);
    if (!gone_) {
      const bool posted = loop().post([keep = shared_from_this(), done] {
        if (keep->state_ == State::closed) return done();
        keep->fenceDone_.push_back(done);
        keep->breakWith(localEnd());
      });
      if (posted) return;
    }
  }
  done();
}

void VerbsConnection::close() {
  {
    const std::lock_guard lock(mutex_);
    if (closing_ || gone_) return;
    closing_ = true;
    open_ = false;
    overReason_ = localEnd();
  }
  (void)loop().post([keep = shared_from_this()] {
    if (keep->state_ == State::closed || keep->state_ == State::draining) return;
    if (keep->state_ != State::established) return keep->breakWith(localEnd());
    keep->state_ = State::draining;
    keep->finishIfDrained();
  });
}

void VerbsConnection::finishIfDrained() {
  if (state_ != State::draining || disconnecting_) return;
  {
    const std::lock_guard lock(mutex_);
    if (transmit_->requests() > 0) return;
  }
  disconnecting_ = true;
  // On iWARP what was written may still be on its way: the peer's answer to the disconnect is waited for.
  drainTimer_ = loop().after(kDisconnectPatience, [this] {
    drainTimer_ = 0;
    breakWith(localEnd());
  });
  if (library_.disconnect(id_.get()) != 0) breakWith(localEnd());
}

// The design's order: error, windows, queue pair, registrations. When it returns no byte of the peer's can land.
void VerbsConnection::releaseDevice() {
  if (watch_ != 0) device_->unwatch(std::exchange(watch_, 0));
  if (completionChannel_ != nullptr) loop().remove(completionChannel_->fd);
  if (id_ != nullptr && id_->qp != nullptr) {
    if (state_ == State::established || state_ == State::draining) (void)library_.disconnect(id_.get());
    ibv_qp_attr attributes{};
    attributes.qp_state = IBV_QPS_ERR;
    (void)library_.modifyQp(id_->qp, &attributes, IBV_QP_STATE);
    for (auto& [number, key] : keys_)
      key.window.reset();
    library_.destroyQp(id_.get());
  }
  keys_.clear();
  receivedQueue_.reset();
  armed_ = false;
  sentQueue_.reset();
  completionChannel_.reset();
}

// After releaseDevice: nothing of the device's reaches it any more.
void VerbsConnection::releaseMemory() {
  transmit_.reset();
  receiveRegistration_.reset();
  receiveMemory_ = Mapping();
  groundwork_.reset();
  ownDomain_.reset();
}

void VerbsConnection::breakWith(Error reason) {
  if (state_ == State::closed) return;
  const auto keep = shared_from_this();
  if (reason.code != ErrorCode::localClosed && disconnecting_) {
    reason = localEnd();
  }
  loop().cancel(setupTimer_);
  loop().cancel(drainTimer_);
  std::vector<Completion> completions;
  {
    const std::lock_guard lock(mutex_);
    open_ = false;
    overReason_ = reason;
    releaseDevice();
    state_ = State::closed;
    gone_ = true;
    if (transmit_ != nullptr) {
      transmit_->abandon(reason.code, completions);
      total_ = countersNow();
    }
    releaseMemory();
    id_.reset();
  }
  for (auto& done : std::exchange(fenceDone_, {}))
    done();
  if (handler_ != nullptr) {
    deliver(completions);
    handler_->onClosed(*this, reason);
    handler_.reset();
  }
  if (released_) std::exchange(released_, nullptr)();
  // Whoever keeps the connection longer keeps neither the channel nor, through it, anything of the loop's.
  channel_.reset();
  // Not within its own event: the last reference goes once the loop has turned.
  (void)loop().post([self = std::move(self_)] {});
}

}  // namespace rdmacp::fabric::verbs

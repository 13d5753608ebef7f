// device.cpp -- limits and abilities of a device, and registrations on it. Any thread.
#include "fabric/verbs/device.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <utility>

#include "fabric/verbs/flush_verb.h"
#include "fabric/verbs/siw_keys.h"

namespace rdmacp::fabric::verbs {
namespace {

constexpr int kAccess = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_MW_BIND;  // of a registration that all connections share
// For so long what a port did may be why a connection ends.
constexpr std::chrono::seconds kLately{30};

}  // namespace

Result<std::shared_ptr<Device>> Device::make(const Library& library, ibv_context* context,
                                             std::shared_ptr<DeviceWatchers> watchers) {
  std::shared_ptr<Device> device(new Device(library, context, std::move(watchers)));
  device->name_ = library.getDeviceName(context->device);
  if (const int number = library.queryDevice(context, &device->limits_); number != 0) {
    return verbsError("ibv_query_device", number);
  }
  device->iwarp_ = context->device->transport_type == IBV_TRANSPORT_IWARP;
  device->flushes_ = flush_verb::offeredBy(library, context);
  ::fcntl(context->async_fd, F_SETFL, ::fcntl(context->async_fd, F_GETFL) | O_NONBLOCK);
  const bool windows = (device->limits_.device_cap_flags & IBV_DEVICE_MEM_WINDOW_TYPE_2B) != 0;
  if (windows && device->limits_.max_mw > 0 && !device->iwarp_) {
    device->shared_ = ProtectionDomain(library.allocPd(context), {&library});
    if (device->shared_ == nullptr) return verbsError("ibv_alloc_pd", errno);
  }
  return device;
}

Device::~Device() {
  if (!gone_) return;
  (void)shared_.release();
  (void)lostKey_.release();
}

void Device::coverLostKey() {
  if (limits_.vendor_id == kSiwVendor) lostKey_ = verbs::coverLostKey(library_, context_);
}

std::size_t Device::maxMessage(std::uint8_t port) const {
  constexpr std::size_t kMost = std::size_t{1} << 30;
  ibv_port_attr attributes{};
  // The library's own symbol fills the fields of its first version, of which this is one.
  if (library_.queryPort(context_, port, reinterpret_cast<_compat_ibv_port_attr*>(&attributes)) != 0 ||
      attributes.max_msg_sz == 0) {
    return kMost;
  }
  return std::min<std::size_t>(attributes.max_msg_sz, kMost);
}

bool Device::violated(std::uint32_t queuePair) {
  // Looked for here, too: a completion may be seen before the thread has come to the event that was before it.
  const std::lock_guard lock(eventsMutex_);
  (void)readEvents();
  return violated_.erase(queuePair) > 0;
}

std::uint64_t Device::watch(Interest interest) {
  const std::lock_guard lock(eventsMutex_);
  interests_.emplace(nextInterest_, std::move(interest));
  return nextInterest_++;
}

void Device::unwatch(std::uint64_t watched) {
  const std::lock_guard lock(eventsMutex_);
  const auto found = interests_.find(watched);
  if (found == interests_.end()) return;
  // The number of a queue pair is used again.
  violated_.erase(found->second.queuePair);
  interests_.erase(found);
}

bool Device::takeEvents() {
  const std::lock_guard lock(eventsMutex_);
  return readEvents();
}

Result<Registration> Device::registerMemory(ibv_pd* domain, Bytes memory, int access) {
  {
    const std::lock_guard lock(callsMutex_);
    if (closing_) return Error{ErrorCode::connectionBroken, "the RDMA device " + name_ + " has been removed", 0};
    ++calls_;
  }
  auto registered = registerOn(library_, domain, memory, access);
  const std::lock_guard lock(callsMutex_);
  if (--calls_ == 0) callsEnded_.notify_all();
  return registered;
}

void Device::endCalls() {
  std::unique_lock lock(callsMutex_);
  closing_ = true;
  callsEnded_.wait(lock, [this] { return calls_ == 0; });
}

void Device::departs() {
  endCalls();
  const std::lock_guard lock(eventsMutex_);
  tellDeparture();
}

void Device::removed() {
  endCalls();
  const std::lock_guard lock(eventsMutex_);
  gone_ = true;
  tellDeparture();
  tell(Error{ErrorCode::connectionBroken, "the RDMA device " + name_ + " has been removed", 0},
       [](const Interest&) { return true; });
}

void Device::tellDeparture() {
  if (std::exchange(departureTold_, true)) return;
  tellNews(DeviceNews::Kind::removed, 0, "the device has been taken away");
}

void Device::tellNews(DeviceNews::Kind kind, std::uint8_t port, const char* text) {
  if (watchers_ != nullptr) watchers_->tell({kind, name_, port, text});
}

std::string Device::lately(std::uint8_t port) {
  const std::lock_guard lock(eventsMutex_);
  (void)readEvents();
  const auto found = ports_.find(port);
  if (found == ports_.end()) return {};
  const auto ago = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - found->second.at);
  if (ago > kLately) return {};
  return "; the RDMA device " + name_ + " said of port " + std::to_string(port) + ", " + std::to_string(ago.count()) +
         " ms before: " + found->second.text;
}

bool Device::readEvents() {
  ibv_async_event event{};
  while (library_.getAsyncEvent(context_, &event) == 0) {
    actOn(event);
    // Only then may the queue pair or the queue that it names be destroyed.
    library_.ackAsyncEvent(&event);
  }
  return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

void Device::actOn(const ibv_async_event& event) {
  const EventMeaning meaning = meaningOf(event.event_type);
  const Error reason{meaning.violation ? ErrorCode::protocolViolation : ErrorCode::connectionBroken,
                     "the RDMA device " + name_ + " says: " + meaning.text, 0};
  if (meaning.news) {
    const bool ofPort = meaning.concerns == Concerns::port;
    tellNews(*meaning.news, ofPort ? static_cast<std::uint8_t>(event.element.port_num) : std::uint8_t{0}, meaning.text);
  }
  switch (meaning.concerns) {
    case Concerns::nobody:
      return;
    case Concerns::queuePair: {
      const std::uint32_t number = event.element.qp->qp_num;
      const auto concerned = [&](const Interest& interest) { return interest.queuePair == number; };
      const bool ours =
          std::any_of(interests_.begin(), interests_.end(), [&](const auto& entry) { return concerned(entry.second); });
      if (meaning.violation && ours) violated_.insert(number);
      return tell(reason, concerned);
    }
    case Concerns::completionQueue:
      return tell(reason, [queue = event.element.cq](const Interest& interest) {
        return interest.sent == queue || interest.received == queue;
      });
    case Concerns::port:
      ports_[static_cast<std::uint8_t>(event.element.port_num)] = {meaning.text, Clock::now()};
      return;
    case Concerns::device:
      return tell(reason, [](const Interest&) { return true; });
  }
}

template <class Concerned>
void Device::tell(const Error& reason, Concerned concerned) {
  for (const auto& [watched, interest] : interests_) {
    if (!concerned(interest)) continue;
    (void)interest.loop->post([told = interest.told, reason] { told(reason); });
  }
}

Result<std::shared_ptr<Device>> DeviceTable::find(ibv_context* context) {
  const std::lock_guard lock(mutex_);
  if (const auto known = devices_.find(context); known != devices_.end()) {
    if (!known->second->gone()) return known->second;
    // A later device may be opened at the address of one that librdmacm has closed.
    devices_.erase(known);
  }
  auto made = Device::make(library_, context, watchers_);
  if (!made) return made;
  made.value()->coverLostKey();
  if (Status watched = events_.add(made.value()); !watched) return watched.error();
  devices_.emplace(context, made.value());
  return made;
}

Result<Registration> registerOn(const Library& library, ibv_pd* domain, Bytes memory, int access) {
  Registration registration(library.registerMemory(domain, memory.data(), memory.size(), access), {&library});
  if (registration == nullptr) return verbsError("ibv_reg_mr", errno);
  return registration;
}

VerbsMemoryRegion::~VerbsMemoryRegion() {
  for (auto& [key, there] : registrations_) {
    if (there.device->gone()) (void)there.registration.release();
  }
}

Result<VerbsMemoryRegion::Registered> VerbsMemoryRegion::on(const std::shared_ptr<Device>& device) const {
  if (const auto before = known(*device)) return *before;
  // One thread registers, and whoever else wants it waits here; but nobody does who only asks whether it is there.
  const std::lock_guard making(makingMutex_);
  if (const auto meanwhile = known(*device)) return *meanwhile;
  OnDevice made{device, {}, {}, false};
  if (persistent_ && device->flushes()) {
    auto flushed = device->registerMemory(device->sharedDomain(), memory_, kAccess | flush_verb::accessFlag());
    if (flushed) {
      made.registration = std::move(flushed).value();
      made.flush = true;
    }
  }
  if (made.registration == nullptr) {
    auto plain = device->registerMemory(device->sharedDomain(), memory_, kAccess);
    if (!plain) return plain.error();
    made.registration = std::move(plain).value();
  }
  const std::lock_guard lock(mutex_);
  // prepare() may have been first, and then this one goes again.
  const OnDevice& kept = registrations_.try_emplace(device.get(), std::move(made)).first->second;
  return Registered{kept.registration.get(), kept.flush};
}

bool VerbsMemoryRegion::isOn(const Device& device) const {
  return known(device).has_value();
}

std::optional<VerbsMemoryRegion::Registered> VerbsMemoryRegion::known(const Device& device) const {
  const std::lock_guard lock(mutex_);
  const auto found = registrations_.find(&device);
  if (found == registrations_.end()) return std::nullopt;
  return Registered{found->second.registration.get(), found->second.flush};
}

bool VerbsMemoryRegion::prepare(const std::shared_ptr<Device>& device) const {
  const std::uint64_t returns = LockedShare::returns();
  {
    const std::lock_guard lock(mutex_);
    if (registrations_.contains(device.get())) return true;
    if (const auto refused = refused_.find(device.get()); refused != refused_.end() && refused->second == returns) {
      return false;
    }
  }
  // Pinning takes its time, and a loop's thread may be after the registration on another device.
  std::optional<LockedShare> share = LockedShare::take(memory_.size());
  Registration made;
  if (share) {
    auto registered = device->registerMemory(device->sharedDomain(), memory_, kAccess);
    if (registered) made = std::move(registered).value();
  }
  const std::lock_guard lock(mutex_);
  if (made == nullptr) {
    // What this try itself gives back is no reason for another.
    const bool own = share.has_value();
    share.reset();
    refused_[device.get()] = returns + (own ? 1 : 0);
    return false;
  }
  registrations_.try_emplace(device.get(), OnDevice{device, std::move(share), std::move(made), false});
  return true;
}

}  // namespace rdmacp::fabric::verbs

// device.cpp -- limits and abilities of a device, and registrations on it. Any thread.
#include "device.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "flush_verb.h"
#include "siw_keys.h"

namespace rdmacp::fabric::verbs {
namespace {

constexpr int kAccess = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_MW_BIND;  // of a registration that all connections share

}  // namespace

Result<std::shared_ptr<Device>> Device::make(const Library& library, ibv_context* context) {
  std::shared_ptr<Device> device(new Device(library, context));
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
  const std::lock_guard lock(eventsMutex_);
  ibv_async_event event{};
  while (library_.getAsyncEvent(context_, &event) == 0) {
    const bool ofPeer = event.event_type == IBV_EVENT_QP_ACCESS_ERR || event.event_type == IBV_EVENT_QP_REQ_ERR;
    if (ofPeer) violated_.insert(event.element.qp->qp_num);
    library_.ackAsyncEvent(&event);
  }
  return violated_.erase(queuePair) > 0;
}

Result<std::shared_ptr<Device>> DeviceTable::find(ibv_context* context) {
  const std::lock_guard lock(mutex_);
  if (const auto known = devices_.find(context); known != devices_.end()) return known->second;
  auto made = Device::make(library_, context);
  if (!made) return made;
  made.value()->coverLostKey();
  devices_.emplace(context, made.value());
  return made;
}

Result<Registration> registerOn(const Library& library, ibv_pd* domain, Bytes memory, int access) {
  Registration registration(library.registerMemory(domain, memory.data(), memory.size(), access), {&library});
  if (registration == nullptr) return verbsError("ibv_reg_mr", errno);
  return registration;
}

Result<VerbsMemoryRegion::Registered> VerbsMemoryRegion::on(const std::shared_ptr<Device>& device) const {
  const std::lock_guard lock(mutex_);
  if (const auto known = registrations_.find(device.get()); known != registrations_.end()) {
    return Registered{known->second.registration.get(), known->second.flush};
  }
  OnDevice made{device, {}, {}, false};
  if (persistent_ && device->flushes()) {
    auto flushed = registerOn(device->library(), device->sharedDomain(), memory_, kAccess | flush_verb::accessFlag());
    if (flushed) {
      made.registration = std::move(flushed).value();
      made.flush = true;
    }
  }
  if (made.registration == nullptr) {
    auto plain = registerOn(device->library(), device->sharedDomain(), memory_, kAccess);
    if (!plain) return plain.error();
    made.registration = std::move(plain).value();
  }
  const Registered registered{made.registration.get(), made.flush};
  registrations_.emplace(device.get(), std::move(made));
  return registered;
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
    auto registered = registerOn(device->library(), device->sharedDomain(), memory_, kAccess);
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

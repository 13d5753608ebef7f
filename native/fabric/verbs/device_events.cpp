// device_events.cpp -- see device_events.h.
#include "fabric/verbs/device_events.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <string>
#include <system_error>
#include <utility>

#include "fabric/verbs/device.h"

namespace rdmacp::fabric::verbs {

EventMeaning meaningOf(ibv_event_type type) {
  switch (type) {
    case IBV_EVENT_CQ_ERR:
      return {Concerns::completionQueue, true, false, "a completion queue has failed", DeviceNews::Kind::queueFailed};
    case IBV_EVENT_QP_FATAL:
      return {Concerns::queuePair, true, false, "a queue pair has failed", DeviceNews::Kind::queueFailed};
    case IBV_EVENT_QP_REQ_ERR:
      return {Concerns::queuePair, true, true, "the peer sent a request that is not valid"};
    case IBV_EVENT_QP_ACCESS_ERR:
      return {Concerns::queuePair, true, true, "the peer used a key, a bound or a right that it has not"};
    case IBV_EVENT_DEVICE_FATAL:
      return {Concerns::device, true, false, "the device has failed", DeviceNews::Kind::failed};
    // A port that comes back soon costs nobody a connection: a device sends again for two seconds.
    case IBV_EVENT_PORT_ERR:
      return {Concerns::port, false, false, "the port went down", DeviceNews::Kind::portDown};
    case IBV_EVENT_PORT_ACTIVE:
      return {Concerns::port, false, false, "the port came up", DeviceNews::Kind::portUp};
    case IBV_EVENT_GID_CHANGE:
      return {Concerns::port, false, false, "the addresses of the port changed", DeviceNews::Kind::addressesChanged};
    case IBV_EVENT_LID_CHANGE:
      return {Concerns::port, false, false, "the local identifier of the port changed",
              DeviceNews::Kind::identifierChanged};
    case IBV_EVENT_PKEY_CHANGE:
      return {Concerns::port, false, false, "the partition keys of the port changed",
              DeviceNews::Kind::partitionsChanged};
    // Of what no connection here has (shared receive queues, other paths, work queues), or no news for one.
    case IBV_EVENT_COMM_EST:
    case IBV_EVENT_SQ_DRAINED:
    case IBV_EVENT_PATH_MIG:
    case IBV_EVENT_PATH_MIG_ERR:
    case IBV_EVENT_SM_CHANGE:
    case IBV_EVENT_SRQ_ERR:
    case IBV_EVENT_SRQ_LIMIT_REACHED:
    case IBV_EVENT_QP_LAST_WQE_REACHED:
    case IBV_EVENT_CLIENT_REREGISTER:
    case IBV_EVENT_WQ_FATAL:
      break;
  }
  return {};  // also for those that later libraries may have
}

std::shared_ptr<void> DeviceWatchers::add(Told told) {
  auto watcher = std::make_shared<Told>(std::move(told));
  const std::lock_guard lock(mutex_);
  std::erase_if(watchers_, [](const auto& one) { return one.expired(); });
  watchers_.push_back(watcher);
  return watcher;
}

void DeviceWatchers::tell(const DeviceNews& news) {
  std::vector<std::shared_ptr<Told>> present;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& one : watchers_) {
      if (auto watcher = one.lock()) present.push_back(std::move(watcher));
    }
  }
  for (const auto& watcher : present)
    (*watcher)(news);
}

DeviceEvents::~DeviceEvents() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    if (wake_) (void)::eventfd_write(wake_.get(), 1);
  }
  if (thread_.joinable()) thread_.join();
}

Status DeviceEvents::add(std::shared_ptr<Device> device) {
  const std::lock_guard lock(mutex_);
  if (!thread_.joinable()) {
    if (Status started = start(); !started) return started;
  }
  devices_.push_back(std::move(device));
  (void)::eventfd_write(wake_.get(), 1);
  return {};
}

Status DeviceEvents::start() {
  wake_.reset(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!wake_) return Error{ErrorCode::systemError, std::string("eventfd: ") + std::strerror(errno), errno};
  // The process's signals are for its JavaScript thread.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  Status started;
  try {
    thread_ = std::thread([this] {
      pthread_setname_np(pthread_self(), "rdmacp-device");
      run();
    });
  } catch (const std::system_error& error) {
    started =
        Error{ErrorCode::systemError, std::string("starting the thread for the events of devices: ") + error.what(),
              error.code().value()};
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return started;
}

void DeviceEvents::run() {
  std::vector<std::shared_ptr<Device>> devices;
  std::vector<pollfd> polled;
  for (;;) {
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return;
      devices = devices_;
    }
    polled.assign(1, {wake_.get(), POLLIN, 0});
    for (const auto& device : devices)
      polled.push_back({device->context()->async_fd, POLLIN, 0});
    if (::poll(polled.data(), polled.size(), -1) < 0) {
      if (errno != EINTR) std::this_thread::sleep_for(std::chrono::milliseconds(100));  // no memory
      continue;
    }
    eventfd_t value = 0;
    if (polled.front().revents != 0) (void)::eventfd_read(wake_.get(), &value);
    for (std::size_t i = 0; i < devices.size(); ++i) {
      const short found = polled[i + 1].revents;
      const bool readable = (found & POLLIN) != 0;
      if (found == 0 || (readable && devices[i]->takeEvents())) continue;
      // The kernel has taken the device away: it has nothing more to say.
      devices[i]->removed();
      const std::lock_guard lock(mutex_);
      std::erase(devices_, devices[i]);
    }
  }
}

}  // namespace rdmacp::fabric::verbs

// device_events.h -- what a device says by itself, outside of any completion: what each event means, who is told, and the thread
// that reads the events of all devices in use.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/file_descriptor.h"
#include "base/result.h"
#include "fabric/fabric.h"
#include "fabric/verbs/rdma_core.h"

namespace rdmacp::fabric::verbs {

// Whom an event concerns, which is also the field of its element that may be read.
enum class Concerns : std::uint8_t { nobody, queuePair, completionQueue, port, device };

struct EventMeaning {
  Concerns concerns = Concerns::nobody;
  bool ends = false;       // those concerned transfer no more
  bool violation = false;  // the peer of the queue pair did what it may not
  const char* text = "";   // completes `the RDMA device NAME says: `
  std::optional<DeviceNews::Kind> news = std::nullopt;
};

EventMeaning meaningOf(ibv_event_type type);

// Those who want to hear of devices: Fabric::watchDevices. Any thread.
class DeviceWatchers {
 public:
  using Told = std::function<void(const DeviceNews&)>;
  std::shared_ptr<void> add(Told told);
  void tell(const DeviceNews& news);

 private:
  std::mutex mutex_;
  std::vector<std::weak_ptr<Told>> watchers_;
};

class Device;

// One thread, started with the first device. It calls nothing that waits: what is to be done is posted to loops.
class DeviceEvents {
 public:
  DeviceEvents() = default;
  // Not from its own thread, which owns nothing but devices.
  ~DeviceEvents();
  DeviceEvents(const DeviceEvents&) = delete;
  DeviceEvents& operator=(const DeviceEvents&) = delete;

  // Any thread. systemError when there can be no thread.
  Status add(std::shared_ptr<Device> device);

 private:
  Status start();  // with the mutex
  void run();

  std::mutex mutex_;
  std::vector<std::shared_ptr<Device>> devices_;
  bool stopping_ = false;
  FileDescriptor wake_;
  std::thread thread_;
};

}  // namespace rdmacp::fabric::verbs

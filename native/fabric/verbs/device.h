// device.h -- one RDMA device as this process has it open, and registrations of memory on it.
//
// librdmacm opens every device once and keeps it; a Device is what the fabric adds: its limits, whether keys can be made
// per connection by memory windows, and the protection domain that windows share. Any thread; the table has a mutex.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "fabric/fabric.h"
#include "fabric/verbs/device_events.h"
#include "fabric/verbs/handles.h"
#include "fabric/verbs/locked_memory.h"

namespace rdmacp::fabric::verbs {

class Device {
 public:
  // watchers: told what it says of itself; null for a device that is only looked at.
  static Result<std::shared_ptr<Device>> make(const Library& library, ibv_context* context,
                                              std::shared_ptr<DeviceWatchers> watchers = nullptr);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  // Before the first queue is made, where queues are: a device that is only listed needs none of it.
  void coverLostKey();
  const Library& library() const { return library_; }
  ibv_context* context() const { return context_; }
  const ibv_device_attr& limits() const { return limits_; }
  bool iwarp() const { return iwarp_; }
  // Type-2B windows: a key is then valid on one queue pair only, over a registration without remote rights that all
  // connections share. Without them every connection has a protection domain and registrations of its own; so it has
  // on iWARP, where the sinks of reads need remote-write rights and must be out of the reach of other connections.
  bool windows() const { return shared_ != nullptr; }
  // RDMA FLUSH to persistent memory, in either direction.
  bool flushes() const { return flushes_; }
  ibv_pd* sharedDomain() const { return shared_.get(); }
  // The largest message of a port, in bytes.
  std::size_t maxMessage(std::uint8_t port) const;
  // What a connection has of the device, and how it hears that this has failed: by a call of told on its loop, more than one
  // if more than one thing fails. told owns nothing that owns a device.
  struct Interest {
    std::uint32_t queuePair = 0;
    const ibv_cq* sent = nullptr;
    const ibv_cq* received = nullptr;
    EventLoop* loop = nullptr;
    std::function<void(const Error& reason)> told;
  };
  // Until unwatch has returned the loop must be there. What was posted to it before is still told.
  std::uint64_t watch(Interest interest);
  void unwatch(std::uint64_t watched);
  // Takes, acts on and acknowledges what the device has to say. false: it is not there any more.
  bool takeEvents();
  // The connection manager has said that the device is being taken away. Its handles are good, and are to be given back.
  void departs();
  // It is not there any more. Every connection is told.
  void removed();
  // Any thread. With the given ibv_access_flags; connectionBroken once the device is being taken away, which waits for what
  // is under way: whoever gives the last identifier back lets librdmacm close the device.
  Result<Registration> registerMemory(ibv_pd* domain, Bytes memory, int access);
  // Since then no call may be made with one of its handles: librdmacm may have closed the device. The kernel has freed all.
  bool gone() const { return gone_; }
  // Whether the device has said that this queue pair's peer did what it may not. Some devices say it, some never do.
  bool violated(std::uint32_t queuePair);
  // What the device has lately said about the port, to stand behind the reason of an end; empty if nothing.
  std::string lately(std::uint8_t port);

 private:
  Device(const Library& library, ibv_context* context, std::shared_ptr<DeviceWatchers> watchers)
      : library_(library), context_(context), watchers_(std::move(watchers)) {}

  struct PortEvent {
    const char* text = "";
    Clock::time_point at;
  };
  bool readEvents();                         // with the mutex
  void actOn(const ibv_async_event& event);  // with the mutex
  template <class Concerned>
  void tell(const Error& reason, Concerned concerned);  // with the mutex
  void tellNews(DeviceNews::Kind kind, std::uint8_t port, const char* text);
  void tellDeparture();  // with the mutex
  void endCalls();

  const Library& library_;
  ibv_context* context_;
  const std::shared_ptr<DeviceWatchers> watchers_;
  std::string name_;
  ibv_device_attr limits_{};
  bool iwarp_ = false;
  bool flushes_ = false;
  ProtectionDomain shared_;
  CompletionQueue lostKey_;  // of siw only: siw_keys.h
  std::mutex callsMutex_;    // before the next
  std::condition_variable callsEnded_;
  unsigned calls_ = 0;      // registrations under way
  bool closing_ = false;    // no more of them
  std::mutex eventsMutex_;  // taken before that of a loop
  std::map<std::uint64_t, Interest> interests_;
  std::uint64_t nextInterest_ = 1;
  std::set<std::uint32_t> violated_;  // queue pairs that nobody has asked about yet
  std::map<std::uint8_t, PortEvent> ports_;
  bool departureTold_ = false;
  std::atomic<bool> gone_{false};
};

// Devices by their context, made at first sight.
class DeviceTable {
 public:
  explicit DeviceTable(const Library& library) : library_(library) {}
  Result<std::shared_ptr<Device>> find(ibv_context* context);
  DeviceWatchers& watchers() { return *watchers_; }

 private:
  const Library& library_;
  const std::shared_ptr<DeviceWatchers> watchers_ = std::make_shared<DeviceWatchers>();
  std::mutex mutex_;
  std::map<ibv_context*, std::shared_ptr<Device>> devices_;
  DeviceEvents events_;
};

// Memory that connections on any device may be granted ranges of, or may transfer from and to. On a device with windows it is
// registered once, at the first grant or prepare there; the registration has no remote rights. That of persistent memory has the one to flush, where the
// device takes it: a driver looks at it whether the memory is persistent (rxe: is_pmem_page), and it changes no byte.
class VerbsMemoryRegion final : public MemoryRegion {
 public:
  VerbsMemoryRegion(Bytes memory, DirtyMap* dirty, bool persistent)
      : memory_(memory), dirty_(dirty), persistent_(persistent) {}
  Bytes memory() const override { return memory_; }
  ~VerbsMemoryRegion() override;
  VerbsMemoryRegion(const VerbsMemoryRegion&) = delete;
  VerbsMemoryRegion& operator=(const VerbsMemoryRegion&) = delete;
  DirtyMap* dirty() const override { return dirty_; }
  bool persistent() const { return persistent_; }

  struct Registered {
    ibv_mr* registration = nullptr;
    bool flush = false;  // windows over it may have the right to flush
  };
  // The first call for a device takes as long as pinning all of the memory does.
  Result<Registered> on(const std::shared_ptr<Device>& device) const;
  // Whether it is registered there already. Does not wait for a registration under way.
  bool isOn(const Device& device) const;
  // Registers there if the limit of locked memory has room for what is no need (locked_memory.h).
  bool prepare(const std::shared_ptr<Device>& device) const;

 private:
  struct OnDevice {
    std::shared_ptr<Device> device;
    std::optional<LockedShare> share;  // given back after the registration has gone
    Registration registration;
    bool flush = false;
  };
  std::optional<Registered> known(const Device& device) const;

  Bytes memory_;
  DirtyMap* dirty_;
  bool persistent_;
  mutable std::mutex makingMutex_;  // held while the memory is registered, and taken before the other
  mutable std::mutex mutex_;        // never held for long
  mutable std::map<const Device*, OnDevice> registrations_;
  mutable std::map<const Device*, std::uint64_t> refused_;  // by prepare: LockedShare::returns() then
};

// Registers with the given ibv_access_flags.
Result<Registration> registerOn(const Library& library, ibv_pd* domain, Bytes memory, int access);

}  // namespace rdmacp::fabric::verbs

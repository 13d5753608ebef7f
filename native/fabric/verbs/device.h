// device.h -- one RDMA device as this process has it open, and registrations of memory on it.
//
// librdmacm opens every device once and keeps it; a Device is what the fabric adds: its limits, whether keys can be made
// per connection by memory windows, and the protection domain that windows share. Any thread; the table has a mutex.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>

#include "../fabric.h"
#include "handles.h"
#include "locked_memory.h"

namespace rdmacp::fabric::verbs {

class Device {
 public:
  static Result<std::shared_ptr<Device>> make(const Library& library, ibv_context* context);

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
  // Whether the device has said that this queue pair's peer did what it may not. Some devices say it, some never do.
  bool violated(std::uint32_t queuePair);

 private:
  Device(const Library& library, ibv_context* context) : library_(library), context_(context) {}

  const Library& library_;
  ibv_context* context_;
  ibv_device_attr limits_{};
  bool iwarp_ = false;
  bool flushes_ = false;
  ProtectionDomain shared_;
  CompletionQueue lostKey_;  // of siw only: siw_keys.h
  std::mutex eventsMutex_;
  std::set<std::uint32_t> violated_;  // queue pairs that nobody has asked about yet
};

// Devices by their context, made at first sight.
class DeviceTable {
 public:
  explicit DeviceTable(const Library& library) : library_(library) {}
  Result<std::shared_ptr<Device>> find(ibv_context* context);

 private:
  const Library& library_;
  std::mutex mutex_;
  std::map<ibv_context*, std::shared_ptr<Device>> devices_;
};

// Memory that connections on any device may be granted ranges of, or may transfer from and to. On a device with windows it is
// registered once, at the first grant or prepare there; the registration has no remote rights. That of persistent memory has the one to flush, where the
// device takes it: a driver looks at it whether the memory is persistent (rxe: is_pmem_page), and it changes no byte.
class VerbsMemoryRegion final : public MemoryRegion {
 public:
  VerbsMemoryRegion(Bytes memory, DirtyMap* dirty, bool persistent)
      : memory_(memory), dirty_(dirty), persistent_(persistent) {}
  Bytes memory() const override { return memory_; }
  DirtyMap* dirty() const override { return dirty_; }
  bool persistent() const { return persistent_; }

  struct Registered {
    ibv_mr* registration = nullptr;
    bool flush = false;  // windows over it may have the right to flush
  };
  Result<Registered> on(const std::shared_ptr<Device>& device) const;
  // Registers there if the limit of locked memory has room for what is no need (locked_memory.h).
  bool prepare(const std::shared_ptr<Device>& device) const;

 private:
  struct OnDevice {
    std::shared_ptr<Device> device;
    std::optional<LockedShare> share;  // given back after the registration has gone
    Registration registration;
    bool flush = false;
  };
  Bytes memory_;
  DirtyMap* dirty_;
  bool persistent_;
  mutable std::mutex mutex_;
  mutable std::map<const Device*, OnDevice> registrations_;
  mutable std::map<const Device*, std::uint64_t> refused_;  // by prepare: LockedShare::returns() then
};

// Registers with the given ibv_access_flags.
Result<Registration> registerOn(const Library& library, ibv_pd* domain, Bytes memory, int access);

}  // namespace rdmacp::fabric::verbs

// device_list.cpp -- what RDMA devices the machine has and can do, for people who look. Any thread; keeps nothing open.
#include <cerrno>
#include <memory>

#include "fabric/fabric.h"
#include "fabric/verbs/device.h"

namespace rdmacp::fabric {

Result<std::vector<VerbsDevice>> listVerbsDevices() {
  using namespace verbs;
  const auto loaded = library();
  if (!loaded) return loaded.error();
  const Library& rdma = *loaded.value();
  int count = 0;
  const std::unique_ptr<ibv_device*, decltype(rdma.freeDeviceList)> list(rdma.getDeviceList(&count),
                                                                         rdma.freeDeviceList);
  if (list == nullptr) return verbsError("ibv_get_device_list", errno);
  std::vector<VerbsDevice> devices;
  for (int i = 0; i < count; ++i) {
    VerbsDevice device;
    device.name = rdma.getDeviceName(list.get()[i]);
    device.iwarp = list.get()[i]->transport_type == IBV_TRANSPORT_IWARP;
    const std::unique_ptr<ibv_context, decltype(rdma.closeDevice)> context(rdma.openDevice(list.get()[i]),
                                                                           rdma.closeDevice);
    if (context == nullptr) {
      device.problem = verbsError("ibv_open_device", errno).message;
    } else if (auto opened = Device::make(rdma, context.get()); !opened) {
      device.problem = opened.error().message;
    } else {
      const ibv_device_attr& limits = opened.value()->limits();
      device.windows = opened.value()->windows();
      device.flush = opened.value()->flushes();
      device.queuePairs = static_cast<std::uint32_t>(limits.max_qp);
      device.registrations = static_cast<std::uint32_t>(limits.max_mr);
      device.reads = static_cast<std::uint32_t>(limits.max_qp_rd_atom);
      device.registrationBytes = limits.max_mr_size;
    }
    devices.push_back(std::move(device));
  }
  return devices;
}

}  // namespace rdmacp::fabric

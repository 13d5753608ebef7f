// library.h -- libibverbs and librdmacm, found at run time: the package imports and runs without rdma-core.
//
// Only functions that are symbols of the libraries stand here; what verbs.h defines inline (posting, polling, windows)
// goes through the device's own table. Loaded once for the process, never unloaded. Any thread.
#pragma once

#include "base/result.h"
#include "fabric/verbs/rdma_core.h"

namespace rdmacp::fabric::verbs {

struct Library {
  int (*forkInit)();
  ibv_fork_status (*isForkInitialized)();  // null before rdma-core 34
  ibv_device** (*getDeviceList)(int* count);
  void (*freeDeviceList)(ibv_device** list);
  ibv_context* (*openDevice)(ibv_device* device);
  int (*closeDevice)(ibv_context* context);
  int (*queryDevice)(ibv_context* context, ibv_device_attr* attributes);
  const char* (*getDeviceName)(ibv_device* device);
  int (*queryPort)(ibv_context* context, std::uint8_t port, _compat_ibv_port_attr* attributes);
  ibv_pd* (*allocPd)(ibv_context* context);
  int (*deallocPd)(ibv_pd* domain);
  ibv_mr* (*regMr)(ibv_pd* domain, void* address, std::size_t length, int access);
  int (*deregMr)(ibv_mr* registration);
  ibv_comp_channel* (*createCompChannel)(ibv_context* context);
  int (*destroyCompChannel)(ibv_comp_channel* channel);
  ibv_cq* (*createCq)(ibv_context* context, int entries, void* tag, ibv_comp_channel* channel, int vector);
  int (*destroyCq)(ibv_cq* queue);
  int (*getCqEvent)(ibv_comp_channel* channel, ibv_cq** queue, void** tag);
  void (*ackCqEvents)(ibv_cq* queue, unsigned count);
  int (*modifyQp)(ibv_qp* queuePair, ibv_qp_attr* attributes, int mask);
  const char* (*wcStatusText)(ibv_wc_status status);
  ibv_qp_ex* (*toExtended)(ibv_qp* queuePair);  // null before rdma-core 21
  int (*getAsyncEvent)(ibv_context* context, ibv_async_event* event);
  void (*ackAsyncEvent)(ibv_async_event* event);

  rdma_event_channel* (*createEventChannel)();
  void (*destroyEventChannel)(rdma_event_channel* channel);
  int (*createId)(rdma_event_channel* channel, rdma_cm_id** id, void* context, rdma_port_space space);
  int (*destroyId)(rdma_cm_id* id);
  int (*bindAddress)(rdma_cm_id* id, sockaddr* address);
  int (*listen)(rdma_cm_id* id, int backlog);
  int (*resolveAddress)(rdma_cm_id* id, sockaddr* source, sockaddr* destination, int timeoutMs);
  int (*resolveRoute)(rdma_cm_id* id, int timeoutMs);
  int (*createQp)(rdma_cm_id* id, ibv_pd* domain, ibv_qp_init_attr* attributes);
  int (*createQpEx)(rdma_cm_id* id, ibv_qp_init_attr_ex* attributes);  // null before rdma-core 13
  void (*destroyQp)(rdma_cm_id* id);
  int (*connect)(rdma_cm_id* id, rdma_conn_param* parameters);
  int (*accept)(rdma_cm_id* id, rdma_conn_param* parameters);
  int (*reject)(rdma_cm_id* id, const void* data, std::uint8_t length);
  int (*disconnect)(rdma_cm_id* id);
  int (*getEvent)(rdma_event_channel* channel, rdma_cm_event** event);
  int (*ackEvent)(rdma_cm_event* event);
  const char* (*eventText)(rdma_cm_event_type event);
  int (*migrateId)(rdma_cm_id* id, rdma_event_channel* channel);
  int (*setOption)(rdma_cm_id* id, int level, int option, void* value, std::size_t length);

  // Registers memory, or fails with the errno as libibverbs does.
  ibv_mr* registerMemory(ibv_pd* pd, void* address, std::size_t length, int access) const {
    return regMr(pd, address, length, access);
  }
};

// The libraries, with fork protection on; or notSupported with what to install.
Result<const Library*> library();

// An errno as an Error that names the call and, where it is a limit, the remedy.
Error verbsError(const char* call, int number);

}  // namespace rdmacp::fabric::verbs

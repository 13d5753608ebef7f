// library.h -- libibverbs and librdmacm, found at run time: the package imports and runs without rdma-core.
//
// Only functions that are symbols of the libraries stand here; what verbs.h defines inline (posting, polling, windows)
// goes through the device's own table. Loaded once for the process, never unloaded. Any thread.
#pragma once

#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>

// verbs.h makes macros of these, which would hide the members below.
#undef ibv_reg_mr
#undef ibv_query_port

#include "../../base/result.h"

namespace rdmacp::fabric::verbs {

struct Library {
  decltype(&::ibv_fork_init) forkInit;
  decltype(&::ibv_is_fork_initialized) isForkInitialized;  // null before rdma-core 34
  decltype(&::ibv_get_device_list) getDeviceList;
  decltype(&::ibv_free_device_list) freeDeviceList;
  decltype(&::ibv_open_device) openDevice;
  decltype(&::ibv_close_device) closeDevice;
  decltype(&::ibv_query_device) queryDevice;
  decltype(&::ibv_get_device_name) getDeviceName;
  decltype(&::ibv_query_port) queryPort;
  decltype(&::ibv_alloc_pd) allocPd;
  decltype(&::ibv_dealloc_pd) deallocPd;
  decltype(&::ibv_reg_mr) regMr;
  decltype(&::ibv_dereg_mr) deregMr;
  decltype(&::ibv_create_comp_channel) createCompChannel;
  decltype(&::ibv_destroy_comp_channel) destroyCompChannel;
  decltype(&::ibv_create_cq) createCq;
  decltype(&::ibv_destroy_cq) destroyCq;
  decltype(&::ibv_get_cq_event) getCqEvent;
  decltype(&::ibv_ack_cq_events) ackCqEvents;
  decltype(&::ibv_modify_qp) modifyQp;
  decltype(&::ibv_wc_status_str) wcStatusText;
  decltype(&::ibv_qp_to_qp_ex) toExtended;  // null before rdma-core 21
  decltype(&::ibv_get_async_event) getAsyncEvent;
  decltype(&::ibv_ack_async_event) ackAsyncEvent;

  decltype(&::rdma_create_event_channel) createEventChannel;
  decltype(&::rdma_destroy_event_channel) destroyEventChannel;
  decltype(&::rdma_create_id) createId;
  decltype(&::rdma_destroy_id) destroyId;
  decltype(&::rdma_bind_addr) bindAddress;
  decltype(&::rdma_listen) listen;
  decltype(&::rdma_resolve_addr) resolveAddress;
  decltype(&::rdma_resolve_route) resolveRoute;
  decltype(&::rdma_create_qp) createQp;
  decltype(&::rdma_create_qp_ex) createQpEx;  // null before rdma-core 13
  decltype(&::rdma_destroy_qp) destroyQp;
  decltype(&::rdma_connect) connect;
  decltype(&::rdma_accept) accept;
  decltype(&::rdma_reject) reject;
  decltype(&::rdma_disconnect) disconnect;
  decltype(&::rdma_get_cm_event) getEvent;
  decltype(&::rdma_ack_cm_event) ackEvent;
  decltype(&::rdma_event_str) eventText;
  decltype(&::rdma_migrate_id) migrateId;
  decltype(&::rdma_set_option) setOption;

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

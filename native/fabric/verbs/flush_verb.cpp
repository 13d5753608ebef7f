// flush_verb.cpp -- see flush_verb.h.
#include "fabric/verbs/flush_verb.h"

#include <cerrno>

namespace rdmacp::fabric::verbs::flush_verb {

namespace {

// IB_UVERBS_DEVICE_FLUSH_PERSISTENT of the kernel's rdma/ib_user_verbs.h (6.2), which rdma-core does not name.
constexpr std::uint64_t kDeviceFlushPersistent = std::uint64_t{1} << 39;

}  // namespace

int accessFlag() {
  return IBV_ACCESS_FLUSH_PERSISTENT;
}

bool offeredBy(const Library& library, ibv_context* context) {
  if (library.createQpEx == nullptr || library.toExtended == nullptr) return false;
  // Not ibv_query_device_ex: where the device has no such call it falls back to a symbol of the library.
  verbs_context* const extended = extendedContext(context);
  if (extended == nullptr) return false;
  ibv_device_attr_ex attributes{};
  if (extended->query_device_ex(context, nullptr, &attributes, sizeof attributes) != 0) return false;
  return (attributes.device_cap_flags_ex & kDeviceFlushPersistent) != 0;
}

int createQueuePair(const Library& library, rdma_cm_id* id, ibv_pd* domain, ibv_qp_init_attr& attributes) {
  ibv_qp_init_attr_ex extended{};
  extended.send_cq = attributes.send_cq;
  extended.recv_cq = attributes.recv_cq;
  extended.cap = attributes.cap;
  extended.qp_type = attributes.qp_type;
  extended.comp_mask = IBV_QP_INIT_ATTR_PD | IBV_QP_INIT_ATTR_SEND_OPS_FLAGS;
  extended.pd = domain;
  extended.send_ops_flags = IBV_QP_EX_WITH_FLUSH;
  if (library.createQpEx(id, &extended) != 0) return -1;
  attributes.cap = extended.cap;
  return 0;
}

int post(const Library& library, ibv_qp* queuePair, std::uint64_t number, std::uint32_t key, std::uint64_t address,
         std::uint32_t bytes) {
  ibv_qp_ex* const extended = library.toExtended(queuePair);
  if (extended == nullptr) return EOPNOTSUPP;
  extended->wr_start(extended);
  extended->wr_id = number;
  extended->wr_flags = IBV_SEND_SIGNALED;
  extended->wr_flush(extended, key, address, bytes, IBV_FLUSH_PERSISTENT, IBV_FLUSH_RANGE);
  return extended->wr_complete(extended);
}

}  // namespace rdmacp::fabric::verbs::flush_verb

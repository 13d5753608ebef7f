// rdma_core_test.cpp -- our declarations of libibverbs and librdmacm are those of the installed headers. Without the headers
// (Debian: libibverbs-dev, librdmacm-dev) only the layouts that rdma_core.h asserts itself are known to hold.
#include "fabric/verbs/rdma_core.h"

#if __has_include(<infiniband/verbs.h>) && __has_include(<rdma/rdma_cma.h>)
#define RC_COMPARE_WITH_HEADERS 1
#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>
// Macros of verbs.h, which would hide the symbols.
#undef ibv_reg_mr
#undef ibv_query_port
#endif

#include <type_traits>

#include "check.h"
#include "fabric/verbs/library.h"

namespace {

namespace own = rdmacp::fabric::verbs;

#ifdef RC_COMPARE_WITH_HEADERS

#define SAME_FIELD(type, field)                                         \
  static_assert(offsetof(own::type, field) == offsetof(::type, field)); \
  static_assert(sizeof(own::type::field) == sizeof(::type::field))
#define SAME_SIZE(type) static_assert(sizeof(own::type) == sizeof(::type))
#define SAME_VALUE(name) static_assert(static_cast<long>(own::name) == static_cast<long>(::name))

SAME_SIZE(ibv_device_attr);
SAME_FIELD(ibv_device_attr, vendor_id);
SAME_FIELD(ibv_device_attr, max_qp);
SAME_FIELD(ibv_device_attr, max_qp_wr);
SAME_FIELD(ibv_device_attr, device_cap_flags);
SAME_FIELD(ibv_device_attr, max_sge);
SAME_FIELD(ibv_device_attr, max_sge_rd);
SAME_FIELD(ibv_device_attr, max_cqe);
SAME_FIELD(ibv_device_attr, max_mr);
SAME_FIELD(ibv_device_attr, max_qp_rd_atom);
SAME_FIELD(ibv_device_attr, max_res_rd_atom);
SAME_FIELD(ibv_device_attr, max_qp_init_rd_atom);
SAME_FIELD(ibv_device_attr, max_mw);
SAME_FIELD(ibv_device_attr, phys_port_cnt);
SAME_FIELD(ibv_device_attr_ex, orig_attr);
SAME_FIELD(ibv_device_attr_ex, device_cap_flags_ex);
static_assert(sizeof(own::ibv_device_attr_ex) <= sizeof(::ibv_device_attr_ex));
SAME_FIELD(ibv_port_attr, state);
SAME_FIELD(ibv_port_attr, active_mtu);
SAME_FIELD(ibv_port_attr, max_msg_sz);
SAME_FIELD(ibv_port_attr, link_layer);
SAME_FIELD(ibv_port_attr, port_cap_flags2);
SAME_SIZE(ibv_async_event);
SAME_FIELD(ibv_async_event, element);
SAME_FIELD(ibv_async_event, event_type);
SAME_SIZE(ibv_wc);
SAME_FIELD(ibv_wc, wr_id);
SAME_FIELD(ibv_wc, status);
SAME_FIELD(ibv_wc, opcode);
SAME_FIELD(ibv_wc, vendor_err);
SAME_FIELD(ibv_wc, byte_len);
SAME_FIELD(ibv_wc, qp_num);
SAME_SIZE(ibv_mr);
SAME_FIELD(ibv_mr, lkey);
SAME_FIELD(ibv_mr, rkey);
SAME_SIZE(ibv_mw);
SAME_FIELD(ibv_mw, rkey);
SAME_FIELD(ibv_mw, type);
SAME_SIZE(ibv_mw_bind_info);
SAME_FIELD(ibv_mw_bind_info, mw_access_flags);
SAME_SIZE(ibv_pd);
SAME_SIZE(ibv_sge);
SAME_FIELD(ibv_sge, lkey);
SAME_SIZE(ibv_send_wr);
SAME_FIELD(ibv_send_wr, sg_list);
SAME_FIELD(ibv_send_wr, num_sge);
SAME_FIELD(ibv_send_wr, opcode);
SAME_FIELD(ibv_send_wr, send_flags);
SAME_FIELD(ibv_send_wr, wr.rdma.remote_addr);
SAME_FIELD(ibv_send_wr, wr.rdma.rkey);
SAME_FIELD(ibv_send_wr, bind_mw.mw);
SAME_FIELD(ibv_send_wr, bind_mw.rkey);
SAME_FIELD(ibv_send_wr, bind_mw.bind_info);
SAME_SIZE(ibv_recv_wr);
SAME_FIELD(ibv_recv_wr, num_sge);
SAME_SIZE(ibv_qp_cap);
SAME_FIELD(ibv_qp_cap, max_inline_data);
SAME_SIZE(ibv_qp_init_attr);
SAME_FIELD(ibv_qp_init_attr, cap);
SAME_FIELD(ibv_qp_init_attr, qp_type);
SAME_SIZE(ibv_qp_init_attr_ex);
SAME_FIELD(ibv_qp_init_attr_ex, comp_mask);
SAME_FIELD(ibv_qp_init_attr_ex, pd);
SAME_FIELD(ibv_qp_init_attr_ex, send_ops_flags);
SAME_SIZE(ibv_qp_attr);
SAME_FIELD(ibv_qp_attr, qp_state);
SAME_FIELD(ibv_qp_attr, max_rd_atomic);
SAME_FIELD(ibv_qp_attr, max_dest_rd_atomic);
SAME_FIELD(ibv_qp_attr, timeout);
SAME_SIZE(ibv_comp_channel);
SAME_FIELD(ibv_comp_channel, fd);
SAME_FIELD(ibv_cq, context);
SAME_FIELD(ibv_cq, cqe);
SAME_SIZE(ibv_qp);
SAME_FIELD(ibv_qp, qp_num);
SAME_FIELD(ibv_qp, state);
SAME_FIELD(ibv_qp_ex, wr_id);
SAME_FIELD(ibv_qp_ex, wr_flags);
SAME_FIELD(ibv_qp_ex, wr_start);
SAME_FIELD(ibv_qp_ex, wr_complete);
SAME_FIELD(ibv_qp_ex, wr_abort);
SAME_SIZE(ibv_device);
SAME_FIELD(ibv_device, transport_type);
SAME_FIELD(ibv_device, name);
SAME_FIELD(ibv_device, ibdev_path);
SAME_SIZE(ibv_context_ops);
SAME_FIELD(ibv_context_ops, alloc_mw);
SAME_FIELD(ibv_context_ops, dealloc_mw);
SAME_FIELD(ibv_context_ops, poll_cq);
SAME_FIELD(ibv_context_ops, req_notify_cq);
SAME_FIELD(ibv_context_ops, post_send);
SAME_FIELD(ibv_context_ops, post_recv);
SAME_SIZE(ibv_context);
SAME_FIELD(ibv_context, device);
SAME_FIELD(ibv_context, ops);
SAME_FIELD(ibv_context, async_fd);
SAME_FIELD(ibv_context, num_comp_vectors);
SAME_FIELD(ibv_context, abi_compat);

// What is declared of verbs_context is its end.
#define SAME_FROM_END(field)                                                        \
  static_assert(sizeof(own::verbs_context) - offsetof(own::verbs_context, field) == \
                sizeof(::verbs_context) - offsetof(::verbs_context, field))
SAME_FROM_END(query_device_ex);
SAME_FROM_END(sz);
SAME_FROM_END(context);

SAME_SIZE(rdma_route);
SAME_FIELD(rdma_route, addr.src_addr);
SAME_FIELD(rdma_route, addr.dst_addr);
SAME_SIZE(rdma_event_channel);
SAME_SIZE(rdma_cm_id);
SAME_FIELD(rdma_cm_id, verbs);
SAME_FIELD(rdma_cm_id, context);
SAME_FIELD(rdma_cm_id, qp);
SAME_FIELD(rdma_cm_id, route);
SAME_FIELD(rdma_cm_id, port_num);
SAME_FIELD(rdma_cm_id, event);
SAME_FIELD(rdma_cm_id, pd);
SAME_SIZE(rdma_conn_param);
SAME_FIELD(rdma_conn_param, private_data_len);
SAME_FIELD(rdma_conn_param, responder_resources);
SAME_FIELD(rdma_conn_param, initiator_depth);
SAME_FIELD(rdma_conn_param, retry_count);
SAME_FIELD(rdma_conn_param, rnr_retry_count);
SAME_SIZE(rdma_cm_event);
SAME_FIELD(rdma_cm_event, id);
SAME_FIELD(rdma_cm_event, listen_id);
SAME_FIELD(rdma_cm_event, event);
SAME_FIELD(rdma_cm_event, status);
SAME_FIELD(rdma_cm_event, param);

SAME_VALUE(IBV_TRANSPORT_IWARP);
SAME_VALUE(IBV_FORK_UNNEEDED);
SAME_VALUE(IBV_DEVICE_MEM_WINDOW_TYPE_2B);
SAME_VALUE(IBV_ACCESS_LOCAL_WRITE);
SAME_VALUE(IBV_ACCESS_REMOTE_WRITE);
SAME_VALUE(IBV_ACCESS_REMOTE_READ);
SAME_VALUE(IBV_ACCESS_MW_BIND);
SAME_VALUE(IBV_ACCESS_HUGETLB);
SAME_VALUE(IBV_MW_TYPE_2);
SAME_VALUE(IBV_QPT_RC);
SAME_VALUE(IBV_QPS_RTS);
SAME_VALUE(IBV_QPS_ERR);
SAME_VALUE(IBV_QP_STATE);
SAME_VALUE(IBV_QP_MAX_QP_RD_ATOMIC);
SAME_VALUE(IBV_QP_MAX_DEST_RD_ATOMIC);
SAME_VALUE(IBV_QP_INIT_ATTR_PD);
SAME_VALUE(IBV_QP_INIT_ATTR_SEND_OPS_FLAGS);
SAME_VALUE(IBV_WR_RDMA_WRITE);
SAME_VALUE(IBV_WR_SEND);
SAME_VALUE(IBV_WR_RDMA_READ);
SAME_VALUE(IBV_WR_BIND_MW);
SAME_VALUE(IBV_SEND_FENCE);
SAME_VALUE(IBV_SEND_SIGNALED);
SAME_VALUE(IBV_SEND_INLINE);
SAME_VALUE(IBV_WC_SUCCESS);
SAME_VALUE(IBV_WC_LOC_LEN_ERR);
SAME_VALUE(IBV_WC_WR_FLUSH_ERR);
SAME_VALUE(IBV_WC_REM_INV_REQ_ERR);
SAME_VALUE(IBV_WC_REM_ACCESS_ERR);
SAME_VALUE(IBV_WC_GENERAL_ERR);
SAME_VALUE(IBV_WC_BIND_MW);
SAME_VALUE(IBV_WC_RECV);
SAME_VALUE(IBV_EVENT_QP_FATAL);
SAME_VALUE(IBV_EVENT_QP_REQ_ERR);
SAME_VALUE(IBV_EVENT_QP_ACCESS_ERR);
SAME_VALUE(IBV_EVENT_DEVICE_FATAL);
SAME_VALUE(IBV_EVENT_PORT_ACTIVE);
SAME_VALUE(IBV_EVENT_PORT_ERR);
SAME_VALUE(IBV_EVENT_GID_CHANGE);
SAME_VALUE(IBV_EVENT_WQ_FATAL);
SAME_VALUE(IBV_PORT_ACTIVE);
SAME_VALUE(RDMA_CM_EVENT_ADDR_RESOLVED);
SAME_VALUE(RDMA_CM_EVENT_CONNECT_REQUEST);
SAME_VALUE(RDMA_CM_EVENT_REJECTED);
SAME_VALUE(RDMA_CM_EVENT_ESTABLISHED);
SAME_VALUE(RDMA_CM_EVENT_DISCONNECTED);
SAME_VALUE(RDMA_CM_EVENT_DEVICE_REMOVAL);
SAME_VALUE(RDMA_CM_EVENT_ADDR_CHANGE);
SAME_VALUE(RDMA_CM_EVENT_TIMEWAIT_EXIT);
SAME_VALUE(RDMA_PS_TCP);
SAME_VALUE(RDMA_OPTION_ID);
SAME_VALUE(RDMA_OPTION_ID_ACK_TIMEOUT);

// What headers before rdma-core 45 lack is compared where it is there.
template <class Context>
constexpr bool flushAgrees() {
  if constexpr (requires { &Context::wr_flush; }) {
    return offsetof(own::ibv_qp_ex, wr_flush) == offsetof(Context, wr_flush) &&
           sizeof(own::ibv_qp_ex) == sizeof(Context);
  } else {
    return offsetof(own::ibv_qp_ex, wr_flush) == sizeof(Context);
  }
}
static_assert(flushAgrees<::ibv_qp_ex>());

// A function of the library takes as many arguments as its pointer here, each of the same size or a pointer too.
template <class A, class B>
constexpr bool alike = sizeof(A) == sizeof(B) && std::is_pointer_v<A> == std::is_pointer_v<B>;
template <class Own, class Theirs>
constexpr bool sameCall = false;
template <class R, class... A, class S, class... B>
requires(sizeof...(A) == sizeof...(B)) constexpr bool sameCall<R (*)(A...), S (*)(B...)> =
    (std::is_void_v<R> == std::is_void_v<S>)&&(alike<A, B> && ... && true);
#define SAME_CALL(member, name) static_assert(sameCall<decltype(own::Library::member), decltype(&::name)>)

SAME_CALL(forkInit, ibv_fork_init);
SAME_CALL(isForkInitialized, ibv_is_fork_initialized);
SAME_CALL(toExtended, ibv_qp_to_qp_ex);
SAME_CALL(getDeviceList, ibv_get_device_list);
SAME_CALL(freeDeviceList, ibv_free_device_list);
SAME_CALL(openDevice, ibv_open_device);
SAME_CALL(closeDevice, ibv_close_device);
SAME_CALL(queryDevice, ibv_query_device);
SAME_CALL(getDeviceName, ibv_get_device_name);
SAME_CALL(queryPort, ibv_query_port);
SAME_CALL(allocPd, ibv_alloc_pd);
SAME_CALL(deallocPd, ibv_dealloc_pd);
SAME_CALL(regMr, ibv_reg_mr);
SAME_CALL(deregMr, ibv_dereg_mr);
SAME_CALL(createCompChannel, ibv_create_comp_channel);
SAME_CALL(destroyCompChannel, ibv_destroy_comp_channel);
SAME_CALL(createCq, ibv_create_cq);
SAME_CALL(destroyCq, ibv_destroy_cq);
SAME_CALL(getCqEvent, ibv_get_cq_event);
SAME_CALL(ackCqEvents, ibv_ack_cq_events);
SAME_CALL(modifyQp, ibv_modify_qp);
SAME_CALL(wcStatusText, ibv_wc_status_str);
SAME_CALL(getAsyncEvent, ibv_get_async_event);
SAME_CALL(ackAsyncEvent, ibv_ack_async_event);
SAME_CALL(createEventChannel, rdma_create_event_channel);
SAME_CALL(destroyEventChannel, rdma_destroy_event_channel);
SAME_CALL(createId, rdma_create_id);
SAME_CALL(destroyId, rdma_destroy_id);
SAME_CALL(bindAddress, rdma_bind_addr);
SAME_CALL(listen, rdma_listen);
SAME_CALL(resolveAddress, rdma_resolve_addr);
SAME_CALL(resolveRoute, rdma_resolve_route);
SAME_CALL(createQp, rdma_create_qp);
SAME_CALL(createQpEx, rdma_create_qp_ex);
SAME_CALL(destroyQp, rdma_destroy_qp);
SAME_CALL(connect, rdma_connect);
SAME_CALL(accept, rdma_accept);
SAME_CALL(reject, rdma_reject);
SAME_CALL(disconnect, rdma_disconnect);
SAME_CALL(getEvent, rdma_get_cm_event);
SAME_CALL(ackEvent, rdma_ack_cm_event);
SAME_CALL(eventText, rdma_event_str);
SAME_CALL(migrateId, rdma_migrate_id);
SAME_CALL(setOption, rdma_set_option);

#endif

TEST(a_key_counts_in_its_last_eight_bits) {
  CHECK_EQ(own::ibv_inc_rkey(0x12345600U), 0x12345601U);
  CHECK_EQ(own::ibv_inc_rkey(0x123456ffU), 0x12345600U);
#ifdef RC_COMPARE_WITH_HEADERS
  for (const std::uint32_t key : {0U, 0xffU, 0x1ffU, 0xffffffffU, 0x12345678U})
    CHECK_EQ(own::ibv_inc_rkey(key), ::ibv_inc_rkey(key));
#endif
}

TEST(an_extended_context_is_known_by_its_mark_and_its_size) {
  own::verbs_context whole{};
  CHECK(own::extendedContext(&whole.context) == nullptr);
  whole.context.abi_compat = reinterpret_cast<void*>(~std::uintptr_t{0});
  whole.query_device_ex = [](own::ibv_context*, const own::ibv_query_device_ex_input*, own::ibv_device_attr_ex*,
                             std::size_t) { return 0; };
  whole.sz = sizeof whole - 1;
  CHECK(own::extendedContext(&whole.context) == nullptr);
  whole.sz = sizeof whole;
  CHECK(own::extendedContext(&whole.context) == &whole);
  whole.query_device_ex = nullptr;
  CHECK(own::extendedContext(&whole.context) == nullptr);
}

}  // namespace

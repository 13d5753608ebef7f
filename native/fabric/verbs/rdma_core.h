// rdma_core.h -- the part of the binary interfaces of libibverbs.so.1 and librdmacm.so.1 that this fabric uses. Any thread.
//
// Declared here and not included from rdma-core's headers, so that every build has the verbs fabric, wherever it was built; the
// libraries are found at run time (library.h). Names, layouts and values are those of infiniband/verbs.h and rdma/rdma_cma.h,
// whose interfaces rdma-core keeps as they are: structures that the library makes grow at the end, verbs_context at the front,
// and what an older library lacks is asked for before it is used. The 64-bit layout is asserted below, and
// test/native/rdma_core_test.cpp compares everything here with the real headers where they are installed. What the headers
// define inline goes through the device's own table, and so it does here.
#pragma once

#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstdint>

namespace rdmacp::fabric::verbs {

// --- infiniband/verbs.h ---

enum ibv_node_type : int;
enum ibv_transport_type : int {
  IBV_TRANSPORT_UNKNOWN = -1,
  IBV_TRANSPORT_IB = 0,
  IBV_TRANSPORT_IWARP = 1,
};

enum ibv_fork_status {
  IBV_FORK_DISABLED,
  IBV_FORK_ENABLED,
  IBV_FORK_UNNEEDED,
};

inline constexpr unsigned IBV_DEVICE_MEM_WINDOW_TYPE_2B = 1U << 24;  // of device_cap_flags

enum ibv_access_flags {
  IBV_ACCESS_LOCAL_WRITE = 1 << 0,
  IBV_ACCESS_REMOTE_WRITE = 1 << 1,
  IBV_ACCESS_REMOTE_READ = 1 << 2,
  IBV_ACCESS_REMOTE_ATOMIC = 1 << 3,
  IBV_ACCESS_MW_BIND = 1 << 4,
  IBV_ACCESS_ZERO_BASED = 1 << 5,
  IBV_ACCESS_ON_DEMAND = 1 << 6,
  IBV_ACCESS_HUGETLB = 1 << 7,
  IBV_ACCESS_FLUSH_GLOBAL = 1 << 8,      // rdma-core 45
  IBV_ACCESS_FLUSH_PERSISTENT = 1 << 9,  // rdma-core 45
};

enum ibv_mw_type { IBV_MW_TYPE_1 = 1, IBV_MW_TYPE_2 = 2 };

enum ibv_qp_type { IBV_QPT_RC = 2, IBV_QPT_UC, IBV_QPT_UD };

enum ibv_qp_state {
  IBV_QPS_RESET,
  IBV_QPS_INIT,
  IBV_QPS_RTR,
  IBV_QPS_RTS,
  IBV_QPS_SQD,
  IBV_QPS_SQE,
  IBV_QPS_ERR,
  IBV_QPS_UNKNOWN,
};

enum ibv_qp_attr_mask {
  IBV_QP_STATE = 1 << 0,
  IBV_QP_MAX_QP_RD_ATOMIC = 1 << 13,
  IBV_QP_MAX_DEST_RD_ATOMIC = 1 << 17,
};

enum ibv_qp_init_attr_mask {
  IBV_QP_INIT_ATTR_PD = 1 << 0,
  IBV_QP_INIT_ATTR_SEND_OPS_FLAGS = 1 << 6,
};

enum ibv_qp_create_send_ops_flags {
  IBV_QP_EX_WITH_FLUSH = 1 << 11,  // rdma-core 45
};

enum ibv_wr_opcode {
  IBV_WR_RDMA_WRITE,
  IBV_WR_RDMA_WRITE_WITH_IMM,
  IBV_WR_SEND,
  IBV_WR_SEND_WITH_IMM,
  IBV_WR_RDMA_READ,
  IBV_WR_ATOMIC_CMP_AND_SWP,
  IBV_WR_ATOMIC_FETCH_AND_ADD,
  IBV_WR_LOCAL_INV,
  IBV_WR_BIND_MW,
};

enum ibv_send_flags {
  IBV_SEND_FENCE = 1 << 0,
  IBV_SEND_SIGNALED = 1 << 1,
  IBV_SEND_SOLICITED = 1 << 2,
  IBV_SEND_INLINE = 1 << 3,
};

// What a flush makes of the bytes, and which bytes: rdma-core 45.
enum ibv_placement_type { IBV_FLUSH_GLOBAL = 1 << 0, IBV_FLUSH_PERSISTENT = 1 << 1 };
enum ibv_selectivity_level { IBV_FLUSH_RANGE = 0, IBV_FLUSH_MR = 1 };

enum ibv_wc_status {
  IBV_WC_SUCCESS,
  IBV_WC_LOC_LEN_ERR,
  IBV_WC_LOC_QP_OP_ERR,
  IBV_WC_LOC_EEC_OP_ERR,
  IBV_WC_LOC_PROT_ERR,
  IBV_WC_WR_FLUSH_ERR,
  IBV_WC_MW_BIND_ERR,
  IBV_WC_BAD_RESP_ERR,
  IBV_WC_LOC_ACCESS_ERR,
  IBV_WC_REM_INV_REQ_ERR,
  IBV_WC_REM_ACCESS_ERR,
  IBV_WC_REM_OP_ERR,
  IBV_WC_RETRY_EXC_ERR,
  IBV_WC_RNR_RETRY_EXC_ERR,
  IBV_WC_LOC_RDD_VIOL_ERR,
  IBV_WC_REM_INV_RD_REQ_ERR,
  IBV_WC_REM_ABORT_ERR,
  IBV_WC_INV_EECN_ERR,
  IBV_WC_INV_EEC_STATE_ERR,
  IBV_WC_FATAL_ERR,
  IBV_WC_RESP_TIMEOUT_ERR,
  IBV_WC_GENERAL_ERR,
};

enum ibv_wc_opcode {
  IBV_WC_SEND,
  IBV_WC_RDMA_WRITE,
  IBV_WC_RDMA_READ,
  IBV_WC_COMP_SWAP,
  IBV_WC_FETCH_ADD,
  IBV_WC_BIND_MW,
  IBV_WC_LOCAL_INV,
  IBV_WC_RECV = 1 << 7,
};

enum ibv_event_type {
  IBV_EVENT_CQ_ERR,
  IBV_EVENT_QP_FATAL,
  IBV_EVENT_QP_REQ_ERR,
  IBV_EVENT_QP_ACCESS_ERR,
  IBV_EVENT_COMM_EST,
  IBV_EVENT_SQ_DRAINED,
  IBV_EVENT_PATH_MIG,
  IBV_EVENT_PATH_MIG_ERR,
  IBV_EVENT_DEVICE_FATAL,
  IBV_EVENT_PORT_ACTIVE,
  IBV_EVENT_PORT_ERR,
  IBV_EVENT_LID_CHANGE,
  IBV_EVENT_PKEY_CHANGE,
  IBV_EVENT_SM_CHANGE,
  IBV_EVENT_SRQ_ERR,
  IBV_EVENT_SRQ_LIMIT_REACHED,
  IBV_EVENT_QP_LAST_WQE_REACHED,
  IBV_EVENT_CLIENT_REREGISTER,
  IBV_EVENT_GID_CHANGE,
  IBV_EVENT_WQ_FATAL,
};

enum ibv_port_state {
  IBV_PORT_NOP,
  IBV_PORT_DOWN,
  IBV_PORT_INIT,
  IBV_PORT_ARMED,
  IBV_PORT_ACTIVE,
  IBV_PORT_ACTIVE_DEFER,
};

enum ibv_atomic_cap : unsigned;
enum ibv_mtu : unsigned;
enum ibv_mig_state : unsigned;

struct ibv_ah;
struct ibv_srq;
struct ibv_wq;
struct ibv_xrcd;
struct ibv_rwq_ind_table;
struct ibv_query_device_ex_input;
struct ibv_context;
struct ibv_cq;
struct ibv_mw;
struct ibv_pd;
struct ibv_qp;

union ibv_gid {
  std::uint8_t raw[16];
  struct {
    std::uint64_t subnet_prefix;  // big endian
    std::uint64_t interface_id;   // big endian
  } global;
};

struct ibv_device_attr {
  char fw_ver[64];
  std::uint64_t node_guid;       // big endian
  std::uint64_t sys_image_guid;  // big endian
  std::uint64_t max_mr_size;
  std::uint64_t page_size_cap;
  std::uint32_t vendor_id;
  std::uint32_t vendor_part_id;
  std::uint32_t hw_ver;
  int max_qp;
  int max_qp_wr;
  unsigned device_cap_flags;
  int max_sge;
  int max_sge_rd;
  int max_cq;
  int max_cqe;
  int max_mr;
  int max_pd;
  int max_qp_rd_atom;
  int max_ee_rd_atom;
  int max_res_rd_atom;
  int max_qp_init_rd_atom;
  int max_ee_init_rd_atom;
  ibv_atomic_cap atomic_cap;
  int max_ee;
  int max_rdd;
  int max_mw;
  int max_raw_ipv6_qp;
  int max_raw_ethy_qp;
  int max_mcast_grp;
  int max_mcast_qp_attach;
  int max_total_mcast_qp_attach;
  int max_ah;
  int max_fmr;
  int max_map_per_fmr;
  int max_srq;
  int max_srq_wr;
  int max_srq_sge;
  std::uint16_t max_pkeys;
  std::uint8_t local_ca_ack_delay;
  std::uint8_t phys_port_cnt;
};

struct ibv_odp_caps {
  std::uint64_t general_caps;
  struct {
    std::uint32_t rc_odp_caps;
    std::uint32_t uc_odp_caps;
    std::uint32_t ud_odp_caps;
  } per_transport_caps;
};

// The front of it: query_device_ex is told how many bytes it may fill.
struct ibv_device_attr_ex {
  ibv_device_attr orig_attr;
  std::uint32_t comp_mask;
  ibv_odp_caps odp_caps;
  std::uint64_t completion_timestamp_mask;
  std::uint64_t hca_core_clock;
  std::uint64_t device_cap_flags_ex;
};

struct ibv_port_attr {
  ibv_port_state state;
  ibv_mtu max_mtu;
  ibv_mtu active_mtu;
  int gid_tbl_len;
  std::uint32_t port_cap_flags;
  std::uint32_t max_msg_sz;
  std::uint32_t bad_pkey_cntr;
  std::uint32_t qkey_viol_cntr;
  std::uint16_t pkey_tbl_len;
  std::uint16_t lid;
  std::uint16_t sm_lid;
  std::uint8_t lmc;
  std::uint8_t max_vl_num;
  std::uint8_t sm_sl;
  std::uint8_t subnet_timeout;
  std::uint8_t init_type_reply;
  std::uint8_t active_width;
  std::uint8_t active_speed;
  std::uint8_t phys_state;
  std::uint8_t link_layer;
  std::uint8_t flags;
  std::uint16_t port_cap_flags2;
};
// What the symbol ibv_query_port fills: the fields up to link_layer or so. Never made, only pointed to.
struct _compat_ibv_port_attr;

struct ibv_async_event {
  union {
    ibv_cq* cq;
    ibv_qp* qp;
    ibv_srq* srq;
    ibv_wq* wq;
    int port_num;
  } element;
  ibv_event_type event_type;
};

struct ibv_wc {
  std::uint64_t wr_id;
  ibv_wc_status status;
  ibv_wc_opcode opcode;
  std::uint32_t vendor_err;
  std::uint32_t byte_len;
  union {
    std::uint32_t imm_data;  // big endian
    std::uint32_t invalidated_rkey;
  };
  std::uint32_t qp_num;
  std::uint32_t src_qp;
  unsigned wc_flags;
  std::uint16_t pkey_index;
  std::uint16_t slid;
  std::uint8_t sl;
  std::uint8_t dlid_path_bits;
};

struct ibv_mr {
  ibv_context* context;
  ibv_pd* pd;
  void* addr;
  std::size_t length;
  std::uint32_t handle;
  std::uint32_t lkey;
  std::uint32_t rkey;
};

struct ibv_mw {
  ibv_context* context;
  ibv_pd* pd;
  std::uint32_t rkey;
  std::uint32_t handle;
  ibv_mw_type type;
};

struct ibv_mw_bind_info {
  ibv_mr* mr;
  std::uint64_t addr;
  std::uint64_t length;
  unsigned mw_access_flags;
};

struct ibv_pd {
  ibv_context* context;
  std::uint32_t handle;
};

struct ibv_sge {
  std::uint64_t addr;
  std::uint32_t length;
  std::uint32_t lkey;
};

struct ibv_send_wr {
  std::uint64_t wr_id;
  ibv_send_wr* next;
  ibv_sge* sg_list;
  int num_sge;
  ibv_wr_opcode opcode;
  unsigned send_flags;
  union {
    std::uint32_t imm_data;  // big endian
    std::uint32_t invalidate_rkey;
  };
  union {
    struct {
      std::uint64_t remote_addr;
      std::uint32_t rkey;
    } rdma;
    struct {
      std::uint64_t remote_addr;
      std::uint64_t compare_add;
      std::uint64_t swap;
      std::uint32_t rkey;
    } atomic;
    struct {
      ibv_ah* ah;
      std::uint32_t remote_qpn;
      std::uint32_t remote_qkey;
    } ud;
  } wr;
  union {
    struct {
      std::uint32_t remote_srqn;
    } xrc;
  } qp_type;
  union {
    struct {
      ibv_mw* mw;
      std::uint32_t rkey;
      ibv_mw_bind_info bind_info;
    } bind_mw;
    struct {
      void* hdr;
      std::uint16_t hdr_sz;
      std::uint16_t mss;
    } tso;
  };
};

struct ibv_recv_wr {
  std::uint64_t wr_id;
  ibv_recv_wr* next;
  ibv_sge* sg_list;
  int num_sge;
};

struct ibv_qp_cap {
  std::uint32_t max_send_wr;
  std::uint32_t max_recv_wr;
  std::uint32_t max_send_sge;
  std::uint32_t max_recv_sge;
  std::uint32_t max_inline_data;
};

struct ibv_qp_init_attr {
  void* qp_context;
  ibv_cq* send_cq;
  ibv_cq* recv_cq;
  ibv_srq* srq;
  ibv_qp_cap cap;
  ibv_qp_type qp_type;
  int sq_sig_all;
};

struct ibv_rx_hash_conf {
  std::uint8_t rx_hash_function;
  std::uint8_t rx_hash_key_len;
  std::uint8_t* rx_hash_key;
  std::uint64_t rx_hash_fields_mask;
};

struct ibv_qp_init_attr_ex {
  void* qp_context;
  ibv_cq* send_cq;
  ibv_cq* recv_cq;
  ibv_srq* srq;
  ibv_qp_cap cap;
  ibv_qp_type qp_type;
  int sq_sig_all;
  std::uint32_t comp_mask;
  ibv_pd* pd;
  ibv_xrcd* xrcd;
  std::uint32_t create_flags;
  std::uint16_t max_tso_header;
  ibv_rwq_ind_table* rwq_ind_tbl;
  ibv_rx_hash_conf rx_hash_conf;
  std::uint32_t source_qpn;
  std::uint64_t send_ops_flags;
};

struct ibv_global_route {
  ibv_gid dgid;
  std::uint32_t flow_label;
  std::uint8_t sgid_index;
  std::uint8_t hop_limit;
  std::uint8_t traffic_class;
};

struct ibv_ah_attr {
  ibv_global_route grh;
  std::uint16_t dlid;
  std::uint8_t sl;
  std::uint8_t src_path_bits;
  std::uint8_t static_rate;
  std::uint8_t is_global;
  std::uint8_t port_num;
};

struct ibv_qp_attr {
  ibv_qp_state qp_state;
  ibv_qp_state cur_qp_state;
  ibv_mtu path_mtu;
  ibv_mig_state path_mig_state;
  std::uint32_t qkey;
  std::uint32_t rq_psn;
  std::uint32_t sq_psn;
  std::uint32_t dest_qp_num;
  unsigned qp_access_flags;
  ibv_qp_cap cap;
  ibv_ah_attr ah_attr;
  ibv_ah_attr alt_ah_attr;
  std::uint16_t pkey_index;
  std::uint16_t alt_pkey_index;
  std::uint8_t en_sqd_async_notify;
  std::uint8_t sq_draining;
  std::uint8_t max_rd_atomic;
  std::uint8_t max_dest_rd_atomic;
  std::uint8_t min_rnr_timer;
  std::uint8_t port_num;
  std::uint8_t timeout;
  std::uint8_t retry_cnt;
  std::uint8_t rnr_retry;
  std::uint8_t alt_port_num;
  std::uint8_t alt_timeout;
  std::uint32_t rate_limit;
};

struct ibv_comp_channel {
  ibv_context* context;
  int fd;
  int refcnt;
};

// Of these the library owns more than is declared.
struct ibv_cq {
  ibv_context* context;
  ibv_comp_channel* channel;
  void* cq_context;
  std::uint32_t handle;
  int cqe;
};

struct ibv_qp {
  ibv_context* context;
  void* qp_context;
  ibv_pd* pd;
  ibv_cq* send_cq;
  ibv_cq* recv_cq;
  ibv_srq* srq;
  std::uint32_t handle;
  std::uint32_t qp_num;
  ibv_qp_state state;
  ibv_qp_type qp_type;
  pthread_mutex_t mutex;
  pthread_cond_t cond;
  std::uint32_t events_completed;
};

// A slot of a table that nothing here calls.
using unused_operation = void (*)();

struct ibv_qp_ex {
  ibv_qp qp_base;
  std::uint64_t comp_mask;
  std::uint64_t wr_id;
  unsigned wr_flags;
  // compare and swap, fetch and add, bind, invalidate, read, write, write with immediate data
  unused_operation one_sided[7];
  // send, with immediate data, with invalidation, with segmentation
  unused_operation sends[4];
  // address of a datagram, number of a shared queue, inline data, a list of it, a segment, a list of them
  unused_operation setters[6];
  void (*wr_start)(ibv_qp_ex* qp);
  int (*wr_complete)(ibv_qp_ex* qp);
  void (*wr_abort)(ibv_qp_ex* qp);
  unused_operation wr_atomic_write;  // rdma-core 44
  // rdma-core 45: there only in a queue pair that was made with IBV_QP_EX_WITH_FLUSH.
  void (*wr_flush)(ibv_qp_ex* qp, std::uint32_t rkey, std::uint64_t remote_addr, std::size_t len, std::uint8_t type,
                   std::uint8_t level);
};

struct ibv_device {
  unused_operation operations[2];
  ibv_node_type node_type;
  ibv_transport_type transport_type;
  char name[64];
  char dev_name[64];
  char dev_path[256];
  char ibdev_path[256];
};

struct ibv_context_ops {
  unused_operation before_windows[7];
  ibv_mw* (*alloc_mw)(ibv_pd* pd, ibv_mw_type type);
  unused_operation bind_mw;
  int (*dealloc_mw)(ibv_mw* mw);
  unused_operation create_cq;
  int (*poll_cq)(ibv_cq* cq, int num_entries, ibv_wc* wc);
  int (*req_notify_cq)(ibv_cq* cq, int solicited_only);
  unused_operation between_queues[12];
  int (*post_send)(ibv_qp* qp, ibv_send_wr* wr, ibv_send_wr** bad_wr);
  int (*post_recv)(ibv_qp* qp, ibv_recv_wr* wr, ibv_recv_wr** bad_wr);
  unused_operation after_queues[5];
};

struct ibv_context {
  ibv_device* device;
  ibv_context_ops ops;
  int cmd_fd;
  int async_fd;
  int num_comp_vectors;
  pthread_mutex_t mutex;
  void* abi_compat;  // all ones: the context is the end of a verbs_context
};

// Only its end is declared, from query_device_ex on: it grows at the front, and `sz` says how much of it the library has.
struct verbs_context {
  int (*query_device_ex)(ibv_context* context, const ibv_query_device_ex_input* input, ibv_device_attr_ex* attr,
                         std::size_t attr_size);
  unused_operation before_size[10];
  std::uint64_t placeholder;
  std::size_t sz;
  ibv_context context;
};

// The extended context that has query_device_ex, or null. (verbs_get_ctx_op of verbs.h.)
inline verbs_context* extendedContext(ibv_context* context) {
  // NOLINTNEXTLINE(performance-no-int-to-ptr): the mark that the library sets
  if (context->abi_compat != reinterpret_cast<void*>(~std::uintptr_t{0})) return nullptr;
  auto* const extended =
      reinterpret_cast<verbs_context*>(reinterpret_cast<std::byte*>(context) - offsetof(verbs_context, context));
  if (extended->sz < sizeof(verbs_context) || extended->query_device_ex == nullptr) return nullptr;
  return extended;
}

inline int ibv_poll_cq(ibv_cq* cq, int entries, ibv_wc* completions) {
  return cq->context->ops.poll_cq(cq, entries, completions);
}
inline int ibv_req_notify_cq(ibv_cq* cq, int solicitedOnly) {
  return cq->context->ops.req_notify_cq(cq, solicitedOnly);
}
inline int ibv_post_send(ibv_qp* qp, ibv_send_wr* work, ibv_send_wr** bad) {
  return qp->context->ops.post_send(qp, work, bad);
}
inline int ibv_post_recv(ibv_qp* qp, ibv_recv_wr* work, ibv_recv_wr** bad) {
  return qp->context->ops.post_recv(qp, work, bad);
}
// Null and errno where the device has no windows.
ibv_mw* ibv_alloc_mw(ibv_pd* pd, ibv_mw_type type);
inline int ibv_dealloc_mw(ibv_mw* mw) {
  return mw->context->ops.dealloc_mw(mw);
}
// The next key of the same memory: its last eight bits are the user's.
inline std::uint32_t ibv_inc_rkey(std::uint32_t key) {
  return (key & ~0xffU) | ((key + 1) & 0xffU);
}

// --- rdma/rdma_cma.h ---

enum rdma_cm_event_type {
  RDMA_CM_EVENT_ADDR_RESOLVED,
  RDMA_CM_EVENT_ADDR_ERROR,
  RDMA_CM_EVENT_ROUTE_RESOLVED,
  RDMA_CM_EVENT_ROUTE_ERROR,
  RDMA_CM_EVENT_CONNECT_REQUEST,
  RDMA_CM_EVENT_CONNECT_RESPONSE,
  RDMA_CM_EVENT_CONNECT_ERROR,
  RDMA_CM_EVENT_UNREACHABLE,
  RDMA_CM_EVENT_REJECTED,
  RDMA_CM_EVENT_ESTABLISHED,
  RDMA_CM_EVENT_DISCONNECTED,
  RDMA_CM_EVENT_DEVICE_REMOVAL,
  RDMA_CM_EVENT_MULTICAST_JOIN,
  RDMA_CM_EVENT_MULTICAST_ERROR,
  RDMA_CM_EVENT_ADDR_CHANGE,
  RDMA_CM_EVENT_TIMEWAIT_EXIT,
};

enum rdma_port_space { RDMA_PS_IPOIB = 0x0002, RDMA_PS_TCP = 0x0106, RDMA_PS_UDP = 0x0111, RDMA_PS_IB = 0x013f };

inline constexpr int RDMA_OPTION_ID = 0;              // a level
inline constexpr int RDMA_OPTION_ID_TOS = 0;          // std::uint8_t
inline constexpr int RDMA_OPTION_ID_REUSEADDR = 1;    // int
inline constexpr int RDMA_OPTION_ID_AFONLY = 2;       // int
inline constexpr int RDMA_OPTION_ID_ACK_TIMEOUT = 3;  // std::uint8_t

struct ibv_sa_path_rec;
struct rdma_cm_event;

struct rdma_ib_addr {
  ibv_gid sgid;
  ibv_gid dgid;
  std::uint16_t pkey;  // big endian
};

struct rdma_addr {
  union {
    sockaddr src_addr;
    sockaddr_in src_sin;
    sockaddr_in6 src_sin6;
    sockaddr_storage src_storage;
  };
  union {
    sockaddr dst_addr;
    sockaddr_in dst_sin;
    sockaddr_in6 dst_sin6;
    sockaddr_storage dst_storage;
  };
  union {
    rdma_ib_addr ibaddr;
  } addr;
};

struct rdma_route {
  rdma_addr addr;
  ibv_sa_path_rec* path_rec;
  int num_paths;
};

struct rdma_event_channel {
  int fd;
};

struct rdma_cm_id {
  ibv_context* verbs;
  rdma_event_channel* channel;
  void* context;
  ibv_qp* qp;
  rdma_route route;
  rdma_port_space ps;
  std::uint8_t port_num;
  rdma_cm_event* event;
  ibv_comp_channel* send_cq_channel;
  ibv_cq* send_cq;
  ibv_comp_channel* recv_cq_channel;
  ibv_cq* recv_cq;
  ibv_srq* srq;
  ibv_pd* pd;
  ibv_qp_type qp_type;
};

struct rdma_conn_param {
  const void* private_data;
  std::uint8_t private_data_len;
  std::uint8_t responder_resources;
  std::uint8_t initiator_depth;
  std::uint8_t flow_control;
  std::uint8_t retry_count;
  std::uint8_t rnr_retry_count;
  std::uint8_t srq;
  std::uint32_t qp_num;
};

struct rdma_ud_param {
  const void* private_data;
  std::uint8_t private_data_len;
  ibv_ah_attr ah_attr;
  std::uint32_t qp_num;
  std::uint32_t qkey;
};

struct rdma_cm_event {
  rdma_cm_id* id;
  rdma_cm_id* listen_id;
  rdma_cm_event_type event;
  int status;
  union {
    rdma_conn_param conn;
    rdma_ud_param ud;
  } param;
};

inline sockaddr* rdma_get_local_addr(rdma_cm_id* id) {
  return &id->route.addr.src_addr;
}
inline sockaddr* rdma_get_peer_addr(rdma_cm_id* id) {
  return &id->route.addr.dst_addr;
}

// Layouts of 64-bit Linux, for machines without the headers; where a mutex lies in front the C library decides.
static_assert(sizeof(void*) == 8, "the layouts here are those of 64-bit machines");
static_assert(sizeof(ibv_device_attr) == 232 && offsetof(ibv_device_attr, device_cap_flags) == 116);
static_assert(offsetof(ibv_device_attr_ex, device_cap_flags_ex) == 280);
static_assert(sizeof(ibv_port_attr) == 52 && offsetof(ibv_port_attr, max_msg_sz) == 20);
static_assert(sizeof(ibv_async_event) == 16 && sizeof(ibv_wc) == 48 && sizeof(ibv_mr) == 48 && sizeof(ibv_mw) == 32);
static_assert(sizeof(ibv_send_wr) == 128 && offsetof(ibv_send_wr, bind_mw) == 80 && sizeof(ibv_recv_wr) == 32);
static_assert(sizeof(ibv_qp_init_attr) == 64 && sizeof(ibv_qp_init_attr_ex) == 136 && sizeof(ibv_qp_attr) == 144);
static_assert(offsetof(ibv_qp, qp_num) == 52 && offsetof(ibv_comp_channel, fd) == 8);
static_assert(sizeof(ibv_device) == 664 && sizeof(ibv_context_ops) == 256 && offsetof(ibv_context, async_fd) == 268);
static_assert(sizeof(rdma_cm_id) == 416 && sizeof(rdma_conn_param) == 24 && sizeof(rdma_cm_event) == 80);

}  // namespace rdmacp::fabric::verbs

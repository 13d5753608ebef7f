// flush_verb.h -- the RDMA FLUSH operation (InfiniBand specification, annex A19) as libibverbs has it from rdma-core 45 on.
//
// An older library makes no queue pair with room for flushes, and then there is none. Work requests of this kind are posted by the extended interface only, so that the queue pair is one of
// rdma_create_qp_ex. Batches of ibv_post_send may go between (ibv_wr_post(3)). Any thread; owns nothing.
#pragma once

#include <cstdint>

#include "fabric/verbs/library.h"

namespace rdmacp::fabric::verbs::flush_verb {

// The right in ibv_access_flags, of a registration and of a window.
int accessFlag();
// The installed libraries, the kernel and the device with its driver have it.
bool offeredBy(const Library& library, ibv_context* context);
// As rdma_create_qp, with room for flushes: 0, or -1 and errno: EOPNOTSUPP of a library that is older.
int createQueuePair(const Library& library, rdma_cm_id* id, ibv_pd* domain, ibv_qp_init_attr& attributes);
// Signalled. What it returns is an errno. The caller posts nothing else on the queue pair meanwhile.
int post(const Library& library, ibv_qp* queuePair, std::uint64_t number, std::uint32_t key, std::uint64_t address,
         std::uint32_t bytes);

}  // namespace rdmacp::fabric::verbs::flush_verb

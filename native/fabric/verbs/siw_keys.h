// siw_keys.h -- queues that Linux's soft-iWARP cannot make, and how they are got round. Any thread.
//
// siw tells a queue's place in the device file as a key, which is an offset in bytes, given out from 0 on, the lowest that
// fits. Its user library (providers/siw, rdma-core 44) takes the key 0x90000 for "none" (SIW_INVAL_UOBJ_KEY of
// rdma/siw-abi.h): the call fails, with whatever errno was, for every queue to which that offset falls. With queues of the
// size that connections have here that was the seventeenth end of a connection in a process, and every later one.
#pragma once

#include <cstdint>

#include "fabric/verbs/handles.h"

namespace rdmacp::fabric::verbs {

inline constexpr std::uint32_t kSiwVendor = 0x626d74;

// A completion queue that is never used. Made before every other queue of the context, it begins before that offset and ends
// behind it. It takes 1 MiB of the kernel's memory. Nothing when it cannot be made: the first connections work without it.
inline CompletionQueue coverLostKey(const Library& library, ibv_context* context) {
  constexpr std::uint32_t kLostKey = 0x90000;
  constexpr std::uint32_t kEntryBytes = 32;  // struct siw_cqe; siw rounds the number of entries up to a power of two
  constexpr int kEntries = kLostKey / kEntryBytes + 1;
  return CompletionQueue(library.createCq(context, kEntries, nullptr, nullptr, 0), {&library});
}

}  // namespace rdmacp::fabric::verbs

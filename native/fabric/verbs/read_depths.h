// read_depths.h -- how many RDMA reads a connection may have under way, in either direction, on accept. Pure functions.
//
// An event of the connection manager gives both numbers as its receiver sees them (rdma_get_cm_event(3); the kernel crosses
// them, drivers/infiniband/core/cm.c, cm_format_req_event): responder_resources is what the peer would have this side
// answer at a time, its own initiator_depth, and initiator_depth what the peer can answer of this side's.
#pragma once

#include <algorithm>
#include <cstdint>

namespace rdmacp::fabric::verbs {

struct ReadDepths {
  std::uint8_t responderResources = 0;  // reads of the peer's that this side answers at a time
  std::uint8_t initiatorDepth = 0;      // reads of its own that it has under way
};

// What is accepted of a request: neither more than this side can nor more than was asked for.
constexpr ReadDepths acceptedDepths(ReadDepths own, ReadDepths request) {
  return {std::min(own.responderResources, request.responderResources),
          std::min(own.initiatorDepth, request.initiatorDepth)};
}

// What a client has in the end, by the answer. A connection manager that leaves the numbers out gives zeros.
constexpr std::uint8_t agreedInitiatorDepth(std::uint8_t asked, std::uint8_t answered) {
  return answered == 0 ? asked : std::min(asked, answered);
}

}  // namespace rdmacp::fabric::verbs

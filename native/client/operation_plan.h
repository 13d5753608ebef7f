// operation_plan.h -- an operation taken apart into the work requests and flush messages that carry it out.
//
// Durable is had by flush work requests where the grant allows them, and else by flush messages to the unit.
//
// plan() is pure and runs on the thread that posts; the PendingOperation it makes then belongs to the channel.
#pragma once

#include <memory>
#include <vector>

#include "client/channel.h"

namespace rdmacp::client {

struct FlushMessage {
  std::uint64_t request = 0;
  std::vector<std::byte> bytes;  // sent from here, so kept until the send has completed
};

// One operation, or a group, from its posting to its outcome. `remaining` counts parts: one for each work request, and two for each
// flush message (its send and its answer). The memory of everything sent is reached from here until it is 0.
struct PendingOperation {
  Outcome outcome;
  std::vector<std::uint64_t> further;  // the ids of a group behind the first: they have the same outcome
  Clock::time_point deadline = Clock::time_point::max();
  std::vector<fabric::LocalSegment> segments;  // one for each request
  std::vector<fabric::WorkRequest> requests;
  std::vector<FlushMessage> flushes;
  std::size_t posted = 0;  // requests that the connection has taken; the rest waits
  std::size_t remaining = 0;
};

struct PlanLimits {
  protocol::Grant grant;
  std::uint16_t version = protocol::kVersionMax;
  std::byte* sink = nullptr;             // where the read that makes writes visible puts its byte
  std::uint64_t* nextRequest = nullptr;  // number of the next flush message
  bool flushVerb = false;                // the grant and this end of the connection have it
};

// Of a group, as DataChannel::post takes it: outOfBounds, invalidArgument, remoteAccess, notDurable.
Result<std::unique_ptr<PendingOperation>> plan(std::span<const Operation> group, const PlanLimits& limits);

// Sorted by offset, overlapping and adjacent ones joined, empty ones left out.
std::vector<protocol::FlushRange> joinRanges(std::vector<protocol::FlushRange> ranges);

}  // namespace rdmacp::client

// operation_plan.cpp -- operations into work requests and flush messages. Pure, on the posting thread.
#include "client/operation_plan.h"

#include <algorithm>

namespace rdmacp::client {

namespace {

using fabric::Access;
using fabric::WorkRequest;

constexpr std::uint32_t kPromiseDurable = 2;  // Grant.promises, bit 1
constexpr std::size_t kFlushHeader = 24;      // messages.h, Flush
constexpr std::size_t kFlushRangeBytes = 16;
// Of one flush work request: the peer's device answers nothing else of the connection meanwhile.
constexpr std::uint64_t kMaxVerbFlush = std::uint64_t{16} << 20;

bool has(const protocol::Grant& grant, Access right) {
  return (grant.rights & static_cast<std::uint32_t>(right)) != 0;
}

Status checkBounds(const char* what, std::uint64_t offset, std::uint64_t length, std::uint64_t regionLength) {
  if (offset <= regionLength && length <= regionLength - offset) return {};
  return Error{ErrorCode::outOfBounds, std::string(what) + " of " + std::to_string(length) + " bytes at offset " +
                                           std::to_string(offset) + " reaches outside of the region of " +
                                           std::to_string(regionLength) + " bytes"};
}

Status checkAlike(std::span<const Operation> group) {
  if (group.empty()) return Error{ErrorCode::invalidArgument, "a group of no operations"};
  const Operation& first = group.front();
  for (const Operation& operation : group) {
    if (operation.kind != first.kind || operation.until != first.until) {
      return Error{ErrorCode::invalidArgument, "the operations of a group are of one kind, and go equally far"};
    }
  }
  return {};
}

Status checkRights(const Operation& operation, const protocol::Grant& grant) {
  const bool write = operation.kind == Operation::Kind::write;
  if (write && !has(grant, Access::remoteWrite)) {
    return Error{ErrorCode::remoteAccess, "a write on a connection that was opened for reading"};
  }
  const bool reads = operation.kind == Operation::Kind::read || (write && operation.until == Operation::Until::visible);
  if (reads && !has(grant, Access::remoteRead)) {
    return Error{ErrorCode::remoteAccess,
                 "a read, or a write until visible, on a connection without the right to read"};
  }
  const bool durable =
      operation.kind == Operation::Kind::flush || (write && operation.until == Operation::Until::durable);
  if (durable && (grant.promises & kPromiseDurable) == 0) {
    return Error{ErrorCode::notDurable, "durable was asked of a pool whose medium cannot keep it"};
  }
  return {};
}

Status checkRanges(const Operation& operation, const protocol::Grant& grant) {
  const char* what = operation.kind == Operation::Kind::read ? "a read" : "a write";
  for (const OperationRange& range : operation.ranges) {
    if (Status bounds = checkBounds(what, range.offset, range.length, grant.length); !bounds) return bounds;
    if (range.data == nullptr && range.length != 0) {
      return Error{ErrorCode::invalidArgument,
                   std::string(what) + " of " + std::to_string(range.length) + " bytes without memory for them"};
    }
  }
  for (const protocol::FlushRange& range : operation.flushRanges) {
    if (Status bounds = checkBounds("a flush", range.offset, range.length, grant.length); !bounds) return bounds;
  }
  return {};
}

void addTransfers(PendingOperation& pending, WorkRequest::Kind kind, const OperationRange& range,
                  const protocol::Grant& grant) {
  for (std::uint64_t done = 0; done < range.length;) {
    const std::uint64_t length = std::min<std::uint64_t>(range.length - done, kMaxTransfer);
    pending.segments.push_back({range.data + done, static_cast<std::size_t>(length), range.registration});
    WorkRequest& request = pending.requests.emplace_back();
    request.kind = kind;
    request.remoteAddress = grant.base + range.offset + done;
    done += length;
  }
}

// What has to become durable.
std::vector<protocol::FlushRange> coveredRanges(std::span<const Operation> group) {
  std::vector<protocol::FlushRange> ranges;
  for (const Operation& operation : group) {
    ranges.insert(ranges.end(), operation.flushRanges.begin(), operation.flushRanges.end());
    if (operation.kind != Operation::Kind::write) continue;
    for (const OperationRange& range : operation.ranges)
      ranges.push_back({range.offset, range.length});
  }
  return joinRanges(std::move(ranges));
}

void addVerbFlushes(PendingOperation& pending, const std::vector<protocol::FlushRange>& ranges,
                    const protocol::Grant& grant) {
  for (const protocol::FlushRange& range : ranges) {
    for (std::uint64_t done = 0; done < range.length;) {
      const std::uint64_t length = std::min(range.length - done, kMaxVerbFlush);
      pending.segments.emplace_back();
      WorkRequest& request = pending.requests.emplace_back();
      request.kind = WorkRequest::Kind::flush;
      request.remoteAddress = grant.base + range.offset + done;
      request.flushBytes = static_cast<std::uint32_t>(length);
      done += length;
    }
    pending.outcome.method = protocol::kMethodFlushVerb;
  }
}

void addFlushMessages(PendingOperation& pending, const std::vector<protocol::FlushRange>& ranges,
                      const PlanLimits& limits) {
  const std::size_t byMessage = (limits.grant.maxMessage - kFlushHeader) / kFlushRangeBytes;
  const std::size_t most = std::min(protocol::kMaxFlushRanges, byMessage);
  for (std::size_t first = 0; first < ranges.size(); first += most) {
    const std::size_t count = std::min(most, ranges.size() - first);
    protocol::Flush flush;
    flush.request = (*limits.nextRequest)++;
    flush.ranges.assign(ranges.begin() + static_cast<std::ptrdiff_t>(first),
                        ranges.begin() + static_cast<std::ptrdiff_t>(first + count));
    pending.flushes.push_back({flush.request, protocol::encode(flush, limits.version)});
  }
}

}  // namespace

std::vector<protocol::FlushRange> joinRanges(std::vector<protocol::FlushRange> ranges) {
  std::erase_if(ranges, [](const protocol::FlushRange& range) { return range.length == 0; });
  std::sort(ranges.begin(), ranges.end(), [](const auto& a, const auto& b) { return a.offset < b.offset; });
  std::size_t kept = 0;
  for (const protocol::FlushRange& range : ranges) {
    if (kept > 0 && range.offset <= ranges[kept - 1].offset + ranges[kept - 1].length) {
      protocol::FlushRange& last = ranges[kept - 1];
      last.length = std::max(last.offset + last.length, range.offset + range.length) - last.offset;
    } else {
      ranges[kept++] = range;
    }
  }
  ranges.resize(kept);
  return ranges;
}

Result<std::unique_ptr<PendingOperation>> plan(std::span<const Operation> group, const PlanLimits& limits) {
  if (Status alike = checkAlike(group); !alike) return alike.error();
  for (const Operation& operation : group) {
    if (Status rights = checkRights(operation, limits.grant); !rights) return rights.error();
    if (Status ranges = checkRanges(operation, limits.grant); !ranges) return ranges.error();
  }

  auto pending = std::make_unique<PendingOperation>();
  pending->outcome.id = group.front().id;
  std::size_t rangeCount = 0;
  for (const Operation& operation : group) {
    rangeCount += operation.ranges.size();
    pending->deadline = std::min(pending->deadline, operation.deadline);
  }
  for (const Operation& operation : group.subspan(1))
    pending->further.push_back(operation.id);
  pending->segments.reserve(rangeCount + 1);
  pending->requests.reserve(rangeCount + 1);

  const Operation& first = group.front();
  const bool write = first.kind == Operation::Kind::write;
  const auto transfer = first.kind == Operation::Kind::read ? WorkRequest::Kind::read : WorkRequest::Kind::write;
  if (first.kind != Operation::Kind::flush) {
    for (const Operation& operation : group) {
      for (const OperationRange& range : operation.ranges)
        addTransfers(*pending, transfer, range, limits.grant);
    }
  }
  if (write && first.until == Operation::Until::visible && limits.grant.length > 0) {
    // fabric.h: a read sees every byte of the writes posted before it.
    addTransfers(*pending, WorkRequest::Kind::read, {0, limits.sink, 1}, limits.grant);
  }
  if (first.kind == Operation::Kind::flush || (write && first.until == Operation::Until::durable)) {
    const auto ranges = coveredRanges(group);
    const bool byUnit =
        std::any_of(group.begin(), group.end(), [](const Operation& operation) { return operation.flushByUnit; });
    if (limits.flushVerb && !byUnit) {
      addVerbFlushes(*pending, ranges, limits.grant);
    } else {
      addFlushMessages(*pending, ranges, limits);
    }
  }
  if (pending->requests.empty() && pending->flushes.empty()) {
    // Nothing to move: a zero-byte request keeps its place in the order and completes on the loop.
    pending->segments.emplace_back();
    WorkRequest& request = pending->requests.emplace_back();
    request.kind = transfer;
    request.remoteAddress = limits.grant.base;
  }
  for (std::size_t i = 0; i < pending->requests.size(); ++i) {
    WorkRequest& request = pending->requests[i];
    request.id = reinterpret_cast<std::uintptr_t>(pending.get());
    if (request.kind != WorkRequest::Kind::flush) request.local = {&pending->segments[i], 1};
    request.remoteKey = limits.grant.remoteKey;
    request.deadline = pending->deadline;
  }
  pending->remaining = pending->requests.size() + 2 * pending->flushes.size();
  return pending;
}

}  // namespace rdmacp::client

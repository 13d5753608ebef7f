// work_item.h -- a posted work request on its way: what is left of it to send, and whether it has completed.
//
// Guarded by the connection's mutex; the placement of a read's bytes is the loop thread's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "fabric/fabric.h"

namespace rdmacp::fabric::iwarp {

class WorkItem {
 public:
  explicit WorkItem(const WorkRequest& request)
      : kind(request.kind),
        id(request.id),
        remoteAddress(request.remoteAddress),
        remoteKey(request.remoteKey),
        deadline(request.deadline),
        count_(request.local.size()) {
    for (const LocalSegment& segment : request.local)
      length += segment.length;
    if (count_ == 1) {
      one_ = request.local.front();
    } else if (count_ > 1) {
      many_ = std::make_unique<LocalSegment[]>(count_);
      std::copy(request.local.begin(), request.local.end(), many_.get());
    }
  }

  std::span<const LocalSegment> segments() const { return {count_ == 1 ? &one_ : many_.get(), count_}; }

  WorkRequest::Kind kind;
  bool done = false;
  bool started = false;  // at least one segment of it has been framed
  std::uint64_t id;
  std::uint64_t remoteAddress;
  std::uint32_t remoteKey;
  std::uint32_t sequence = 0;  // send: MSN
  Clock::time_point deadline;
  std::uint64_t length = 0;
  std::uint64_t offset = 0;  // how much has been framed (write, send) or asked for (read)

 private:
  std::size_t count_;
  LocalSegment one_;
  std::unique_ptr<LocalSegment[]> many_;
};

// Walks the segments of a work item in order.
class SegmentCursor {
 public:
  // Calls use(address, length) for each piece of the next bytes, at most maxPieces of them; returns how many it covered.
  template <class Use>
  std::size_t take(const WorkItem& item, std::size_t bytes, std::size_t maxPieces, Use use) {
    std::size_t taken = 0;
    const auto segments = item.segments();
    while (taken < bytes && index_ < segments.size() && maxPieces > 0) {
      const LocalSegment& segment = segments[index_];
      const std::size_t step = std::min(bytes - taken, segment.length - within_);
      if (step != 0) {
        use(segment.address + within_, step);
        --maxPieces;
      }
      taken += step;
      within_ += step;
      if (within_ == segment.length) {
        ++index_;
        within_ = 0;
      }
    }
    return taken;
  }

 private:
  std::size_t index_ = 0;
  std::size_t within_ = 0;
};

// A Read Request of ours that waits for its response. Responses come in the order of the requests.
struct OutstandingRead {
  WorkItem* item = nullptr;
  std::shared_ptr<SegmentCursor> cursor;  // shared by the requests that one long read became
  std::uint32_t sinkKey = 0;
  std::uint32_t length = 0;
  std::uint32_t received = 0;
  bool lastOfItem = false;
};

// A Read Request of the peer's that is to be answered.
struct ReadResponse {
  std::shared_ptr<const MemoryRegion> region;  // keeps the source alive
  const std::byte* source = nullptr;
  std::uint32_t length = 0;
  std::uint32_t sent = 0;
  std::uint32_t sinkKey = 0;
  std::uint64_t sinkOffset = 0;
  std::uint32_t sourceKey = 0;
};

}  // namespace rdmacp::fabric::iwarp

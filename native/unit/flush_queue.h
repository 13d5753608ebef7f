// flush_queue.h -- the threads that make flushed ranges durable, in lanes, so that nobody waits behind another's bulk.
//
// push: any thread. Owns its threads, of which each lane has its own:
//   takeover  what a region has left to make durable, for a takeover
//   small     flushes of little: a thread takes what waits, up to a bound, as one, so that many of them cost one sync
//   bulk      everything else
// What is large is written back in slices, and takes its turn again behind what waits in its lane. It is synced now and then on
// its way, so that no sync has much to write. Syncs are shared by all lanes (media/group_sync.h). What a region has
// left to make durable waits for the region's flushes under way, without a thread.
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "media/medium.h"
#include "unit/region.h"

namespace rdmacp::unit {

struct FlushJob {
  std::shared_ptr<Region> region;
  std::vector<media::ByteRange> ranges;  // of the region, within it
  bool rest = false;                     // what is not durable instead of the ranges; no writer is connected any more
  std::function<bool()> wanted;          // false: whoever asked is gone; the job is dropped without an answer
  std::function<void(const Status&)> answer;
};

class FlushQueue {
 public:
  // bulkThreads: of the lane for bulk.
  FlushQueue(std::shared_ptr<media::Medium> medium, std::uint32_t bulkThreads);
  ~FlushQueue();
  FlushQueue(const FlushQueue&) = delete;
  FlushQueue& operator=(const FlushQueue&) = delete;

  // What kept its threads from starting, if anything did: then it is stopped.
  const Status& started() const { return started_; }
  // false once stopped: the job is not taken.
  bool push(FlushJob job);
  // Ends the slices under way, answers what is not done with stopped, joins. Not from a flush thread.
  void stop();

 private:
  // Jobs that become durable together: one, or several small ones.
  struct Task {
    std::vector<FlushJob> jobs;
    bool begun = false;
    std::deque<media::ByteRange> left;  // of the pool, not written back yet
    bool anything = false;              // to write back at all
    std::uint64_t unsynced = 0;         // bytes written back since the last sync
  };
  struct Lane {
    std::deque<Task> waiting;
    std::condition_variable arrived;
  };
  enum LaneName : std::size_t { kTakeover, kSmall, kBulk, kLanes };

  void startThreads(LaneName name, std::uint32_t count, const char* threadName, int niceness);
  void run(Lane& lane);
  bool take(Lane& lane, Task& task);
  bool beginRest(Task& task);
  void begin(Task& task);
  void carryOn(Lane& lane, Task task);
  Status writeSlice(Task& task);
  void end(Task& task, const Status& status);
  void giveUp(Task& task);

  const std::shared_ptr<media::Medium> medium_;
  Status started_;
  std::mutex mutex_;  // taken before the mutex of a region's flushes
  std::array<Lane, kLanes> lanes_;
  std::vector<Task> parked_;  // takeovers that wait for other flushes of their regions
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace rdmacp::unit

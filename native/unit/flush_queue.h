// flush_queue.h -- the threads that make flushed ranges durable.
//
// push: any thread. A thread takes what waits, up to a bound, as one flush of the medium, so that many small ones cost
// one sync. Owns its threads. What a region has left to make durable is a flush of its own: it waits for those under way.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "../media/medium.h"
#include "region.h"

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
  FlushQueue(std::shared_ptr<media::Medium> medium, std::uint32_t threads);
  ~FlushQueue();
  FlushQueue(const FlushQueue&) = delete;
  FlushQueue& operator=(const FlushQueue&) = delete;

  // What kept its threads from starting, if anything did: then it is stopped.
  const Status& started() const { return started_; }
  // false once stopped: the job is not taken.
  bool push(FlushJob job);
  // Ends what is under way, answers what waits with stopped, joins. Not from a flush thread.
  void stop();

 private:
  void run();
  void flush(std::vector<FlushJob>& batch);
  std::vector<FlushJob> takeBatch(std::unique_lock<std::mutex>& lock);

  const std::shared_ptr<media::Medium> medium_;
  Status started_;
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<FlushJob> waiting_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace rdmacp::unit

// flush_queue.cpp -- flushes by lanes and slices; runs on the queue's own threads.
#include "unit/flush_queue.h"

#include <pthread.h>
#include <sys/resource.h>

#include <algorithm>
#include <csignal>
#include <string>
#include <system_error>
#include <utility>

namespace rdmacp::unit {
namespace {

// A batch of small flushes ends here, so that it is a small one itself.
constexpr std::size_t kBatchJobs = 64;
constexpr std::uint64_t kBatchBytes = 1U << 20U;
// What is up to this large is small: a few records.
constexpr std::uint64_t kSmallBytes = 256U << 10U;
constexpr std::uint64_t kSliceBytes = 2U << 20U;
// Bulk is synced at least so often. A sync waits for all that was written to the file before, whoever wrote it.
constexpr std::uint64_t kSyncBytes = 16U << 20U;
constexpr std::uint64_t kCutBytes = 4096;  // slices end where blocks do

constexpr std::uint32_t kTakeoverThreads = 2;
constexpr std::uint32_t kSmallThreads = 2;
// A processor that bulk and something small want at the same time is for the small.
constexpr int kBulkNiceness = 5;

std::uint64_t bytesOf(const FlushJob& job) {
  std::uint64_t bytes = 0;
  for (const auto& range : job.ranges)
    bytes += range.length;
  return bytes;
}

Error stopped() {
  return {ErrorCode::stopped, "the unit is stopping", 0};
}

// The process's signals are for its JavaScript thread: a new thread starts with all of them blocked.
class BlockedSignals {
 public:
  BlockedSignals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~BlockedSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  BlockedSignals(const BlockedSignals&) = delete;
  BlockedSignals& operator=(const BlockedSignals&) = delete;

 private:
  sigset_t before_{};
};

}  // namespace

FlushQueue::FlushQueue(std::shared_ptr<media::Medium> medium, std::uint32_t bulkThreads) : medium_(std::move(medium)) {
  const BlockedSignals blocked;
  try {
    startThreads(kTakeover, kTakeoverThreads, "rdmacp-takeover", 0);
    startThreads(kSmall, kSmallThreads, "rdmacp-flush", 0);
    startThreads(kBulk, std::max(bulkThreads, 1U), "rdmacp-bulk", kBulkNiceness);
  } catch (const std::system_error& error) {
    started_ =
        Error{ErrorCode::systemError, std::string("starting the flush threads: ") + error.what(), error.code().value()};
    stop();
  }
}

FlushQueue::~FlushQueue() {
  stop();
}

void FlushQueue::startThreads(LaneName name, std::uint32_t count, const char* threadName, int niceness) {
  for (std::uint32_t i = 0; i < count; ++i) {
    threads_.emplace_back([this, &lane = lanes_.at(name), threadName, niceness] {
      pthread_setname_np(pthread_self(), threadName);
      // Linux keeps it for each thread, and 0 is the calling one. Where it may not be set, bulk is only a little more in the way.
      if (niceness != 0) (void)::setpriority(PRIO_PROCESS, 0, niceness);
      run(lane);
    });
  }
}

bool FlushQueue::push(FlushJob job) {
  auto& lane = lanes_.at(job.rest ? kTakeover : bytesOf(job) <= kSmallBytes ? kSmall : kBulk);
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return false;
    Task task;
    task.jobs.push_back(std::move(job));
    lane.waiting.push_back(std::move(task));
  }
  lane.arrived.notify_one();
  return true;
}

void FlushQueue::stop() {
  std::vector<Task> dropped;
  std::vector<std::thread> threads;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    threads.swap(threads_);
  }
  for (auto& lane : lanes_)
    lane.arrived.notify_all();
  for (auto& thread : threads)
    thread.join();
  {
    const std::lock_guard lock(mutex_);
    dropped.swap(parked_);
    for (auto& lane : lanes_) {
      std::move(lane.waiting.begin(), lane.waiting.end(), std::back_inserter(dropped));
      lane.waiting.clear();
    }
  }
  for (auto& task : dropped)
    giveUp(task);
}

void FlushQueue::run(Lane& lane) {
  for (;;) {
    Task task;
    {
      std::unique_lock lock(mutex_);
      lane.arrived.wait(lock, [&] { return stopping_ || !lane.waiting.empty(); });
      if (stopping_) return;
      if (!take(lane, task)) continue;
    }
    std::erase_if(task.jobs, [&](const FlushJob& job) { return !task.begun && !job.wanted(); });
    if (task.jobs.empty()) continue;
    carryOn(lane, std::move(task));
  }
}

// With the mutex held. false when there is nothing to do now: it waits for other flushes of its region.
bool FlushQueue::take(Lane& lane, Task& task) {
  task = std::move(lane.waiting.front());
  lane.waiting.pop_front();
  if (task.begun) return true;
  if (task.jobs.front().rest) {
    if (beginRest(task)) return true;
    parked_.push_back(std::move(task));
    return false;
  }
  if (&lane != &lanes_.at(kSmall)) return true;
  auto bytes = bytesOf(task.jobs.front());
  while (!lane.waiting.empty() && task.jobs.size() < kBatchJobs) {
    auto& next = lane.waiting.front();
    const auto more = bytesOf(next.jobs.front());
    if (more > kBatchBytes - std::min(bytes, kBatchBytes)) break;
    bytes += more;
    task.jobs.push_back(std::move(next.jobs.front()));
    lane.waiting.pop_front();
  }
  return true;
}

// With the mutex held, as whoever ends a flush looks for parked takeovers under it afterwards: one of the two sees the other.
bool FlushQueue::beginRest(Task& task) {
  auto& job = task.jobs.front();
  auto ranges = job.region->flushes().tryBeginRest();
  if (!ranges) return false;
  job.ranges = std::move(*ranges);
  return true;
}

void FlushQueue::begin(Task& task) {
  std::vector<media::ByteRange> ranges;
  for (auto& job : task.jobs) {
    if (!job.rest) job.region->flushes().begin(job.ranges);
    for (const auto& range : job.ranges)
      job.region->memory().appendPoolRanges(range.offset, range.length, ranges);
  }
  task.left.assign(ranges.begin(), ranges.end());
  task.anything = !task.left.empty();
  task.begun = true;
}

void FlushQueue::carryOn(Lane& lane, Task task) {
  if (!task.begun) begin(task);
  for (;;) {
    const auto status = writeSlice(task);
    if (!status || task.left.empty()) return end(task, status);
    // Whoever asked may have been fenced meanwhile, and a takeover wait for this to end.
    const bool wanted =
        std::any_of(task.jobs.begin(), task.jobs.end(), [](const FlushJob& job) { return job.wanted(); });
    if (!wanted) return giveUp(task);
    std::unique_lock lock(mutex_);
    if (stopping_) {
      lock.unlock();
      return giveUp(task);
    }
    if (lane.waiting.empty()) continue;
    lane.waiting.push_back(std::move(task));
    return;
  }
}

// The next slice; behind the last one the sync that makes all of it durable.
Status FlushQueue::writeSlice(Task& task) {
  // Nothing to do is not durable either where the medium has failed.
  if (!task.anything) return medium_->flush({});
  std::vector<media::ByteRange> slice;
  std::uint64_t bytes = 0;
  while (!task.left.empty() && bytes < kSliceBytes) {
    auto& range = task.left.front();
    auto piece = range;
    if (piece.length > kSliceBytes - bytes) {
      const auto cut = (range.offset + kSliceBytes - bytes) / kCutBytes * kCutBytes;
      if (cut > range.offset) piece.length = std::min(range.length, cut - range.offset);
    }
    slice.push_back(piece);
    bytes += piece.length;
    range.offset += piece.length;
    range.length -= piece.length;
    if (range.length == 0) task.left.pop_front();
  }
  if (auto written = medium_->writeBack(slice); !written) return written;
  task.unsynced += bytes;
  if (!task.left.empty() && task.unsynced < kSyncBytes) return {};
  task.unsynced = 0;
  return medium_->sync();
}

void FlushQueue::end(Task& task, const Status& status) {
  for (const auto& job : task.jobs)
    job.region->flushes().end(job.ranges, status);
  bool unparked = false;
  {
    const std::lock_guard lock(mutex_);
    const auto ofEnded = [&](const Task& parked) {
      return std::any_of(task.jobs.begin(), task.jobs.end(),
                         [&](const FlushJob& job) { return job.region == parked.jobs.front().region; });
    };
    for (auto parked = parked_.begin(); parked != parked_.end();) {
      if (!ofEnded(*parked)) {
        ++parked;
        continue;
      }
      lanes_.at(kTakeover).waiting.push_front(std::move(*parked));
      parked = parked_.erase(parked);
      unparked = true;
    }
  }
  if (unparked) lanes_.at(kTakeover).arrived.notify_all();
  for (const auto& job : task.jobs) {
    if (job.wanted()) job.answer(status);
  }
}

// What was written back of it and not synced is not durable: all of it stays dirty.
void FlushQueue::giveUp(Task& task) {
  if (task.begun) return end(task, stopped());
  for (const auto& job : task.jobs) {
    if (job.wanted()) job.answer(stopped());
  }
}

}  // namespace rdmacp::unit

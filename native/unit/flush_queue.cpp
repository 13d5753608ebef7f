// flush_queue.cpp -- batches of flushes, one sync each; runs on the queue's own threads.
#include "flush_queue.h"

#include <pthread.h>

#include <algorithm>
#include <csignal>
#include <string>
#include <system_error>

namespace rdmacp::unit {
namespace {

// A batch ends here, so that a small flush does not wait for many large ones.
constexpr std::size_t kBatchJobs = 64;
constexpr std::uint64_t kBatchBytes = 8U << 20U;

std::uint64_t bytesOf(const FlushJob& job) {
  std::uint64_t bytes = 0;
  for (const auto& range : job.ranges)
    bytes += range.length;
  return bytes;
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

FlushQueue::FlushQueue(std::shared_ptr<media::Medium> medium, std::uint32_t threads) : medium_(std::move(medium)) {
  const BlockedSignals blocked;
  try {
    for (std::uint32_t i = 0; i < std::max(threads, 1U); ++i) {
      threads_.emplace_back([this] {
        pthread_setname_np(pthread_self(), "rdmacp-flush");
        run();
      });
    }
  } catch (const std::system_error& error) {
    started_ =
        Error{ErrorCode::systemError, std::string("starting the flush threads: ") + error.what(), error.code().value()};
    stop();
  }
}

FlushQueue::~FlushQueue() {
  stop();
}

bool FlushQueue::push(FlushJob job) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return false;
    waiting_.push_back(std::move(job));
  }
  arrived_.notify_one();
  return true;
}

void FlushQueue::stop() {
  std::deque<FlushJob> dropped;
  std::vector<std::thread> threads;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    dropped.swap(waiting_);
    threads.swap(threads_);
  }
  arrived_.notify_all();
  for (auto& thread : threads)
    thread.join();
  for (const auto& job : dropped) {
    if (job.wanted()) job.answer(Error{ErrorCode::stopped, "the unit is stopping", 0});
  }
}

std::vector<FlushJob> FlushQueue::takeBatch(std::unique_lock<std::mutex>& lock) {
  arrived_.wait(lock, [&] { return stopping_ || !waiting_.empty(); });
  std::vector<FlushJob> batch;
  std::uint64_t bytes = 0;
  while (!waiting_.empty() && batch.size() < kBatchJobs) {
    const bool alone = waiting_.front().rest;
    const auto more = bytesOf(waiting_.front());
    if (!batch.empty() && (alone || more > kBatchBytes || bytes > kBatchBytes - more)) break;
    bytes += more;
    batch.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
    if (alone) break;
  }
  return batch;
}

void FlushQueue::run() {
  for (;;) {
    std::unique_lock lock(mutex_);
    auto batch = takeBatch(lock);
    if (batch.empty()) return;
    lock.unlock();
    std::erase_if(batch, [](const FlushJob& job) { return !job.wanted(); });
    if (!batch.empty()) flush(batch);
  }
}

void FlushQueue::flush(std::vector<FlushJob>& batch) {
  std::vector<media::ByteRange> poolRanges;
  for (auto& job : batch) {
    auto& flushes = job.region->flushes();
    if (job.rest) {
      job.ranges = flushes.beginRest();
    } else {
      flushes.begin(job.ranges);
    }
    for (const auto& range : job.ranges)
      job.region->memory().appendPoolRanges(range.offset, range.length, poolRanges);
  }
  const auto status = medium_->flush(poolRanges);
  for (const auto& job : batch) {
    job.region->flushes().end(job.ranges, status);
    job.answer(status);
  }
}

}  // namespace rdmacp::unit

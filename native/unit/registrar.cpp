// registrar.cpp -- see registrar.h.
#include "unit/registrar.h"

#include <utility>

namespace rdmacp::unit {

bool Registrar::post(const Region* region, Work work, Done done) {
  const std::lock_guard lock(mutex_);
  if (stopping_) return false;
  const auto [queue, first] = waiting_.try_emplace(region);
  if (first && !start(region)) {
    waiting_.erase(queue);
    return false;
  }
  queue->second.push_back({std::move(work), std::move(done)});
  return true;
}

bool Registrar::start(const Region* region) {
  return threads_.post([this, region] { runOne(region); });
}

void Registrar::runOne(const Region* region) {
  Job job;
  {
    const std::lock_guard lock(mutex_);
    const auto queue = waiting_.find(region);
    if (stopping_ || queue == waiting_.end()) return;
    job = std::move(queue->second.front());
    queue->second.pop_front();
  }
  const Status status = job.work();
  job.work = nullptr;
  job.done(status);
  // Let go of after the mutex.
  std::deque<Job> dropped;
  const std::lock_guard lock(mutex_);
  const auto queue = waiting_.find(region);
  if (queue == waiting_.end()) return;
  // Behind those of other regions.
  if (!queue->second.empty() && start(region)) return;
  dropped.swap(queue->second);
  waiting_.erase(queue);
}

void Registrar::stop() {
  std::map<const Region*, std::deque<Job>> dropped;
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    dropped.swap(waiting_);
  }
  threads_.stop();
}

}  // namespace rdmacp::unit

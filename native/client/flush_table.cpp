// flush_table.cpp -- flush messages in flight and waiting for credits. Any thread, under the table's mutex.
#include "client/flush_table.h"

#include <algorithm>

namespace rdmacp::client {

void FlushTable::setCredits(std::size_t credits) {
  const std::lock_guard lock(mutex_);
  credits_ = credits;
}

bool FlushTable::enter(Entry entry) {
  const std::lock_guard lock(mutex_);
  if (!queue_.empty() || sent_.size() >= credits_) {
    queue_.push_back(entry);
    return false;
  }
  sent_.emplace(entry.message->request, entry.operation);
  return true;
}

FlushTable::Entry FlushTable::takeQueued() {
  const std::lock_guard lock(mutex_);
  if (queue_.empty() || sent_.size() >= credits_) return {};
  const Entry entry = queue_.front();
  queue_.pop_front();
  sent_.emplace(entry.message->request, entry.operation);
  return entry;
}

void FlushTable::withdraw(const Entry& entry) {
  const std::lock_guard lock(mutex_);
  sent_.erase(entry.message->request);
  std::erase_if(queue_, [&](const Entry& queued) { return queued.message == entry.message; });
}

bool FlushTable::hasQueued() {
  const std::lock_guard lock(mutex_);
  return !queue_.empty();
}

void FlushTable::requeue(const Entry& entry) {
  const std::lock_guard lock(mutex_);
  sent_.erase(entry.message->request);
  queue_.push_front(entry);
}

FlushTable::Answer FlushTable::answer(std::uint64_t request, PendingOperation** operation) {
  const std::lock_guard lock(mutex_);
  const auto found = sent_.find(request);
  if (found == sent_.end()) return Answer::unknown;
  *operation = found->second;
  sent_.erase(found);
  return *operation == nullptr ? Answer::abandoned : Answer::found;
}

FlushTable::Expired FlushTable::expire(Clock::time_point now) {
  const std::lock_guard lock(mutex_);
  Expired expired;
  for (auto& [request, operation] : sent_) {
    if (operation == nullptr) continue;
    if (operation->deadline <= now) {
      expired.sent.push_back(operation);
      operation = nullptr;
    } else {
      expired.next = std::min(expired.next, operation->deadline);
    }
  }
  std::erase_if(queue_, [&](const Entry& entry) {
    if (entry.operation->deadline <= now) {
      expired.queued.push_back(entry.operation);
      return true;
    }
    expired.next = std::min(expired.next, entry.operation->deadline);
    return false;
  });
  return expired;
}

FlushTable::Expired FlushTable::drain() {
  const std::lock_guard lock(mutex_);
  Expired all;
  for (const auto& [request, operation] : sent_) {
    if (operation != nullptr) all.sent.push_back(operation);
  }
  for (const Entry& entry : queue_)
    all.queued.push_back(entry.operation);
  sent_.clear();
  queue_.clear();
  return all;
}

}  // namespace rdmacp::client

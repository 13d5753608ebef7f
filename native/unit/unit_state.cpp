// unit_state.cpp -- the shared tables' bookkeeping. Any thread.
#include "unit/unit_state.h"

#include "unit/unit_connection.h"

namespace rdmacp::unit {

ConnectionRegistry::Entry ConnectionRegistry::add(const std::shared_ptr<UnitConnection>& connection,
                                                  std::size_t limit) {
  const std::lock_guard lock(mutex_);
  return addCounted(connection, limit);
}

ConnectionRegistry::Entry ConnectionRegistry::addMoving(SessionId session,
                                                        const std::shared_ptr<UnitConnection>& connection,
                                                        std::size_t limit) {
  const std::lock_guard lock(mutex_);
  if (!full(limit) || moving_.contains(session)) return addCounted(connection, limit);
  connections_.insert(connection);
  moving_.emplace(session, connection.get());
  return {true, nullptr};
}

bool ConnectionRegistry::full(std::size_t limit) const {
  return connections_.size() - leaving_.size() - moving_.size() >= limit;
}

void ConnectionRegistry::forgetMoving(const UnitConnection* connection) {
  std::erase_if(moving_, [connection](const auto& one) { return one.second == connection; });
}

ConnectionRegistry::Entry ConnectionRegistry::addCounted(const std::shared_ptr<UnitConnection>& connection,
                                                         std::size_t limit) {
  Entry entry;
  if (full(limit)) {
    if (unproved_.empty()) return entry;
    entry.yielding = std::move(unproved_.front());
    unproved_.pop_front();
    places_.erase(entry.yielding.get());
    leaving_.insert(entry.yielding);
  }
  connections_.insert(connection);
  places_.emplace(connection.get(), unproved_.insert(unproved_.end(), connection));
  entry.added = true;
  return entry;
}

void ConnectionRegistry::prove(const std::shared_ptr<UnitConnection>& connection) {
  const std::lock_guard lock(mutex_);
  forgetMoving(connection.get());
  const auto place = places_.find(connection.get());
  if (place == places_.end()) return;
  unproved_.erase(place->second);
  places_.erase(place);
}

void ConnectionRegistry::remove(const std::shared_ptr<UnitConnection>& connection,
                                const fabric::ConnectionCounters& last) {
  {
    const std::lock_guard lock(mutex_);
    if (connections_.erase(connection) == 0) return;
    leaving_.erase(connection);
    forgetMoving(connection.get());
    if (const auto place = places_.find(connection.get()); place != places_.end()) {
      unproved_.erase(place->second);
      places_.erase(place);
    }
    past_.bytesIn += last.bytesIn;
    past_.bytesOut += last.bytesOut;
    past_.segmentsIn += last.segmentsIn;
    past_.segmentsOut += last.segmentsOut;
  }
  changed_.notify_all();
}

std::vector<std::shared_ptr<UnitConnection>> ConnectionRegistry::all() const {
  const std::lock_guard lock(mutex_);
  return {connections_.begin(), connections_.end()};
}

std::size_t ConnectionRegistry::size() const {
  const std::lock_guard lock(mutex_);
  return connections_.size();
}

bool ConnectionRegistry::waitUntilEmpty(std::chrono::milliseconds atMost) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, atMost, [&] { return connections_.empty(); });
}

fabric::ConnectionCounters ConnectionRegistry::past() const {
  const std::lock_guard lock(mutex_);
  return past_;
}

bool RegionMap::add(RegionId id, std::shared_ptr<Region> region) {
  const std::lock_guard lock(mutex_);
  return regions_.try_emplace(id, std::move(region)).second;
}

std::shared_ptr<Region> RegionMap::find(RegionId id) const {
  const std::lock_guard lock(mutex_);
  const auto found = regions_.find(id);
  return found == regions_.end() ? nullptr : found->second;
}

std::shared_ptr<Region> RegionMap::remove(RegionId id) {
  const std::lock_guard lock(mutex_);
  const auto found = regions_.find(id);
  if (found == regions_.end()) return nullptr;
  auto region = std::move(found->second);
  regions_.erase(found);
  return region;
}

}  // namespace rdmacp::unit

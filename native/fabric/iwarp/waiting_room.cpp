// waiting_room.cpp -- see waiting_room.h.
#include "fabric/iwarp/waiting_room.h"

#include <algorithm>
#include <utility>

namespace rdmacp::fabric::iwarp {

WaitingRoom::Place::Place(std::shared_ptr<WaitingRoom> room, std::list<Leave>::iterator entry)
    : room_(std::move(room)), entry_(entry) {}

WaitingRoom::Place::~Place() {
  Leave dropped;  // what it holds goes without the lock
  const std::lock_guard lock(room_->mutex_);
  dropped.swap(*entry_);
  if (dropped) --room_->taken_;
  room_->waiting_.erase(entry_);
}

void WaitingRoom::Place::change(Leave leave) {
  bool asked = false;
  {
    const std::lock_guard lock(room_->mutex_);
    asked = !*entry_;
    if (!asked) entry_->swap(leave);
  }
  if (asked) leave();
}

std::shared_ptr<WaitingRoom::Place> WaitingRoom::enter(Leave leave) {
  Leave oldest;
  std::shared_ptr<Place> place;
  {
    const std::lock_guard lock(mutex_);
    if (taken_ >= places_) {
      const auto first =
          std::find_if(waiting_.begin(), waiting_.end(), [](const Leave& one) { return static_cast<bool>(one); });
      if (first != waiting_.end()) {
        oldest = std::exchange(*first, nullptr);
        --taken_;
      }
    }
    waiting_.push_back(std::move(leave));
    ++taken_;
    place = std::make_shared<Place>(shared_from_this(), std::prev(waiting_.end()));
  }
  if (oldest) oldest();
  return place;
}

}  // namespace rdmacp::fabric::iwarp

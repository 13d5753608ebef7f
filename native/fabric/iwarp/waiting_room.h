// waiting_room.h -- connections of which nobody knows yet whether they may be here: so many at most, and whoever has waited
// longest gives way to who comes. What has proved nothing (a socket that says nothing, one that was rejected and stays) takes
// no place from what has.
//
// Any thread. Evictions are asked for without a lock held.
#pragma once

#include <cstddef>
#include <functional>
#include <list>
#include <memory>
#include <mutex>

namespace rdmacp::fabric::iwarp {

class WaitingRoom : public std::enable_shared_from_this<WaitingRoom> {
 public:
  using Leave = std::function<void()>;  // any thread; asks the one who waits to go

  explicit WaitingRoom(std::size_t places) : places_(places) {}

  // Holds a place until it is destroyed.
  class Place {
   public:
    Place(std::shared_ptr<WaitingRoom> room, std::list<Leave>::iterator entry);
    ~Place();
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    // Another one waits here now.
    void change(Leave leave);

   private:
    friend class WaitingRoom;
    std::shared_ptr<WaitingRoom> room_;
    std::list<Leave>::iterator entry_;
  };

  std::shared_ptr<Place> enter(Leave leave);

 private:
  const std::size_t places_;
  std::mutex mutex_;
  std::list<Leave> waiting_;  // the oldest first; one that was asked to go is empty and does not count
  std::size_t taken_ = 0;
};

}  // namespace rdmacp::fabric::iwarp

// range_lock.h -- exclusive use of a range of the pool file for as long as a guard lives.
//
// Any thread. Copying a block from memory and writing it to the file must not be overtaken by another copy and write
// of the same block: the older content would replace the newer that has already been reported durable. A thread holds
// one range at a time, so there is no order of ranges to keep.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <list>
#include <mutex>

#include "media/medium.h"

namespace rdmacp::media {

class RangeLock {
 public:
  class Guard {
   public:
    Guard(RangeLock& owner, ByteRange range) : owner_(owner), held_(owner.acquire(range)) {}
    ~Guard() { owner_.release(held_); }
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;

   private:
    RangeLock& owner_;
    std::list<ByteRange>::iterator held_;
  };

 private:
  std::list<ByteRange>::iterator acquire(ByteRange range) {
    std::unique_lock lock(mutex_);
    released_.wait(lock, [&] {
      return std::none_of(held_.begin(), held_.end(), [&](const ByteRange& other) {
        return range.offset < other.offset + other.length && other.offset < range.offset + range.length;
      });
    });
    return held_.insert(held_.end(), range);
  }

  void release(std::list<ByteRange>::iterator held) {
    {
      const std::lock_guard lock(mutex_);
      held_.erase(held);
    }
    released_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable released_;
  std::list<ByteRange> held_;
};

}  // namespace rdmacp::media

// bounce_buffers.h -- a few aligned buffers that hold stable copies on their way to the file.
//
// Any thread; a thread waits while all are taken, so that the memory stays bounded. Owns the buffers.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <memory>
#include <mutex>
#include <new>
#include <span>
#include <vector>

#include "media/pool_memory.h"

namespace rdmacp::media {

class BounceBuffers {
 public:
  static constexpr std::size_t kBytes = 1U << 20U;
  static constexpr std::size_t kMaxCount = 8;

  class Borrowed {
   public:
    explicit Borrowed(BounceBuffers& owner) : owner_(owner), buffer_(owner.take()) {}
    ~Borrowed() { owner_.giveBack(std::move(buffer_)); }
    Borrowed(const Borrowed&) = delete;
    Borrowed& operator=(const Borrowed&) = delete;

    std::span<std::byte> bytes() const { return {buffer_.get(), kBytes}; }

   private:
    struct Release {
      void operator()(std::byte* bytes) const { ::operator delete[](bytes, std::align_val_t{kBlockSize}); }
    };
    using Buffer = std::unique_ptr<std::byte[], Release>;
    friend class BounceBuffers;

    BounceBuffers& owner_;
    Buffer buffer_;
  };

 private:
  using Buffer = Borrowed::Buffer;

  Buffer take() {
    std::unique_lock lock(mutex_);
    returned_.wait(lock, [&] { return !idle_.empty() || made_ < kMaxCount; });
    if (!idle_.empty()) {
      auto buffer = std::move(idle_.back());
      idle_.pop_back();
      return buffer;
    }
    ++made_;
    return Buffer(static_cast<std::byte*>(::operator new[](kBytes, std::align_val_t{kBlockSize})));
  }

  void giveBack(Buffer buffer) {
    {
      const std::lock_guard lock(mutex_);
      idle_.push_back(std::move(buffer));
    }
    returned_.notify_one();
  }

  std::mutex mutex_;
  std::condition_variable returned_;
  std::vector<Buffer> idle_;
  std::size_t made_ = 0;
};

}  // namespace rdmacp::media

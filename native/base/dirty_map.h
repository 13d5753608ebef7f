// dirty_map.h -- which pieces of a range of memory hold bytes that were placed since they were last made durable.
//
// Any thread, without a lock. Who places marks after the last byte is in place, and before anybody is told of it; who
// makes durable clears before he reads the first byte. Both change the same word in one step, so that their order is
// one: the mark comes second and stays, or the clear comes second and sees the bytes that the mark came after. Looking
// first whether a piece is marked already would be wrong: the old mark can be seen while the bytes are still on their
// way to the thread that clears it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

namespace rdmacp {

class DirtyMap {
 public:
  // The unit of write-back of pools in memory and in files, too.
  static constexpr std::uint64_t kPieceBytes = 4096;

  struct Run {
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
  };

  explicit DirtyMap(std::uint64_t bytes);
  ~DirtyMap() = default;
  DirtyMap(const DirtyMap&) = delete;
  DirtyMap& operator=(const DirtyMap&) = delete;

  std::uint64_t bytes() const { return bytes_; }

  // The range lies within the map; so for the calls below.
  void mark(std::uint64_t offset, std::uint64_t length);
  // Bytes can come that nobody marks: all of it counts as marked until take.
  void markUnseen() { unseen_.store(true); }

  // Pieces that lie in the range whole.
  void clear(std::uint64_t offset, std::uint64_t length);
  // Clears everything, and says what was marked. Runs that are less than joinBytes apart are joined. Nobody places unseen
  // any more.
  std::vector<Run> take(std::uint64_t joinBytes);

 private:
  template <class Change>
  void forWords(std::uint64_t first, std::uint64_t end, Change change);

  const std::uint64_t bytes_;
  const std::uint64_t words_;
  const std::unique_ptr<std::atomic<std::uint64_t>[]> marks_;
  std::atomic<bool> unseen_{false};
};

}  // namespace rdmacp

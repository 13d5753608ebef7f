// medium_test.cpp -- what a pool's medium promises: what a flush returned for is in the file, and nothing else is claimed.
#include "media/medium.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <barrier>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "check.h"
#include "media/block_ranges.h"
#include "media/file_io.h"
#include "media/file_medium.h"
#include "media/medium_watch.h"
#include "scratch_directory.h"

using namespace rdmacp;
using namespace rdmacp::media;

namespace {

constexpr std::uint64_t kBlock = 4096;
constexpr std::uint64_t kPool = 64 * kBlock;

std::unique_ptr<Medium> created(const std::string& path, std::uint64_t bytes = kPool) {
  auto medium = openFileMedium({path, true, bytes});
  if (!medium) check::fail(__FILE__, __LINE__, medium.error().message);
  return std::move(medium).value();
}

std::unique_ptr<Medium> opened(const std::string& path) {
  auto medium = openFileMedium({path, false, 0});
  if (!medium) check::fail(__FILE__, __LINE__, medium.error().message);
  return std::move(medium).value();
}

Status flushOne(Medium& medium, std::uint64_t offset, std::uint64_t length) {
  const ByteRange range{offset, length};
  return medium.flush({&range, 1});
}

void put(Medium& medium, std::uint64_t offset, const std::string& text) {
  std::memcpy(medium.memory().data() + offset, text.data(), text.size());
}

std::string memoryText(const Medium& medium, std::uint64_t offset, std::size_t length) {
  return std::string(reinterpret_cast<const char*>(medium.memory().data()) + offset, length);
}

std::string fileText(const std::string& path, std::uint64_t offset, std::size_t length) {
  std::ifstream in(path, std::ios::binary);
  in.seekg(static_cast<std::streamoff>(offset));
  std::string text(length, '\0');
  in.read(text.data(), static_cast<std::streamsize>(length));
  text.resize(static_cast<std::size_t>(in.gcount()));
  return text;
}

bool exists(const std::string& path) {
  return ::access(path.c_str(), F_OK) == 0;
}

// Counts every call and fails chosen ones before they reach the system.
class FaultyIo : public SystemFileIo {
 public:
  struct Plan {
    std::atomic<int> calls{0};
    std::function<int(int call, const char* name)> fault;  // 0, or -errno
  };
  explicit FaultyIo(std::shared_ptr<Plan> plan) : plan_(std::move(plan)) {}

  int open(const std::string& path, int flags, mode_t mode) override {
    const int fault = next("open");
    return fault != 0 ? fault : SystemFileIo::open(path, flags, mode);
  }
  int status(int fd, struct stat& status) override {
    const int fault = next("status");
    return fault != 0 ? fault : SystemFileIo::status(fd, status);
  }
  int lock(int fd) override {
    const int fault = next("lock");
    return fault != 0 ? fault : SystemFileIo::lock(fd);
  }
  int allocate(int fd, int mode, std::uint64_t offset, std::uint64_t length) override {
    const int fault = next(mode == 0 ? "allocate" : "zeroRange");
    return fault != 0 ? fault : SystemFileIo::allocate(fd, mode, offset, length);
  }
  ssize_t read(int fd, std::span<std::byte> into, std::uint64_t offset) override {
    const int fault = next("read");
    return fault != 0 ? fault : SystemFileIo::read(fd, into, offset);
  }
  ssize_t write(int fd, std::span<const std::byte> from, std::uint64_t offset) override {
    const int fault = next("write");
    return fault != 0 ? fault : SystemFileIo::write(fd, from, offset);
  }
  int syncData(int fd) override {
    const int fault = next("syncData");
    return fault != 0 ? fault : SystemFileIo::syncData(fd);
  }
  int syncAll(int fd) override {
    const int fault = next("syncAll");
    return fault != 0 ? fault : SystemFileIo::syncAll(fd);
  }

 private:
  int next(const char* name) {
    const int call = ++plan_->calls;
    return plan_->fault ? plan_->fault(call, name) : 0;
  }

  std::shared_ptr<Plan> plan_;
};

std::function<int(int, const char*)> failing(const std::string& name, int error) {
  return [=](int, const char* called) { return name == called ? -error : 0; };
}

// A disk that forgets what was not synced: what is durable is what the file held when the last sync began.
class ForgetfulDisk {
 public:
  explicit ForgetfulDisk(std::uint64_t bytes) : written_(bytes), durable_(bytes) {}

  void write(std::span<const std::byte> from, std::uint64_t offset) {
    const std::lock_guard lock(mutex_);
    std::copy(from.begin(), from.end(), written_.begin() + static_cast<std::ptrdiff_t>(offset));
  }
  void read(std::span<std::byte> into, std::uint64_t offset) {
    const std::lock_guard lock(mutex_);
    std::copy_n(written_.begin() + static_cast<std::ptrdiff_t>(offset), into.size(), into.begin());
  }
  void sync() {
    std::vector<std::byte> atBegin;
    {
      const std::lock_guard lock(mutex_);
      atBegin = written_;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    const std::lock_guard lock(mutex_);
    durable_ = std::move(atBegin);
    ++syncs_;
  }
  std::uint64_t durableNumber(std::uint64_t offset) {
    const std::lock_guard lock(mutex_);
    std::uint64_t value = 0;
    std::memcpy(&value, durable_.data() + offset, sizeof value);
    return value;
  }
  int syncs() {
    const std::lock_guard lock(mutex_);
    return syncs_;
  }

 private:
  std::mutex mutex_;
  std::vector<std::byte> written_;
  std::vector<std::byte> durable_;
  int syncs_ = 0;
};

class ForgetfulIo : public SystemFileIo {
 public:
  explicit ForgetfulIo(std::shared_ptr<ForgetfulDisk> disk) : disk_(std::move(disk)) {}
  ssize_t write(int, std::span<const std::byte> from, std::uint64_t offset) override {
    disk_->write(from, offset);
    return static_cast<ssize_t>(from.size());
  }
  ssize_t readBack(int, std::span<std::byte> into, std::uint64_t offset) override {
    disk_->read(into, offset);
    return static_cast<ssize_t>(into.size());
  }
  int syncData(int) override {
    disk_->sync();
    return 0;
  }

 private:
  std::shared_ptr<ForgetfulDisk> disk_;
};

// Runs body in a child that is then killed; the parent's part runs while the child is alive.
void withChild(const std::function<void()>& child, const std::function<void(pid_t)>& parent) {
  int ready[2];
  CHECK_EQ(::pipe(ready), 0);
  const pid_t pid = ::fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    child();
    if (::write(ready[1], "x", 1) != 1) ::_exit(1);
    for (;;)
      ::pause();
  }
  ::close(ready[1]);
  char byte = 0;
  const auto got = ::read(ready[0], &byte, 1);
  ::close(ready[0]);
  std::string problem;
  try {
    if (got != 1) check::fail(__FILE__, __LINE__, "the child did not come up");
    parent(pid);
  } catch (const check::Failure& failure) {
    problem = failure.text;
  }
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
  if (!problem.empty()) throw check::Failure{problem};
}

}  // namespace

TEST(ranges_are_rounded_out_and_merged) {
  const std::vector<ByteRange> ranges{{5000, 10}, {0, 1}, {4095, 2}, {20000, 0}, {12288, 4096}};
  const auto merged = roundOutAndMerge(ranges, kBlock, kPool);
  CHECK(merged.ok());
  CHECK_EQ(merged.value().size(), 2u);
  CHECK_EQ(merged.value()[0].offset, 0u);
  CHECK_EQ(merged.value()[0].length, 8192u);
  CHECK_EQ(merged.value()[1].offset, 12288u);
  CHECK_EQ(merged.value()[1].length, 4096u);
  for (const ByteRange bad : {ByteRange{kPool, 1}, ByteRange{1, kPool}, ByteRange{~0ULL, 2}, ByteRange{2, ~0ULL}}) {
    const auto refused = roundOutAndMerge({&bad, 1}, kBlock, kPool);
    CHECK(!refused.ok());
    CHECK_EQ(refused.error().code, ErrorCode::outOfBounds);
  }
}

TEST(a_memory_pool_is_zero_at_first_and_promises_nothing_durable) {
  auto made = openMemoryMedium(kPool);
  CHECK(made.ok());
  auto& medium = *made.value();
  CHECK(!medium.durable());
  CHECK_EQ(memoryText(medium, 0, kPool), std::string(kPool, '\0'));
  put(medium, 0, "bytes");
  CHECK_EQ(flushOne(medium, 0, 5).error().code, ErrorCode::notDurable);
  CHECK(medium.zero({0, kBlock}).ok());
  CHECK_EQ(memoryText(medium, 0, 5), std::string(5, '\0'));
  CHECK_EQ(medium.zero({1, kBlock}).error().code, ErrorCode::invalidArgument);
  CHECK_EQ(medium.zero({kPool, kBlock}).error().code, ErrorCode::outOfBounds);
  CHECK_EQ(openMemoryMedium(100).error().code, ErrorCode::invalidArgument);
  CHECK_EQ(openMemoryMedium(0).error().code, ErrorCode::invalidArgument);
}

TEST(a_pools_memfd_can_be_mapped_again) {
  auto medium = std::move(openMemoryMedium(kPool)).value();
  put(*medium, 3 * kBlock, "here");
  void* again = ::mmap(nullptr, kBlock, PROT_READ, MAP_SHARED, medium->memoryFd(), 3 * kBlock);
  CHECK(again != MAP_FAILED);
  CHECK_EQ(std::memcmp(again, "here", 4), 0);
  ::munmap(again, kBlock);
}

TEST(a_new_file_pool_has_its_space_its_mode_and_zeros) {
  const ScratchDirectory scratch;
  const auto path = scratch.file("pool");
  const auto medium = created(path);
  struct stat status {};
  CHECK_EQ(::stat(path.c_str(), &status), 0);
  CHECK_EQ(static_cast<std::uint64_t>(status.st_size), kPool);
  CHECK(static_cast<std::uint64_t>(status.st_blocks) * 512 >= kPool);
  CHECK_EQ(status.st_mode & 0777, 0600u);
  CHECK(medium->durable());
  CHECK_EQ(medium->memory().size(), kPool);
  CHECK_EQ(memoryText(*medium, 0, kPool), std::string(kPool, '\0'));
}

#if !RC_SHADOW_FILE_IO
TEST(a_flush_writes_the_blocks_of_its_ranges_and_no_others) {
  const ScratchDirectory scratch;
  const auto path = scratch.file("pool");
  const auto medium = created(path);
  put(*medium, 2 * kBlock - 3, "across");
  put(*medium, 5 * kBlock, "not flushed");
  put(*medium, 2 * kBlock + 100, "same block");
  CHECK(flushOne(*medium, 2 * kBlock - 3, 6).ok());
  CHECK_EQ(fileText(path, 2 * kBlock - 3, 6), "across");
  CHECK_EQ(fileText(path, 2 * kBlock + 100, 10), "same block");
  CHECK_EQ(fileText(path, 5 * kBlock, 11), std::string(11, '\0'));
}
#endif

TEST(flushed_ranges_are_there_after_reopening_and_loading) {
  const ScratchDirectory scratch;
  const auto path = scratch.file("pool");
  std::string expected(kPool, '\0');
  {
    const auto medium = created(path);
    for (int i = 0; i < 200; ++i) {
      const auto offset = check::random()() % kPool;
      const auto length = 1 + check::random()() % std::min<std::uint64_t>(kPool - offset, 3 * kBlock);
      const std::string text(length, static_cast<char>('a' + i % 26));
      put(*medium, offset, text);
      expected.replace(offset, length, text);
      CHECK(flushOne(*medium, offset, length).ok());
    }
    put(*medium, 10, "never flushed, so nobody may count on it");
    CHECK(medium->zero({8 * kBlock, 2 * kBlock}).ok());
    expected.replace(8 * kBlock, 2 * kBlock, std::string(2 * kBlock, '\0'));
  }
  const auto medium = opened(path);
  CHECK_EQ(memoryText(*medium, 0, kPool), std::string(kPool, '\0'));
  CHECK(medium->load({0, kPool}).ok());
  CHECK(memoryText(*medium, kBlock, kPool - kBlock) == expected.substr(kBlock));
  CHECK_EQ(medium->load({kPool, kBlock}).error().code, ErrorCode::outOfBounds);
}

TEST(ranges_larger_than_the_buffers_come_through) {
  const ScratchDirectory scratch;
  const auto path = scratch.file("pool");
  constexpr std::uint64_t bytes = 20 << 20;
  std::string text(bytes, '\0');
  for (std::size_t i = 0; i < text.size(); i += 8) {
    const auto value = check::random()();
    std::memcpy(text.data() + i, &value, 8);
  }
  {
    const auto medium = created(path, bytes);
    put(*medium, 0, text);
    CHECK(flushOne(*medium, 1, bytes - 2).ok());
  }
  const auto medium = opened(path);
  CHECK(medium->load({0, bytes}).ok());
  CHECK(memoryText(*medium, 0, bytes) == text);
}

// What an earlier unit wrote and did not sync is made durable before this one reads it, and what it failed to sync is read
// from the medium and not from the cache, where it is marked clean.
TEST(a_file_is_synced_and_its_cache_dropped_before_it_is_read) {
  struct Calls : SystemFileIo {
    explicit Calls(std::vector<std::string>& list, int failure = 0) : calls(list), error(failure) {}
    int syncData(int fd) override {
      calls.emplace_back("sync");
      return error != 0 ? error : SystemFileIo::syncData(fd);
    }
    int dropCache(int fd) override {
      calls.emplace_back("drop");
      return SystemFileIo::dropCache(fd);
    }
    ssize_t read(int fd, std::span<std::byte> into, std::uint64_t offset) override {
      calls.emplace_back("read");
      return SystemFileIo::read(fd, into, offset);
    }
    std::vector<std::string>& calls;
    int error;
  };
  const ScratchDirectory scratch;
  const auto path = scratch.file("pool");
  {
    // Something to read: a hole would not be.
    const auto medium = created(path, 4 * kBlock);
    put(*medium, 0, "text");
    CHECK(flushOne(*medium, 0, 4).ok());
  }
  std::vector<std::string> calls;
  {
    const auto medium = openFileMedium({path, false, 0}, std::make_unique<Calls>(calls));
    CHECK(medium.ok());
    CHECK(medium.value()->load({0, kBlock}).ok());
  }
  CHECK(calls == (std::vector<std::string>{"sync", "drop", "read", "read"}));
  CHECK_EQ(openFileMedium({path, false, 0}, std::make_unique<Calls>(calls, -EIO)).error().code,
           ErrorCode::mediumFailed);
}

TEST(the_first_failure_is_told_once_before_anybody_is_answered) {
  const ScratchDirectory scratch;
  const auto path = scratch.file("pool");
  struct FailingSync : SystemFileIo {
    int syncData(int) override { return -EIO; }
  };
  auto opened = openFileMedium({path, true, 4 * kBlock}, std::make_unique<FailingSync>());
  CHECK(opened.ok());
  auto& medium = *opened.value();
  int told = 0;
  medium.whenFailed([&] { ++told; });
  CHECK(medium.failure().ok());
  const std::vector<ByteRange> range{{0, kBlock}};
  CHECK_EQ(medium.flush(range).error().code, ErrorCode::mediumFailed);
  CHECK_EQ(told, 1);
  CHECK_EQ(medium.failure().error().code, ErrorCode::mediumFailed);
  // Neither in halves, nor of nothing, nor elsewhere.
  CHECK_EQ(medium.writeBack(range).error().code, ErrorCode::mediumFailed);
  CHECK_EQ(medium.sync().error().code, ErrorCode::mediumFailed);
  CHECK_EQ(medium.flush({}).error().code, ErrorCode::mediumFailed);
  CHECK_EQ(medium.zero({kBlock, kBlock}).error().code, ErrorCode::mediumFailed);
  CHECK_EQ(told, 1);
}

TEST(a_file_that_is_removed_replaced_moved_cut_short_or_written_over_is_noticed_and_nothing_is_durable_any_more) {
  struct Case {
    const char* name;
    std::function<void(const std::string& path)> what;
    const char* because;
    bool byFlush;  // found by the next flush, too, without a look at the path
  };
  const auto copyOver = [](const std::string& path) {
    std::ofstream over(path, std::ios::binary | std::ios::in | std::ios::out);
    over << "something else";
  };
  const Case cases[] = {
      {"removed", [](const std::string& path) { ::unlink(path.c_str()); }, "was removed", true},
      {"replaced",
       [](const std::string& path) {
         std::filesystem::copy_file(path, path + ".new");
         std::filesystem::rename(path + ".new", path);
       },
       "was removed", true},
      {"replaced with the old one kept",
       [](const std::string& path) {
         std::filesystem::copy_file(path, path + ".new");
         std::filesystem::create_hard_link(path, path + ".kept");
         std::filesystem::rename(path + ".new", path);
       },
       "was replaced", false},
      {"moved", [](const std::string& path) { std::filesystem::rename(path, path + ".away"); }, "was moved", false},
      {"emptied", [](const std::string& path) { std::filesystem::resize_file(path, 0); }, "was cut short to 0", true},
      {"cut short", [](const std::string& path) { std::filesystem::resize_file(path, kPool - 1); }, "was cut short",
       true},
      {"written over", copyOver, "has written over it", false},
  };
  for (const auto& [name, what, because, byFlush] : cases) {
    for (const bool watched : {false, true}) {
      if (!watched && !byFlush) continue;
      const ScratchDirectory scratch;
      const auto path = scratch.file("pool");
      auto medium = created(path);
      std::atomic<int> told{0};
      medium->whenFailed([&] { ++told; });
      put(*medium, 0, "first");
      put(*medium, kPool - kBlock, "last");
      const ByteRange all{0, kPool};
      CHECK(medium->flush({&all, 1}).ok());
      if (watched) {
        CHECK(medium->watch(std::chrono::milliseconds(5)).ok());
        std::this_thread::sleep_for(std::chrono::milliseconds(30));
        CHECK(medium->failure().ok());
      }
      what(path);
      for (int waits = 0; watched && told == 0 && waits < 2000; ++waits)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      // The block at the end, which would make what was cut short as long as before.
      const auto flushed = flushOne(*medium, kPool - kBlock, 1);
      if (flushed.ok()) check::fail(__FILE__, __LINE__, std::string(name) + " was not noticed");
      CHECK_EQ(flushed.error().code, ErrorCode::mediumFailed);
      if (flushed.error().message.find(because) == std::string::npos)
        check::fail(__FILE__, __LINE__, std::string(name) + ": " + flushed.error().message);
      CHECK_EQ(medium->sync().error().code, ErrorCode::mediumFailed);
      CHECK_EQ(medium->zero({0, kBlock}).error().code, ErrorCode::mediumFailed);
      CHECK_EQ(told, 1);
      // What peers read and write is memory of its own.
      put(*medium, kBlock, "still here");
      CHECK_EQ(memoryText(*medium, kBlock, 10), "still here");
      CHECK_EQ(memoryText(*medium, kPool - kBlock, 4), "last");
    }
  }
}

TEST(a_pool_that_was_written_over_is_not_hidden_by_a_write_of_its_own) {
  const ScratchDirectory scratch;
  const std::string foreign(kBlock, 'x');
  const std::vector<std::pair<std::string, std::function<Status(Medium&)>>> writes = {
      {"flushed", [](Medium& medium) { return flushOne(medium, 0, 1); }},
      {"with-others", [](Medium& medium) { return flushOne(medium, 0, 3 * kBlock); }},
      {"zeroed",
       [](Medium& medium) {
         return medium.zero({0, 2 * kBlock});
       }},
  };
  for (const auto& [name, write] : writes) {
    const auto path = scratch.file(name);
    const auto medium = created(path);
    put(*medium, 0, "mine");
    CHECK(flushOne(*medium, 0, 4).ok());
    put(*medium, 0, "mine again");
    CHECK(flushOne(*medium, 0, 10).ok());
    std::fstream(path, std::ios::in | std::ios::out | std::ios::binary) << foreign;
    put(*medium, 0, "still mine");
    const auto written = write(*medium);
    CHECK(!written && written.error().code == ErrorCode::mediumFailed);
    CHECK(written.error().message.find("has written over it") != std::string::npos);
    CHECK_EQ(fileText(path, 0, kBlock), foreign);
    CHECK_EQ(flushOne(*medium, 8 * kBlock, 1).error().code, ErrorCode::mediumFailed);
  }
}

TEST(one_read_that_lies_does_not_make_a_pool_foreign) {
  // The n-th read of the first block gives one flipped bit, whichever way it is read.
  class Lying : public SystemFileIo {
   public:
    explicit Lying(int lie) : lie_(lie) {}
    ssize_t read(int fd, std::span<std::byte> into, std::uint64_t offset) override {
      const auto count = SystemFileIo::read(fd, into, offset);
      if (offset == 0 && count > 0 && ++reads_ == lie_) into[9] ^= std::byte{4};
      return count;
    }

   private:
    const int lie_;
    std::atomic<int> reads_{0};
  };
  const ScratchDirectory scratch;
  const auto path = scratch.file("pool");
  {
    const auto medium = created(path);
    put(*medium, 0, "mine");
    CHECK(flushOne(*medium, 0, 4).ok());
  }
  for (int lie = 1; lie <= 4; ++lie) {
    auto medium = openFileMedium({path, false, 0}, std::make_unique<Lying>(lie));
    CHECK(medium.ok());
    CHECK(medium.value()->load({0, kPool}).ok());
    CHECK(medium.value()->watch(std::chrono::milliseconds(1)).ok());
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    put(*medium.value(), 0, "mine");
    CHECK(flushOne(*medium.value(), 0, 4).ok());
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    CHECK(medium.value()->failure().ok());
  }
}

TEST(a_file_system_that_turned_read_only_is_noticed_also_where_its_calls_go_on_to_succeed) {
  struct TurningReadOnly : SystemFileIo {
    explicit TurningReadOnly(std::shared_ptr<std::atomic<bool>> turned) : turned_(std::move(turned)) {}
    int look(int fd, FileLook& look) override {
      const int looked = SystemFileIo::look(fd, look);
      look.readOnly = *turned_;
      return looked;
    }
    std::shared_ptr<std::atomic<bool>> turned_;
  };
  for (const bool watched : {false, true}) {
    const ScratchDirectory scratch;
    auto turned = std::make_shared<std::atomic<bool>>(false);
    auto medium = openFileMedium({scratch.file("pool"), true, kPool}, std::make_unique<TurningReadOnly>(turned));
    CHECK(medium.ok());
    CHECK(flushOne(*medium.value(), 0, 1).ok());
    if (watched) CHECK(medium.value()->watch(std::chrono::milliseconds(5)).ok());
    *turned = true;
    for (int waits = 0; watched && medium.value()->failure() && waits < 2000; ++waits)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (watched) CHECK(!medium.value()->failure().ok());
    const auto flushed = flushOne(*medium.value(), 0, 1);
    CHECK_EQ(flushed.error().code, ErrorCode::mediumFailed);
    CHECK_EQ(flushed.error().systemError, EROFS);
  }
}

TEST(a_device_that_has_gone_is_noticed_and_one_bad_block_or_read_is_no_such_thing) {
  struct WrongOnce : SystemFileIo {
    ssize_t readBack(int fd, std::span<std::byte> into, std::uint64_t offset) override {
      const ssize_t count = SystemFileIo::readBack(fd, into, offset);
      if (!std::exchange(done, true)) into[0] ^= std::byte{1};
      return count;
    }
    bool done = false;
  };
  {
    const ScratchDirectory place;
    auto once = openFileMedium({place.file("pool"), true, kPool}, std::make_unique<WrongOnce>());
    CHECK(once.ok());
    put(*once.value(), 0, "first");
    CHECK(flushOne(*once.value(), 0, 1).ok());
    CHECK(once.value()->watch(std::chrono::milliseconds(5)).ok());
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    CHECK(once.value()->failure().ok());
  }
  struct Unreadable : SystemFileIo {
    explicit Unreadable(std::shared_ptr<std::atomic<std::uint64_t>> below) : below_(std::move(below)) {}
    ssize_t readBack(int fd, std::span<std::byte> into, std::uint64_t offset) override {
      return offset < *below_ ? -EIO : SystemFileIo::readBack(fd, into, offset);
    }
    std::shared_ptr<std::atomic<std::uint64_t>> below_;
  };
  const ScratchDirectory scratch;
  auto below = std::make_shared<std::atomic<std::uint64_t>>(kBlock);
  auto medium = openFileMedium({scratch.file("pool"), true, kPool}, std::make_unique<Unreadable>(below));
  CHECK(medium.ok());
  put(*medium.value(), 0, "first");
  CHECK(flushOne(*medium.value(), 0, 1).ok());
  CHECK(medium.value()->watch(std::chrono::milliseconds(5)).ok());
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  CHECK(medium.value()->failure().ok());
  *below = kPool;
  for (int waits = 0; medium.value()->failure() && waits < 2000; ++waits)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  CHECK_EQ(medium.value()->failure().error().systemError, EIO);
}

TEST(a_watch_takes_no_signal_of_the_process) {
  sigset_t watching;
  sigemptyset(&watching);
  std::atomic<bool> looked{false};
  media::MediumWatch watch;
  CHECK(watch
            .start(std::chrono::milliseconds(5),
                   [&]() -> Status {
                     if (!looked) pthread_sigmask(SIG_SETMASK, nullptr, &watching);
                     looked = true;
                     return {};
                   })
            .ok());
  for (int waits = 0; !looked && waits < 2000; ++waits)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  CHECK(looked);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR2})
    CHECK_EQ(sigismember(&watching, signal), 1);
  // The thread that starts it keeps its own.
  sigset_t own;
  pthread_sigmask(SIG_SETMASK, nullptr, &own);
  CHECK_EQ(sigismember(&own, SIGTERM), 0);
}

TEST(opening_changes_nothing_in_the_file) {
  const ScratchDirectory scratch;
  const auto path = scratch.file("pool");
  {
    std::ofstream out(path, std::ios::binary);
    out << std::string(2 * kBlock, 'z');
  }
  struct stat before {};
  CHECK_EQ(::stat(path.c_str(), &before), 0);
  {
    const auto medium = opened(path);
    CHECK(medium->load({0, 2 * kBlock}).ok());
    put(*medium, 0, "changed in memory only");
  }
  struct stat after {};
  CHECK_EQ(::stat(path.c_str(), &after), 0);
  CHECK_EQ(after.st_mtim.tv_sec, before.st_mtim.tv_sec);
  CHECK_EQ(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
  CHECK_EQ(fileText(path, 0, 2 * kBlock), std::string(2 * kBlock, 'z'));
}

TEST(what_is_not_a_pool_is_refused_and_not_touched) {
  const ScratchDirectory scratch;
  const auto refusal = [](const FileMediumOptions& options) {
    auto medium = openFileMedium(options);
    CHECK(!medium.ok());
    CHECK(medium.error().message.find(options.path) != std::string::npos);
    return medium.error().code;
  };
  CHECK_EQ(refusal({scratch.file("missing"), false, 0}), ErrorCode::notFound);
  CHECK(!exists(scratch.file("missing")));
  CHECK_EQ(refusal({scratch.path().string(), false, 0}), ErrorCode::invalidArgument);
  CHECK_EQ(refusal({scratch.file("no/such/folder"), true, kPool}), ErrorCode::systemError);

  const auto odd = scratch.file("odd");
  std::ofstream(odd) << "a letter to a friend";
  CHECK_EQ(refusal({odd, false, 0}), ErrorCode::invalidArgument);
  CHECK_EQ(refusal({odd, true, kPool}), ErrorCode::exists);
  CHECK_EQ(fileText(odd, 0, 100), "a letter to a friend");

  const auto empty = scratch.file("empty");
  std::ofstream(empty).flush();
  CHECK_EQ(refusal({empty, false, 0}), ErrorCode::invalidArgument);
  const auto medium = created(empty);
  CHECK_EQ(medium->memory().size(), kPool);

  const auto pipe = scratch.file("pipe");
  CHECK_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  CHECK_EQ(refusal({pipe, false, 0}), ErrorCode::invalidArgument);
}

TEST(a_pool_in_use_is_refused_with_the_name_of_its_holder) {
  const ScratchDirectory scratch;
  const auto path = scratch.file("pool");
  created(path).reset();
  std::unique_ptr<Medium> held;
  withChild([&] { held = opened(path); },
            [&](pid_t pid) {
              const auto second = openFileMedium({path, false, 0});
              CHECK(!second.ok());
              CHECK_EQ(second.error().code, ErrorCode::poolInUse);
              CHECK(second.error().message.find("process " + std::to_string(pid)) != std::string::npos);
              const auto third = openFileMedium({path, true, kPool});
              CHECK_EQ(third.error().code, ErrorCode::poolInUse);
            });
  const auto after = opened(path);
  CHECK_EQ(openFileMedium({path, false, 0}).error().code, ErrorCode::poolInUse);
}

TEST(opening_and_closing_the_same_file_elsewhere_does_not_lose_the_lock) {
  const ScratchDirectory scratch;
  const auto path = scratch.file("pool");
  const auto medium = created(path);
  ::close(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  CHECK_EQ(openFileMedium({path, false, 0}).error().code, ErrorCode::poolInUse);
}

TEST(a_program_started_by_the_unit_does_not_keep_its_pool) {
  const ScratchDirectory scratch;
  const auto path = scratch.file("pool");
  auto medium = created(path);
  const pid_t pid = ::fork();
  CHECK(pid >= 0);
  if (pid == 0) {
    ::execlp("sleep", "sleep", "30", nullptr);
    ::_exit(1);
  }
  // The descriptors go at the exec, not at the fork.
  medium.reset();
  auto again = openFileMedium({path, false, 0});
  for (int i = 0; i < 200 && !again; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    again = openFileMedium({path, false, 0});
  }
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
  CHECK(again.ok());
}

TEST(a_creation_that_fails_at_any_call_leaves_no_file) {
  const ScratchDirectory scratch;
  auto plan = std::make_shared<FaultyIo::Plan>();
  CHECK(openFileMedium({scratch.file("counted"), true, kPool}, std::make_unique<FaultyIo>(plan)).ok());
  const int calls = plan->calls;
  CHECK(calls >= 5);
  int failed = 0;
  for (int failingCall = 1; failingCall <= calls; ++failingCall) {
    const auto path = scratch.file("pool");
    plan = std::make_shared<FaultyIo::Plan>();
    std::string name;
    plan->fault = [&](int call, const char* called) {
      if (call == failingCall) name = called;
      return call == failingCall ? -ENOSPC : 0;
    };
    const auto medium = openFileMedium({path, true, kPool}, std::make_unique<FaultyIo>(plan));
    CHECK(!medium.ok());
    CHECK_EQ(medium.error().systemError, ENOSPC);
    if (name == "allocate") CHECK_EQ(medium.error().code, ErrorCode::mediumFull);
    // Without the lock it is not ours to remove: another unit may have taken it.
    CHECK(!exists(path) || name == "lock");
    ::unlink(path.c_str());
    ++failed;
  }
  CHECK_EQ(failed, calls);
}

TEST(an_empty_file_that_could_not_be_filled_is_empty_again) {
  const ScratchDirectory scratch;
  const auto path = scratch.file("pool");
  std::ofstream(path).flush();
  auto plan = std::make_shared<FaultyIo::Plan>();
  plan->fault = failing("syncAll", EIO);
  CHECK(!openFileMedium({path, true, kPool}, std::make_unique<FaultyIo>(plan)).ok());
  CHECK(exists(path));
  CHECK_EQ(std::filesystem::file_size(path), 0u);
}

TEST(after_a_failed_write_or_sync_nothing_is_reported_durable_any_more) {
  for (const char* failingCall : {"write", "syncData"}) {
    const ScratchDirectory scratch;
    auto plan = std::make_shared<FaultyIo::Plan>();
    auto medium = openFileMedium({scratch.file("pool"), true, kPool}, std::make_unique<FaultyIo>(plan));
    CHECK(medium.ok());
    CHECK(flushOne(*medium.value(), 0, 1).ok());
    put(*medium.value(), 0, "x");
    bool once = true;
    plan->fault = [&](int, const char* called) {
      if (!once || std::string(called) != failingCall) return 0;
      once = false;
      return -EIO;
    };
    const auto first = flushOne(*medium.value(), 0, 1);
    CHECK_EQ(first.error().code, ErrorCode::mediumFailed);
    CHECK_EQ(first.error().systemError, EIO);
    // The disk works again, but what the kernel dropped cannot be known.
    const int callsBefore = plan->calls;
    CHECK_EQ(flushOne(*medium.value(), kBlock, 1).error().code, ErrorCode::mediumFailed);
    CHECK_EQ(medium.value()->zero({0, kBlock}).error().code, ErrorCode::mediumFailed);
    CHECK_EQ(plan->calls, callsBefore);
    CHECK(medium.value()->load({0, kBlock}).ok());
  }
}

TEST(short_and_interrupted_transfers_are_carried_on) {
  class Stuttering : public SystemFileIo {
   public:
    ssize_t read(int fd, std::span<std::byte> into, std::uint64_t offset) override {
      if (++calls_ % 2 == 0) return -EINTR;
      return SystemFileIo::read(fd, into.first(std::min<std::size_t>(into.size(), kBlock)), offset);
    }
    ssize_t write(int fd, std::span<const std::byte> from, std::uint64_t offset) override {
      if (++calls_ % 2 == 0) return -EINTR;
      return SystemFileIo::write(fd, from.first(std::min<std::size_t>(from.size(), kBlock)), offset);
    }
    int syncData(int fd) override { return ++calls_ % 2 == 0 ? -EINTR : SystemFileIo::syncData(fd); }

   private:
    std::atomic<int> calls_{0};
  };
  const ScratchDirectory scratch;
  const auto path = scratch.file("pool");
  std::string text(kPool, '\0');
  for (auto& c : text)
    c = static_cast<char>(check::random()());
  {
    auto medium = openFileMedium({path, true, kPool}, std::make_unique<Stuttering>());
    CHECK(medium.ok());
    put(*medium.value(), 0, text);
    CHECK(flushOne(*medium.value(), 0, kPool).ok());
  }
  auto medium = openFileMedium({path, false, 0}, std::make_unique<Stuttering>());
  CHECK(medium.ok());
  CHECK(medium.value()->load({0, kPool}).ok());
  CHECK(memoryText(*medium.value(), 0, kPool) == text);
}

TEST(a_file_system_without_direct_transfers_or_zero_range_is_served) {
  const ScratchDirectory scratch;
  const auto path = scratch.file("pool");
  auto plan = std::make_shared<FaultyIo::Plan>();
  bool refused = false;
  plan->fault = [&](int, const char* called) {
    const std::string name = called;
    if (name == "allocate" || name == "zeroRange") return -EOPNOTSUPP;
    if (name == "write" && !refused) {
      refused = true;
      return -EINVAL;
    }
    return 0;
  };
  {
    auto medium = openFileMedium({path, true, kPool}, std::make_unique<FaultyIo>(plan));
    CHECK(medium.ok());
    CHECK(refused);
    CHECK_EQ(std::filesystem::file_size(path), kPool);
    put(*medium.value(), 0, std::string(4 * kBlock, 'x'));
    CHECK(flushOne(*medium.value(), 0, 4 * kBlock).ok());
    CHECK(medium.value()->zero({kBlock, 2 * kBlock}).ok());
  }
  const auto medium = opened(path);
  CHECK(medium->load({0, kPool}).ok());
  CHECK_EQ(memoryText(*medium, 0, kBlock), std::string(kBlock, 'x'));
  CHECK_EQ(memoryText(*medium, kBlock, 2 * kBlock), std::string(2 * kBlock, '\0'));
  CHECK_EQ(memoryText(*medium, 3 * kBlock, kBlock), std::string(kBlock, 'x'));
}

// As overlayfs does when its upper file system is tmpfs.
TEST(a_file_system_that_refuses_to_reserve_for_direct_transfers_is_served) {
  const ScratchDirectory scratch;
  const auto path = scratch.file("pool");
  auto plan = std::make_shared<FaultyIo::Plan>();
  int refused = 0;
  plan->fault = [&](int, const char* called) {
    if (std::string(called) == "allocate" && refused++ == 0) return -EINVAL;
    return 0;
  };
  auto medium = openFileMedium({path, true, kPool}, std::make_unique<FaultyIo>(plan));
  CHECK(medium.ok());
  CHECK(refused > 0);
  CHECK_EQ(std::filesystem::file_size(path), kPool);
  put(*medium.value(), 0, std::string(kBlock, 'x'));
  CHECK(flushOne(*medium.value(), 0, kBlock).ok());
}

TEST(direct_transfers_that_are_refused_to_several_threads_at_once_are_repeated_by_all) {
  const ScratchDirectory scratch;
  constexpr int kThreads = 2;
  auto plan = std::make_shared<FaultyIo::Plan>();
  auto medium = openFileMedium({scratch.file("pool"), true, kPool}, std::make_unique<FaultyIo>(plan));
  CHECK(medium.ok());
  std::barrier together(kThreads);
  std::atomic<int> refused{0};
  plan->fault = [&](int, const char* called) {
    if (std::string(called) != "write" || refused.fetch_add(1) >= kThreads) return 0;
    together.arrive_and_wait();
    return -EINVAL;
  };
  std::atomic<int> kept{0};
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t] { kept += flushOne(*medium.value(), t * kBlock, kBlock).ok() ? 1 : 0; });
  for (auto& thread : threads)
    thread.join();
  CHECK_EQ(kept.load(), kThreads);
}

TEST(a_file_that_was_cut_short_is_an_error_and_no_zeros) {
  const ScratchDirectory scratch;
  const auto path = scratch.file("pool");
  const auto medium = created(path);
  CHECK_EQ(::truncate(path.c_str(), static_cast<off_t>(kPool - kBlock)), 0);
  CHECK(medium->load({0, kPool - kBlock}).ok());
  const auto loaded = medium->load({0, kPool});
  CHECK(!loaded.ok());
  CHECK(loaded.error().message.find("cut short") != std::string::npos);
}

TEST(concurrent_flushes_share_syncs_and_each_has_one_that_began_after_its_writes) {
  const ScratchDirectory scratch;
  auto disk = std::make_shared<ForgetfulDisk>(kPool);
  auto made = openFileMedium({scratch.file("pool"), true, kPool}, std::make_unique<ForgetfulIo>(disk));
  CHECK(made.ok());
  auto& medium = *made.value();
  constexpr int threads = 8;
  const auto each = static_cast<int>(check::rounds(2000, 60));
  std::atomic<int> lost{0};
  std::vector<std::thread> writers;
  for (int t = 0; t < threads; ++t) {
    writers.emplace_back([&, t] {
      // Two threads to a block: their flushes overlap, and the older copy must never be written last.
      const auto slot = static_cast<std::uint64_t>(t / 2) * kBlock + static_cast<std::uint64_t>(t % 2) * 64;
      for (std::uint64_t number = 1; number <= static_cast<std::uint64_t>(each); ++number) {
        std::memcpy(medium.memory().data() + slot, &number, sizeof number);
        if (!flushOne(medium, slot, sizeof number) || disk->durableNumber(slot) < number) ++lost;
      }
    });
  }
  for (auto& writer : writers)
    writer.join();
  CHECK_EQ(lost, 0);
  std::printf("# %d flushes, %d syncs\n", threads * each, disk->syncs());
  CHECK(disk->syncs() < threads * each / 2);
}

TEST(a_zeroed_range_stays_zero_when_a_flush_of_its_old_bytes_was_under_way) {
  const ScratchDirectory scratch;
  auto disk = std::make_shared<ForgetfulDisk>(kPool);
  class NoZeroRange : public ForgetfulIo {
   public:
    using ForgetfulIo::ForgetfulIo;
    int allocate(int fd, int mode, std::uint64_t offset, std::uint64_t length) override {
      return mode == 0 ? ForgetfulIo::allocate(fd, mode, offset, length) : -EOPNOTSUPP;
    }
    // The old bytes are slow on their way, so that zeros can overtake them where nothing holds them back.
    ssize_t write(int fd, std::span<const std::byte> from, std::uint64_t offset) override {
      if (from.front() == std::byte{0x11}) {
        oldOnTheWay = true;
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
      }
      return ForgetfulIo::write(fd, from, offset);
    }
    std::atomic<bool> oldOnTheWay{false};
  };
  auto io = std::make_unique<NoZeroRange>(disk);
  auto& oldOnTheWay = io->oldOnTheWay;
  auto made = openFileMedium({scratch.file("pool"), true, kPool}, std::move(io));
  CHECK(made.ok());
  auto& medium = *made.value();
  for (std::uint64_t round = 0; round < check::rounds(500, 20); ++round) {
    const std::uint64_t old = 0x1111111111111111;
    oldOnTheWay = false;
    std::memcpy(medium.memory().data(), &old, sizeof old);
    bool flushed = false;
    std::thread flusher([&] { flushed = flushOne(medium, 0, sizeof old).ok(); });
    while (!oldOnTheWay)
      std::this_thread::yield();
    const auto zeroed = medium.zero({0, kBlock});
    flusher.join();
    CHECK(zeroed.ok() && flushed);
    CHECK(flushOne(medium, kBlock, 1).ok());
    CHECK_EQ(disk->durableNumber(0), 0u);
  }
}

#if RC_SHADOW_FILE_IO
namespace {

// What a pool holds after a unit wrote "kept", flushed it, wrote "lost" without a flush, and was killed.
std::pair<std::string, std::string> afterKill(const std::string& path) {
  std::unique_ptr<Medium> held;
  withChild(
      [&] {
        held = opened(path);
        put(*held, 0, "kept");
        if (!flushOne(*held, 0, 4)) ::_exit(1);
        put(*held, kBlock, "lost");
      },
      [](pid_t) {});
  return {fileText(path, 0, 4), fileText(path, kBlock, 4)};
}

}  // namespace

TEST(shadowed_writes_are_lost_by_a_kill_unless_they_were_synced) {
  const ScratchDirectory scratch;
  const auto path = scratch.file("pool");
  created(path).reset();
  CHECK_EQ(afterKill(path).first, "kept");
  CHECK_EQ(afterKill(path).second, std::string(4, '\0'));

  const auto unsynced = scratch.file("unsynced");
  created(unsynced).reset();
  ::setenv("RC_TEST_SKIP_SYNC", "1", 1);
  const auto found = afterKill(unsynced);
  ::unsetenv("RC_TEST_SKIP_SYNC");
  CHECK_EQ(found.first, std::string(4, '\0'));
}

TEST(shadowed_reads_see_what_was_written_and_zeroed_before_a_sync) {
  const ScratchDirectory scratch;
  const auto path = scratch.file("pool");
  const auto io = makeFileIo();
  const int fd = io->open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  CHECK(fd >= 0);
  CHECK_EQ(io->allocate(fd, 0, 0, 2 * kBlock), 0);
  const std::vector<std::byte> written(kBlock, std::byte{7});
  CHECK_EQ(io->write(fd, written, kBlock / 2), static_cast<ssize_t>(kBlock));
  CHECK_EQ(io->allocate(fd, FALLOC_FL_ZERO_RANGE, kBlock, 16), 0);
  std::vector<std::byte> read(2 * kBlock);
  CHECK_EQ(io->read(fd, read, 0), static_cast<ssize_t>(2 * kBlock));
  CHECK(read[kBlock / 2] == std::byte{7} && read[kBlock] == std::byte{0} && read[kBlock + 16] == std::byte{7});
  CHECK_EQ(fileText(path, kBlock / 2, 1), std::string(1, '\0'));
  CHECK_EQ(io->syncData(fd), 0);
  CHECK_EQ(fileText(path, kBlock / 2, 1), "\x07");
  CHECK_EQ(fileText(path, kBlock, 1), std::string(1, '\0'));
  ::close(fd);
}
#endif

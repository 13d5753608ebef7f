// shadow_file_io.cpp -- test builds only; see shadow_file_io.h.
#include "media/shadow_file_io.h"

#if RC_SHADOW_FILE_IO

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>

namespace rdmacp::media {
namespace {

struct FaultPoint {
  std::uint64_t call = 0;  // 0: none
  int error = EIO;
};

FaultPoint faultPointFromEnvironment() {
  FaultPoint point;
  const char* text = std::getenv("RC_TEST_FAIL_IO");
  if (text == nullptr) return point;
  char* end = nullptr;
  point.call = std::strtoull(text, &end, 10);
  if (end != nullptr && *end == ':') point.error = static_cast<int>(std::strtol(end + 1, nullptr, 10));
  return point;
}

// The error that this call shall fail with, if it is the one.
std::optional<int> nextFault() {
  static const FaultPoint point = faultPointFromEnvironment();
  static std::atomic<std::uint64_t> calls{0};
  if (calls.fetch_add(1) + 1 == point.call) return -point.error;
  return std::nullopt;
}

bool environmentSaysOne(const char* name) {
  const char* text = std::getenv(name);
  return text != nullptr && std::strcmp(text, "1") == 0;
}

}  // namespace

ShadowFileIo::ShadowFileIo() : skipSync_(environmentSaysOne("RC_TEST_SKIP_SYNC")) {}

int ShadowFileIo::open(const std::string& path, int flags, mode_t mode) {
  if (const auto fault = nextFault()) return *fault;
  const int fd = real_.open(path, flags & ~O_DIRECT, mode);
  const std::lock_guard lock(mutex_);
  pending_.erase(fd);
  return fd;
}

int ShadowFileIo::look(int fd, FileLook& look) {
  const int looked = real_.look(fd, look);
  const char* readOnlyIf = std::getenv("RC_TEST_READ_ONLY_IF");
  if (readOnlyIf != nullptr && ::access(readOnlyIf, F_OK) == 0) look.readOnly = true;
  return looked;
}

int ShadowFileIo::statusAt(const std::string& path, struct stat& status) {
  return real_.statusAt(path, status);
}

int ShadowFileIo::status(int fd, struct stat& status) {
  if (const auto fault = nextFault()) return *fault;
  return real_.status(fd, status);
}

int ShadowFileIo::lock(int fd) {
  if (const auto fault = nextFault()) return *fault;
  return real_.lock(fd);
}

int ShadowFileIo::setFlags(int fd, int flags) {
  if (const auto fault = nextFault()) return *fault;
  return real_.setFlags(fd, flags & ~O_DIRECT);
}

int ShadowFileIo::allocate(int fd, int mode, std::uint64_t offset, std::uint64_t length) {
  if (const auto fault = nextFault()) return *fault;
  if ((mode & FALLOC_FL_ZERO_RANGE) == 0) return real_.allocate(fd, mode, offset, length);
  const std::lock_guard lock(mutex_);
  pending_[fd].push_back({offset, length, {}});
  return 0;
}

int ShadowFileIo::truncate(int fd, std::uint64_t length) {
  if (const auto fault = nextFault()) return *fault;
  return real_.truncate(fd, length);
}

ssize_t ShadowFileIo::read(int fd, std::span<std::byte> into, std::uint64_t offset) {
  if (const auto fault = nextFault()) return *fault;
  return readBack(fd, into, offset);
}

ssize_t ShadowFileIo::readBack(int fd, std::span<std::byte> into, std::uint64_t offset) {
  const std::lock_guard lock(mutex_);
  const ssize_t count = real_.read(fd, into, offset);
  if (count <= 0) return count;
  const auto end = offset + static_cast<std::uint64_t>(count);
  for (const auto& write : pending_[fd]) {
    const auto from = std::max(offset, write.offset);
    const auto to = std::min(end, write.offset + write.length);
    if (from >= to) continue;
    auto* target = into.data() + (from - offset);
    if (write.bytes.empty()) {
      std::memset(target, 0, to - from);
    } else {
      std::memcpy(target, write.bytes.data() + (from - write.offset), to - from);
    }
  }
  return count;
}

ssize_t ShadowFileIo::write(int fd, std::span<const std::byte> from, std::uint64_t offset) {
  if (const auto fault = nextFault()) return *fault;
  const std::lock_guard lock(mutex_);
  if (!from.empty()) pending_[fd].push_back({offset, from.size(), {from.begin(), from.end()}});
  return static_cast<ssize_t>(from.size());
}

// Called with the mutex held: a write that comes during a sync waits for the next one.
int ShadowFileIo::apply(int fd) {
  if (skipSync_) return 0;
  if (const char* marker = std::getenv("RC_TEST_FAIL_SYNC_IF"); marker != nullptr && ::access(marker, F_OK) == 0) {
    pending_[fd].clear();
    return -EIO;
  }
  for (auto& write : pending_[fd]) {
    if (write.bytes.empty()) write.bytes.resize(write.length);
    std::span<const std::byte> rest(write.bytes);
    auto offset = write.offset;
    while (!rest.empty()) {
      const ssize_t count = real_.write(fd, rest, offset);
      if (count == -EINTR) continue;
      if (count < 0) return static_cast<int>(count);
      if (count == 0) return -EIO;
      rest = rest.subspan(static_cast<std::size_t>(count));
      offset += static_cast<std::uint64_t>(count);
    }
  }
  pending_[fd].clear();
  return 0;
}

int ShadowFileIo::dropCache(int fd) {
  return real_.dropCache(fd);
}

// The real sync is left out: the kernel outlives the process that the test kills, and the tests do many.
int ShadowFileIo::syncData(int fd) {
  if (const auto fault = nextFault()) return *fault;
  const std::lock_guard lock(mutex_);
  return apply(fd);
}

int ShadowFileIo::syncAll(int fd) {
  if (const auto fault = nextFault()) return *fault;
  const std::lock_guard lock(mutex_);
  return apply(fd);
}

int ShadowFileIo::unlink(const std::string& path) {
  if (const auto fault = nextFault()) return *fault;
  return real_.unlink(path);
}

}  // namespace rdmacp::media

#endif

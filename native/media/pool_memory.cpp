// pool_memory.cpp -- memfd and mapping of a pool.
#include "media/pool_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <string>
#include <utility>

namespace rdmacp::media {
namespace {

Error memoryError(const std::string& what, std::uint64_t bytes, int error) {
  const auto code = error == ENOMEM || error == ENOSPC || error == EFBIG ? ErrorCode::noMemory : ErrorCode::systemError;
  return {code, what + " " + std::to_string(bytes) + " bytes of memory for the pool: " + std::strerror(error), error};
}

}  // namespace

Result<PoolMemory> PoolMemory::create(std::uint64_t bytes) {
  if (bytes == 0 || bytes % kBlockSize != 0 || bytes > static_cast<std::uint64_t>(std::numeric_limits<off_t>::max())) {
    return Error{ErrorCode::invalidArgument,
                 "a pool's size is a positive multiple of " + std::to_string(kBlockSize) + " bytes, not " +
                     std::to_string(bytes),
                 0};
  }
  FileDescriptor fd(::memfd_create("rdma-checkpoint-pool", MFD_CLOEXEC));
  if (!fd) return memoryError("could not make a memfd for", bytes, errno);
  if (::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0) return memoryError("could not size", bytes, errno);
  void* address = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (address == MAP_FAILED) return memoryError("could not map", bytes, errno);
  // Free where the system lets shared memory have huge pages, and ignored where it does not.
  ::madvise(address, bytes, MADV_HUGEPAGE);
  return PoolMemory(std::move(fd), {static_cast<std::byte*>(address), static_cast<std::size_t>(bytes)});
}

PoolMemory::PoolMemory(PoolMemory&& other) noexcept
    : fd_(std::move(other.fd_)), bytes_(std::exchange(other.bytes_, {})) {}

PoolMemory::~PoolMemory() {
  if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
}

Status PoolMemory::zero(ByteRange range) {
  if (range.length == 0) return {};
  while (::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(range.offset),
                     static_cast<off_t>(range.length)) != 0) {
    if (errno != EINTR) return memoryError("could not clear", range.length, errno);
  }
  return {};
}

ByteRange PoolMemory::fromPages(ByteRange range) const {
  const auto end = range.offset + range.length;
  const auto found = ::lseek(fd_.get(), static_cast<off_t>(range.offset), SEEK_DATA);
  if (found < 0) return errno == ENXIO ? ByteRange{end, 0} : range;
  const auto first = std::clamp(static_cast<std::uint64_t>(found) / kBlockSize * kBlockSize, range.offset, end);
  return {first, end - first};
}

bool PoolMemory::hasAllPages(ByteRange range) const {
  const auto hole = ::lseek(fd_.get(), static_cast<off_t>(range.offset), SEEK_HOLE);
  return hole >= 0 && static_cast<std::uint64_t>(hole) >= range.offset + range.length;
}

Status PoolMemory::copyOut(std::uint64_t offset, std::span<std::byte> into) const {
  while (!into.empty()) {
    const ssize_t count = ::pread(fd_.get(), into.data(), into.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return memoryError("could not read", into.size(), count < 0 ? errno : EIO);
    into = into.subspan(static_cast<std::size_t>(count));
    offset += static_cast<std::uint64_t>(count);
  }
  return {};
}

void PoolMemory::copyInSparsely(std::uint64_t offset, std::span<const std::byte> from) {
  static constexpr std::byte zeros[kBlockSize]{};
  auto* const target = bytes_.data() + offset;
  for (std::size_t at = 0; at < from.size(); at += kBlockSize) {
    const auto length = std::min<std::size_t>(kBlockSize, from.size() - at);
    if (std::memcmp(from.data() + at, zeros, length) != 0) std::memcpy(target + at, from.data() + at, length);
  }
}

}  // namespace rdmacp::media

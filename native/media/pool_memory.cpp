// pool_memory.cpp -- memfd and mapping of a pool.
#include "pool_memory.h"

#include <fcntl.h>
#include <sys/mman.h>

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

}  // namespace rdmacp::media

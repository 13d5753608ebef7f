// devdax_medium.cpp -- a pool on persistent memory itself: the device is mapped, and a flush writes cache lines back. What
// peers write lands on the medium without a copy. Any thread; owns the mapping and the lock.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <fstream>
#include <memory>
#include <system_error>

#include "base/file_descriptor.h"
#include "media/block_ranges.h"
#include "media/devdax/cache_lines.h"
#include "media/medium.h"
#include "media/pool_memory.h"

namespace rdmacp::media {
namespace {

constexpr std::uint64_t kUsualAlignment = 2U << 20;

Error failed(const std::string& path, const std::string& what, int number) {
  return Error{ErrorCode::systemError, path + ": " + what + ": " + std::generic_category().message(number), number};
}

// /sys/dev/char/MAJOR:MINOR, where the kernel describes the device.
std::string sysfsOf(const struct stat& device) {
  return "/sys/dev/char/" + std::to_string(major(device.st_rdev)) + ":" + std::to_string(minor(device.st_rdev));
}

std::uint64_t readNumber(const std::string& file) {
  std::ifstream in(file);
  std::uint64_t number = 0;
  in >> number;
  return in ? number : 0;
}

bool isDax(const std::string& sysfs) {
  std::array<char, PATH_MAX> target;
  const ssize_t length = ::readlink((sysfs + "/subsystem").c_str(), target.data(), target.size());
  if (length <= 0) return false;
  const std::string path(target.data(), static_cast<std::size_t>(length));
  return path.substr(path.rfind('/') + 1) == "dax";
}

class DevdaxMedium final : public Medium {
 public:
  DevdaxMedium(FileDescriptor fd, std::span<std::byte> bytes, std::uint64_t alignment, WriteBack writeBack)
      : fd_(std::move(fd)), bytes_(bytes), alignment_(alignment), writeBack_(writeBack) {}
  ~DevdaxMedium() override { ::munmap(bytes_.data(), bytes_.size()); }
  DevdaxMedium(const DevdaxMedium&) = delete;
  DevdaxMedium& operator=(const DevdaxMedium&) = delete;

  std::span<std::byte> memory() const override { return bytes_; }
  int memoryFd() const override { return fd_.get(); }
  std::uint64_t mapAlignment() const override { return alignment_; }
  std::uint64_t blockSize() const override { return kBlockSize; }
  bool durable() const override { return true; }
  // The next process sees the caches that the last one left.
  bool keepsUnflushed() const override { return true; }
  bool persistentMemory() const override { return true; }

  Status flush(std::span<const ByteRange> ranges) override {
    const auto blocks = roundOutAndMerge(ranges, kBlockSize, bytes_.size());
    if (!blocks) return blocks.error();
    // Not the blocks: a line written back is whole, and other lines need no write-back for this flush.
    for (const ByteRange& range : ranges)
      writeBackLines(writeBack_, bytes_.subspan(range.offset, range.length));
    return {};
  }

  Status zero(ByteRange range) override {
    if (auto checked = checkWholeBlocks(range, kBlockSize, bytes_.size()); !checked) return checked;
    const auto zeroed = bytes_.subspan(range.offset, range.length);
    std::memset(zeroed.data(), 0, zeroed.size());
    writeBackLines(writeBack_, zeroed);
    return {};
  }

  Status load(ByteRange range) override { return checkWholeBlocks(range, kBlockSize, bytes_.size()); }

 private:
  FileDescriptor fd_;
  std::span<std::byte> bytes_;
  std::uint64_t alignment_;
  WriteBack writeBack_;
};

}  // namespace

Result<std::unique_ptr<Medium>> openDevdaxMedium(const std::string& path) {
  const WriteBack writeBack = bestWriteBack();
  if (writeBack == WriteBack::none) {
    return Error{ErrorCode::notSupported, "a devdax pool needs a CPU whose cache lines this build can write back", 0};
  }
  FileDescriptor fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!fd) return failed(path, "could not be opened", errno);
  struct stat device {};
  if (::fstat(fd.get(), &device) != 0) return failed(path, "could not be examined", errno);
  const std::string sysfs = sysfsOf(device);
  if (!S_ISCHR(device.st_mode) || !isDax(sysfs)) {
    return Error{ErrorCode::invalidArgument,
                 path + " is not a devdax device; ndctl create-namespace --mode devdax makes one of a namespace", 0};
  }
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return failed(path, "could not be locked", errno);
    return Error{ErrorCode::poolInUse, path + " is used by another unit", EWOULDBLOCK};
  }
  const std::uint64_t bytes = readNumber(sysfs + "/size");
  std::uint64_t alignment = readNumber(sysfs + "/align");
  if (alignment == 0) alignment = readNumber(sysfs + "/device/align");
  if (alignment == 0) alignment = kUsualAlignment;
  const std::uint64_t whole = bytes - bytes % alignment;
  if (whole == 0) return Error{ErrorCode::systemError, path + ": the kernel gives no size for it", 0};

  constexpr int kProtection = PROT_READ | PROT_WRITE;
  void* at = ::mmap(nullptr, whole, kProtection, MAP_SHARED_VALIDATE | MAP_SYNC, fd.get(), 0);
  // Device memory has no page cache to be out of step with; MAP_SYNC only says so where the kernel knows it.
  if (at == MAP_FAILED && errno == EOPNOTSUPP) at = ::mmap(nullptr, whole, kProtection, MAP_SHARED, fd.get(), 0);
  if (at == MAP_FAILED) return failed(path, "could not be mapped", errno);
  return std::unique_ptr<Medium>(std::make_unique<DevdaxMedium>(
      std::move(fd), std::span{static_cast<std::byte*>(at), static_cast<std::size_t>(whole)}, alignment, writeBack));
}

}  // namespace rdmacp::media

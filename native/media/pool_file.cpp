// pool_file.cpp -- system calls on the pool's file, with short transfers and interruptions taken care of.
#include "media/pool_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <limits>

#include "media/lock_holder.h"
#include "media/pool_memory.h"

namespace rdmacp::media {
namespace {

constexpr std::size_t kZerosBytes = 1U << 20U;

// Page-aligned for direct I/O. Not const, so that it takes no space in the binary; nobody writes to it.
struct alignas(kBlockSize) Zeros {
  std::byte bytes[kZerosBytes];
};
constinit Zeros zeros{};

template <class Call>
auto untilNotInterrupted(Call call) {
  auto result = call();
  while (result == -EINTR)
    result = call();
  return result;
}

bool isOutOfSpace(int error) {
  return error == ENOSPC || error == EDQUOT || error == EFBIG;
}

std::string absolute(const std::string& path) {
  std::error_code error;
  const auto found = std::filesystem::absolute(path, error);
  return error ? path : found.string();
}

bool lacksOperation(int error) {
  return error == EOPNOTSUPP || error == ENOSYS;
}

}  // namespace

PoolFile::PoolFile(const std::string& path, std::unique_ptr<FileIo> io)
    : path_(path), absolutePath_(absolute(path)), io_(std::move(io)), first_(std::make_unique<FirstBlock>()) {}

Error PoolFile::failure(const std::string& what, int error) const {
  return {ErrorCode::systemError, what + " " + path_ + ": " + std::strerror(error), error};
}

Status PoolFile::lock() {
  const int locked = untilNotInterrupted([&] { return io_->lock(fd_.get()); });
  if (locked == 0) return {};
  if (locked != -EAGAIN && locked != -EACCES) return failure("could not lock", -locked);
  struct stat status {};
  std::string holder = "another process";
  if (io_->status(fd_.get(), status) == 0) {
    if (const auto pid = findLockHolder(status)) {
      holder = *pid == ::getpid() ? "this process" : "process " + std::to_string(*pid);
    }
  }
  return Error{ErrorCode::poolInUse, "the pool " + path_ + " is in use by " + holder + "; stop that unit first",
               -locked};
}

Result<std::unique_ptr<PoolFile>> PoolFile::open(const std::string& path, std::unique_ptr<FileIo> io) {
  std::unique_ptr<PoolFile> file(new PoolFile(path, std::move(io)));
  const int fd = untilNotInterrupted([&] { return file->io_->open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK, 0); });
  if (fd == -ENOENT) return Error{ErrorCode::notFound, "there is no pool at " + path + "; create it first", ENOENT};
  // A directory cannot be opened for writing; neither can a socket or a device without a driver.
  const bool isOther = fd == -EISDIR || fd == -ENXIO;
  if (fd < 0 && !isOther) return file->failure("could not open the pool", -fd);
  if (!isOther) file->fd_.reset(fd);
  struct stat status {};
  if (!isOther) {
    if (const int got = file->io_->status(fd, status); got < 0) return file->failure("could not look at", -got);
  }
  if (isOther || !S_ISREG(status.st_mode)) {
    return Error{ErrorCode::invalidArgument, path + " is not a regular file, so it is not a file pool", 0};
  }
  if (auto locked = file->lock(); !locked) return locked.error();
  // Whoever held the lock before may have changed the file, or removed it.
  if (const int got = file->io_->status(fd, status); got < 0) return file->failure("could not look at", -got);
  if (status.st_nlink == 0) {
    return Error{ErrorCode::notFound, "the pool at " + path + " was removed while it was being opened", 0};
  }
  file->size_ = static_cast<std::uint64_t>(status.st_size);
  if (auto settled = file->settle(); !settled) return settled.error();
  file->tryDirect();
  return file;
}

// What the unit before this one wrote and did not sync may be in the file as this one reads it: it is made durable first, so
// that nothing read here can vanish. What it failed to sync may lie in the page cache, marked clean, where no sync would
// ever write it: the cache is dropped, so that what is read is what the medium holds.
Status PoolFile::settle() {
  if (auto synced = sync(); !synced) {
    return Error{ErrorCode::mediumFailed,
                 synced.error().message +
                     "; the last writes of an earlier unit may be lost, unless they were acknowledged as durable",
                 synced.error().systemError};
  }
  // Advice: where it is not taken, the file system reads past its cache by direct I/O, or has no such failure.
  (void)io_->dropCache(fd_.get());
  return {};
}

Result<std::unique_ptr<PoolFile>> PoolFile::create(const std::string& path, std::uint64_t bytes,
                                                   std::unique_ptr<FileIo> io) {
  if (bytes == 0 || bytes % kBlockSize != 0 || bytes > static_cast<std::uint64_t>(std::numeric_limits<off_t>::max())) {
    return Error{ErrorCode::invalidArgument,
                 "a pool's size is a positive multiple of " + std::to_string(kBlockSize) + " bytes, not " +
                     std::to_string(bytes),
                 0};
  }
  std::unique_ptr<PoolFile> file;
  const int made = untilNotInterrupted([&] { return io->open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600); });
  if (made == -EEXIST) {
    auto opened = PoolFile::open(path, std::move(io));
    if (!opened) return opened.error();
    file = std::move(opened).value();
    if (file->size_ != 0) {
      return Error{ErrorCode::exists,
                   path + " exists and holds " + std::to_string(file->size_) + " bytes; it was not touched", EEXIST};
    }
  } else {
    file.reset(new PoolFile(path, std::move(io)));
    if (made < 0) return file->failure("could not create the pool", -made);
    file->fd_.reset(made);
    // From here until the lock is taken, another process may take the empty file for its own and lock it first.
    if (auto locked = file->lock(); !locked) return locked.error();
    file->tryDirect();
  }
  if (auto filled = file->fill(bytes); !filled) {
    file->undoCreate(made >= 0);
    return filled.error();
  }
  return file;
}

Status PoolFile::fill(std::uint64_t bytes) {
  if (auto reserved = reserve(bytes); !reserved) return reserved;
  const int synced = untilNotInterrupted([&] { return io_->syncAll(fd_.get()); });
  if (synced < 0) return failure("could not sync", -synced);
  if (auto directory = syncDirectory(); !directory) return directory;
  size_ = bytes;
  return {};
}

Status PoolFile::reserve(std::uint64_t bytes) {
  const auto allocate = [&] { return untilNotInterrupted([&] { return io_->allocate(fd_.get(), 0, 0, bytes); }); };
  const bool direct = direct_;
  int reserved = allocate();
  // overlayfs takes the flag and then refuses whatever is asked of a file whose own file system cannot do without a cache.
  if (fallBackToBuffered(-reserved, direct)) reserved = allocate();
  if (reserved == 0) return {};
  if (isOutOfSpace(-reserved)) {
    return Error{ErrorCode::mediumFull,
                 "there is no room for a pool of " + std::to_string(bytes) + " bytes at " + path_ + ": " +
                     std::strerror(-reserved),
                 -reserved};
  }
  if (!lacksOperation(-reserved)) return failure("could not reserve the space of", -reserved);
  zeroRange_ = false;
  auto written = writeZeros({0, bytes});
  if (!written && isOutOfSpace(written.error().systemError)) {
    return Error{ErrorCode::mediumFull, written.error().message, written.error().systemError};
  }
  return written;
}

// Without it a crash may leave a directory that does not know the file.
Status PoolFile::syncDirectory() {
  auto directory = std::filesystem::path(path_).parent_path();
  if (directory.empty()) directory = ".";
  const FileDescriptor fd(
      untilNotInterrupted([&] { return io_->open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0); }));
  if (!fd) return failure("could not open the directory of", -fd.get());
  const int synced = untilNotInterrupted([&] { return io_->syncAll(fd.get()); });
  // Some file systems have nothing to sync in a directory and say so.
  if (synced < 0 && synced != -EINVAL) return failure("could not sync the directory of", -synced);
  return {};
}

void PoolFile::undoCreate(bool made) {
  if (made) {
    io_->unlink(path_);
  } else {
    io_->truncate(fd_.get(), 0);
  }
}

void PoolFile::tryDirect() {
  direct_ = io_->setFlags(fd_.get(), O_DIRECT) == 0;
}

// A file system may take the flag and refuse the transfer. This may happen to several threads at once: the flag is off
// before direct_ is, so that a transfer that began with direct_ off has no excuse.
bool PoolFile::fallBackToBuffered(int error, bool direct) {
  if (error != EINVAL || !direct) return false;
  const bool off = io_->setFlags(fd_.get(), 0) == 0;
  direct_ = false;
  return off;
}

Status PoolFile::reaches(ByteRange range) {
  struct stat status {};
  if (const int got = io_->status(fd_.get(), status); got < 0) return failure("could not look at", -got);
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (size >= range.offset + range.length) return {};
  return Error{ErrorCode::systemError,
               path_ + " ends at byte " + std::to_string(size) + ", before the pool does: it was cut short", 0};
}

ByteRange PoolFile::fromData(ByteRange range) {
  const auto found = io_->seekData(fd_.get(), range.offset);
  const auto end = range.offset + range.length;
  if (found == -ENXIO) return {end, 0};
  if (found < 0) return range;
  const auto first = std::clamp(static_cast<std::uint64_t>(found) / kBlockSize * kBlockSize, range.offset, end);
  return {first, end - first};
}

Status PoolFile::read(std::span<std::byte> into, std::uint64_t offset) {
  while (!into.empty()) {
    const bool direct = direct_;
    const ssize_t count = io_->read(fd_.get(), into, offset);
    if (count == -EINTR) continue;
    if (count < 0) {
      if (fallBackToBuffered(static_cast<int>(-count), direct)) continue;
      return failure("could not read", static_cast<int>(-count));
    }
    if (count == 0) {
      return Error{ErrorCode::systemError,
                   path_ + " ends at byte " + std::to_string(offset) + ", before the pool does: it was cut short", 0};
    }
    if (offset == 0) {
      const std::lock_guard lock(firstMutex_);
      noteFirstRead(into.first(static_cast<std::size_t>(count)));
    }
    into = into.subspan(static_cast<std::size_t>(count));
    offset += static_cast<std::uint64_t>(count);
  }
  return {};
}

Status PoolFile::write(std::span<const std::byte> from, std::uint64_t offset) {
  if (offset > 0 || from.empty()) return writeAll(from, offset);
  const std::lock_guard lock(firstMutex_);
  if (auto mine = beforeFirstBlock(); !mine) return mine;
  auto written = writeAll(from, offset);
  if (written) noteFirstBlock(from);
  return written;
}

Status PoolFile::writeAll(std::span<const std::byte> from, std::uint64_t offset) {
  while (!from.empty()) {
    const bool direct = direct_;
    const ssize_t count = io_->write(fd_.get(), from, offset);
    if (count == -EINTR) continue;
    if (count < 0) {
      if (fallBackToBuffered(static_cast<int>(-count), direct)) continue;
      return failure("could not write", static_cast<int>(-count));
    }
    if (count == 0) return failure("could not write", EIO);
    from = from.subspan(static_cast<std::size_t>(count));
    offset += static_cast<std::uint64_t>(count);
  }
  return {};
}

Status PoolFile::writeZeros(ByteRange range) {
  if (range.length == 0) return {};
  if (range.offset == 0) {
    const std::lock_guard lock(firstMutex_);
    if (auto mine = beforeFirstBlock(); !mine) return mine;
  }
  if (zeroRange_) {
    const int zeroed = untilNotInterrupted([&] {
      return io_->allocate(fd_.get(), FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, range.offset, range.length);
    });
    if (zeroed == 0) return {};
    if (!lacksOperation(-zeroed)) return failure("could not zero a range of", -zeroed);
    zeroRange_ = false;
  }
  while (range.length > 0) {
    const auto length = std::min<std::uint64_t>(range.length, kZerosBytes);
    if (auto written = write({zeros.bytes, static_cast<std::size_t>(length)}, range.offset); !written) return written;
    range.offset += length;
    range.length -= length;
  }
  return {};
}

Status PoolFile::sync() {
  const int synced = untilNotInterrupted([&] { return io_->syncData(fd_.get()); });
  if (synced < 0) return failure("could not sync", -synced);
  return {};
}

Status PoolFile::whole() {
  FileLook look;
  return examine(look);
}

Status PoolFile::examine(FileLook& look) {
  if (const int looked = untilNotInterrupted([&] { return io_->look(fd_.get(), look); }); looked < 0) {
    return failure("could not look at", -looked);
  }
  if (look.links == 0) return Error{ErrorCode::systemError, "the pool " + path_ + " was removed while it was in use"};
  if (look.bytes < size_) {
    return Error{ErrorCode::systemError, "the pool " + path_ + " was cut short to " + std::to_string(look.bytes) +
                                             " of its " + std::to_string(size_) + " bytes while it was in use"};
  }
  if (look.readOnly) return failure("nothing can be written any more to the file system of", EROFS);
  return {};
}

Status PoolFile::inPlace() {
  FileLook mine;
  if (auto there = examine(mine); !there) return there;
  struct stat found {};
  const int got = untilNotInterrupted([&] { return io_->statusAt(absolutePath_, found); });
  // What cannot be looked at may well be there: the right to look was taken away.
  const bool isGone = got == -ENOENT || got == -ENOTDIR || got == -ELOOP;
  if (isGone) {
    return Error{ErrorCode::systemError, "the pool is not at " + path_ + " any more: it was moved while it was in use"};
  }
  if (got == 0 && (found.st_dev != mine.device || found.st_ino != mine.inode)) {
    return Error{ErrorCode::systemError,
                 "another file is at " + path_ + " now: the pool was replaced while it was in use"};
  }
  const std::lock_guard lock(firstMutex_);
  return beginsAsWritten();
}

// What something else has written there would be hidden, in the file and from every later look.
Status PoolFile::beforeFirstBlock() {
  if (auto mine = beginsAsWritten(); !mine) return mine;
  first_->known = false;
  return {};
}

// A file that was copied over the pool is the same file, as long as before, and holds something else. Where the transfer
// is direct this also finds a device that has gone. One block that cannot be read is no such thing: its copy counts.
Status PoolFile::beginsAsWritten() {
  if (!first_->known) return {};
  auto found = std::make_unique<FirstBlock>();
  auto count = readBack(found->bytes, 0);
  // Once more, as wherever a pool is read: a read may go wrong.
  if (count < 0 || found->bytes != first_->bytes) count = readBack(found->bytes, 0);
  if (count < 0) {
    const auto last = readBack(found->bytes, size_ - kBlockSize);
    return last < 0 ? Status{failure("could not read any more", static_cast<int>(-last))} : Status{};
  }
  // Cut short meanwhile: the next look says so.
  if (static_cast<std::uint64_t>(count) < kBlockSize || found->bytes == first_->bytes) return {};
  return Error{ErrorCode::systemError,
               "the pool " + path_ + " does not begin with what was written there: something has written over it"};
}

ssize_t PoolFile::readBack(std::span<std::byte> into, std::uint64_t offset) {
  const bool direct = direct_;
  const auto again = [&] { return io_->readBack(fd_.get(), into, offset); };
  auto count = untilNotInterrupted(again);
  if (count < 0 && fallBackToBuffered(static_cast<int>(-count), direct)) count = untilNotInterrupted(again);
  return count;
}

// One read may have gone wrong: what is expected from now on is what two of them agree on.
void PoolFile::noteFirstRead(std::span<const std::byte> bytes) {
  first_->known = false;
  if (bytes.size() < kBlockSize) return;
  auto again = std::make_unique<FirstBlock>();
  const auto count = readBack(again->bytes, 0);
  if (count != static_cast<ssize_t>(kBlockSize)) return;
  if (std::equal(again->bytes.begin(), again->bytes.end(), bytes.begin())) noteFirstBlock(bytes);
}

void PoolFile::noteFirstBlock(std::span<const std::byte> bytes) {
  if (bytes.size() < kBlockSize) return;
  std::copy_n(bytes.begin(), kBlockSize, first_->bytes.begin());
  first_->known = true;
}

}  // namespace rdmacp::media

// file_io.cpp -- the plain file-system calls. Any thread; nothing is owned.
#include "media/file_io.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>

#if RC_SHADOW_FILE_IO
#include "media/shadow_file_io.h"
#endif

namespace rdmacp::media {
namespace {

template <class T>
T orErrno(T result) {
  return result < 0 ? static_cast<T>(-errno) : result;
}

}  // namespace

int SystemFileIo::open(const std::string& path, int flags, mode_t mode) {
  return orErrno(::open(path.c_str(), flags, mode));
}

int SystemFileIo::status(int fd, struct stat& status) {
  return orErrno(::fstat(fd, &status));
}

// A kernel that makes a file system read-only by itself, after an error, may let what is open be written and synced with
// success all the same, and keep nothing of it: so it is asked.
int SystemFileIo::look(int fd, FileLook& look) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return -errno;
  struct statvfs fileSystem {};
  if (::fstatvfs(fd, &fileSystem) != 0) return -errno;
  look.links = static_cast<std::uint64_t>(status.st_nlink);
  look.bytes = static_cast<std::uint64_t>(status.st_size);
  look.device = status.st_dev;
  look.inode = status.st_ino;
  look.readOnly = (fileSystem.f_flag & ST_RDONLY) != 0;
  return 0;
}

int SystemFileIo::statusAt(const std::string& path, struct stat& status) {
  return orErrno(::stat(path.c_str(), &status));
}

int SystemFileIo::lock(int fd) {
  struct flock whole {};
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  return orErrno(::fcntl(fd, F_OFD_SETLK, &whole));
}

int SystemFileIo::setFlags(int fd, int flags) {
  return orErrno(::fcntl(fd, F_SETFL, flags));
}

int SystemFileIo::allocate(int fd, int mode, std::uint64_t offset, std::uint64_t length) {
  return orErrno(::fallocate(fd, mode, static_cast<off_t>(offset), static_cast<off_t>(length)));
}

std::int64_t SystemFileIo::seekData(int fd, std::uint64_t offset) {
  return orErrno(static_cast<std::int64_t>(::lseek(fd, static_cast<off_t>(offset), SEEK_DATA)));
}

int SystemFileIo::truncate(int fd, std::uint64_t length) {
  return orErrno(::ftruncate(fd, static_cast<off_t>(length)));
}

ssize_t SystemFileIo::read(int fd, std::span<std::byte> into, std::uint64_t offset) {
  return orErrno(::pread(fd, into.data(), into.size(), static_cast<off_t>(offset)));
}

ssize_t SystemFileIo::write(int fd, std::span<const std::byte> from, std::uint64_t offset) {
  return orErrno(::pwrite(fd, from.data(), from.size(), static_cast<off_t>(offset)));
}

int SystemFileIo::syncData(int fd) {
  return orErrno(::fdatasync(fd));
}

int SystemFileIo::syncAll(int fd) {
  return orErrno(::fsync(fd));
}

int SystemFileIo::dropCache(int fd) {
  return -::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

int SystemFileIo::unlink(const std::string& path) {
  return orErrno(::unlink(path.c_str()));
}

std::unique_ptr<FileIo> makeFileIo() {
#if RC_SHADOW_FILE_IO
  return std::make_unique<ShadowFileIo>();
#else
  return std::make_unique<SystemFileIo>();
#endif
}

}  // namespace rdmacp::media

// file_io.h -- every file-system call of the pool's file passes here, so that a fault can be injected in one place.
//
// Called by the threads that flush, zero and load, several at once. Owns nothing but what an implementation adds.
// Results are those of the system calls, with -errno in place of -1. Interrupted calls are repeated by the caller.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace rdmacp::media {

// What can be told of an open file without reading it.
struct FileLook {
  std::uint64_t links = 0;
  std::uint64_t bytes = 0;
  dev_t device = 0;
  ino_t inode = 0;
  bool readOnly = false;  // its file system is
};

class FileIo {
 public:
  virtual ~FileIo() = default;

  virtual int open(const std::string& path, int flags, mode_t mode) = 0;
  virtual int status(int fd, struct stat& status) = 0;
  virtual int look(int fd, FileLook& look) = 0;                            // fstat and fstatvfs
  virtual int statusAt(const std::string& path, struct stat& status) = 0;  // stat, which follows links
  // An exclusive lock of the open file description (F_OFD_SETLK): it is not lost when another descriptor of the
  // process closes the same file, and a child that execs does not keep it. -EAGAIN when another holds one.
  virtual int lock(int fd) = 0;
  virtual int setFlags(int fd, int flags) = 0;                                             // F_SETFL
  virtual int allocate(int fd, int mode, std::uint64_t offset, std::uint64_t length) = 0;  // fallocate
  // SEEK_DATA from the offset on: -ENXIO where only holes are left, -EINVAL where the file system does not know.
  virtual std::int64_t seekData(int /*fd*/, std::uint64_t /*offset*/) { return -EINVAL; }
  virtual int truncate(int fd, std::uint64_t length) = 0;
  virtual ssize_t read(int fd, std::span<std::byte> into, std::uint64_t offset) = 0;
  // The same, to see whether what was written is still there.
  virtual ssize_t readBack(int fd, std::span<std::byte> into, std::uint64_t offset) { return read(fd, into, offset); }
  virtual ssize_t write(int fd, std::span<const std::byte> from, std::uint64_t offset) = 0;
  virtual int syncData(int fd) = 0;   // fdatasync
  virtual int syncAll(int fd) = 0;    // fsync
  virtual int dropCache(int fd) = 0;  // posix_fadvise: pages that are clean
  virtual int unlink(const std::string& path) = 0;
};

// The calls themselves. A base for test doubles, which change what they need to.
class SystemFileIo : public FileIo {
 public:
  int open(const std::string& path, int flags, mode_t mode) override;
  int status(int fd, struct stat& status) override;
  int look(int fd, FileLook& look) override;
  int statusAt(const std::string& path, struct stat& status) override;
  int lock(int fd) override;
  int setFlags(int fd, int flags) override;
  int allocate(int fd, int mode, std::uint64_t offset, std::uint64_t length) override;
  std::int64_t seekData(int fd, std::uint64_t offset) override;
  int truncate(int fd, std::uint64_t length) override;
  ssize_t read(int fd, std::span<std::byte> into, std::uint64_t offset) override;
  ssize_t write(int fd, std::span<const std::byte> from, std::uint64_t offset) override;
  int syncData(int fd) override;
  int syncAll(int fd) override;
  int dropCache(int fd) override;
  int unlink(const std::string& path) override;
};

// What this build uses: the system's calls, or in the shadow build the shadowed ones.
std::unique_ptr<FileIo> makeFileIo();

}  // namespace rdmacp::media

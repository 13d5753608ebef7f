// shadow_file_io.h -- test builds only: a file system whose writes are lost when the process is killed before it syncs.
//
// The kernel keeps a killed process's writes, so a kill alone never shows a missing fdatasync. Here writes and zeroings
// stay in this process's memory until fdatasync or fsync applies them to the real file, in order; a kill before that
// loses them all, one during it leaves a part, as a power cut does. Reads see what was written. A close without a sync
// loses it too. Any thread; one mutex.
//   RC_TEST_SKIP_SYNC=1           syncs claim success and apply nothing
//   RC_TEST_FAIL_SYNC_IF=<path>   syncs fail while there is such a file, and drop what they were to write, as the kernel does
//   RC_TEST_FAIL_IO=<n>[:<errno>] the n-th call, counted from 1 over the whole process, fails (EIO by default). Looks are
//                                 not counted, nor what they read: they come when they come
//   RC_TEST_READ_ONLY_IF=<path>   while there is such a file the file system says that it is read-only
#pragma once

#if RC_SHADOW_FILE_IO

#include <deque>
#include <map>
#include <mutex>
#include <vector>

#include "media/file_io.h"

namespace rdmacp::media {

class ShadowFileIo final : public FileIo {
 public:
  ShadowFileIo();

  int open(const std::string& path, int flags, mode_t mode) override;
  int status(int fd, struct stat& status) override;
  int look(int fd, FileLook& look) override;
  int statusAt(const std::string& path, struct stat& status) override;
  int lock(int fd) override;
  int setFlags(int fd, int flags) override;
  int allocate(int fd, int mode, std::uint64_t offset, std::uint64_t length) override;
  int truncate(int fd, std::uint64_t length) override;
  ssize_t read(int fd, std::span<std::byte> into, std::uint64_t offset) override;
  ssize_t readBack(int fd, std::span<std::byte> into, std::uint64_t offset) override;
  ssize_t write(int fd, std::span<const std::byte> from, std::uint64_t offset) override;
  int syncData(int fd) override;
  int syncAll(int fd) override;
  int dropCache(int fd) override;
  int unlink(const std::string& path) override;

 private:
  // bytes empty: zeros.
  struct PendingWrite {
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
    std::vector<std::byte> bytes;
  };

  int apply(int fd);

  SystemFileIo real_;
  const bool skipSync_;
  std::mutex mutex_;
  std::map<int, std::deque<PendingWrite>> pending_;  // by descriptor
};

}  // namespace rdmacp::media

#endif

// disk.c -- a raw limit of the benchmark: direct writes into one place after another of a file that has all its blocks, and
// one fdatasync for each DEPTH of them.
//
//   disk FILE BYTES DEPTH SECONDS
//
// A direct write is of whole blocks of 4 KiB. A file system that has none (tmpfs) gets ordinary ones.
#include "cell.h"

#include <fcntl.h>
#include <unistd.h>

static void write_all(int fd, const char* from, size_t bytes, off_t at) {
  while (bytes > 0) {
    ssize_t n = pwrite(fd, from, bytes, at);
    if (n < 0) {
      if (errno == EINTR) continue;
      fail("pwrite");
    }
    from += n;
    at += n;
    bytes -= (size_t)n;
  }
}

int main(int argc, char** argv) {
  if (argc != 5) {
    fprintf(stderr, "usage: disk FILE BYTES DEPTH SECONDS\n");
    return 2;
  }
  const size_t bytes = (strtoull(argv[2], NULL, 10) + 4095) / 4096 * 4096;
  const unsigned depth = (unsigned)strtoul(argv[3], NULL, 10);
  if (bytes == 0 || bytes > SPAN || depth == 0) return 2;
  // Page-aligned, as direct writes have to be.
  char* from = touched_memory(bytes);
  int fd = open(argv[1], O_RDWR | O_CREAT | O_DIRECT, 0600);
  if (fd < 0) fd = open(argv[1], O_RDWR | O_CREAT, 0600);
  if (fd < 0) fail("open");
  if (lseek(fd, 0, SEEK_END) < SPAN) {
    char* zeros = touched_memory(1 << 20);
    for (off_t at = 0; at < SPAN; at += 1 << 20) write_all(fd, zeros, 1 << 20, at);
    if (fdatasync(fd) != 0) fail("fdatasync");
  }
  struct cell cell = begin(strtod(argv[4], NULL));
  size_t at = 0;
  for (double before = now(); goes_on(&cell, before); before = now()) {
    for (unsigned i = 0; i < depth; i++) {
      write_all(fd, from, bytes, (off_t)at);
      at = at + 2 * bytes > SPAN ? 0 : at + bytes;
    }
    if (fdatasync(fd) != 0) fail("fdatasync");
    cell.operations += depth;
    if (depth == 1) took(&cell, now() - before);
  }
  print(&cell);
  return 0;
}

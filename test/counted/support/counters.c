// counters.c -- preloaded into a client and a unit: counts the calls by which they send, receive, wake each other, write and
// sync, in a file that others may look at while the process runs. Sockets of Node itself are not counted: it uses read and write.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

// In the order of `counted` in counted.mjs.
enum counter {
  SENDS,
  SENT_BYTES,
  FRAMES,
  RECEIVES,
  EMPTY_RECEIVES,
  SIGNALS,
  SIGNAL_READS,
  LOOP_TURNS,
  PWRITES,
  PWRITE_BYTES,
  SYNCS,
  COUNTERS
};
enum { DESCRIPTORS = 65536 };

static _Atomic uint64_t nowhere[COUNTERS];
static _Atomic uint64_t* counters = nowhere;
static _Atomic char isEventDescriptor[DESCRIPTORS];

// Where the stream of a socket is: a connection sends in order.
static struct place {
  uint64_t rest;  // of the frame
  unsigned char header[4];
  unsigned known;     // bytes of the header
  _Atomic char data;  // has sent a write, a read request or a read response: heartbeats go by connections that never do
} places[DESCRIPTORS];

__attribute__((constructor)) static void begin(void) {
  const char* name = getenv("RC_COUNTERS");
  // Of this process only, not of what it starts.
  unsetenv("LD_PRELOAD");
  if (name == NULL) return;
  const int fd = open(name, O_RDWR | O_CREAT, 0600);
  if (fd < 0 || ftruncate(fd, sizeof nowhere) != 0) abort();
  void* memory = mmap(NULL, sizeof nowhere, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (memory == MAP_FAILED) abort();
  close(fd);
  counters = memory;
}

static void add(enum counter counter, uint64_t value) {
  atomic_fetch_add_explicit(&counters[counter], value, memory_order_relaxed);
}

#define REAL(name)               \
  static __typeof__(&name) real; \
  if (real == NULL) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static int isEvent(int fd) {
  return fd >= 0 && fd < DESCRIPTORS && isEventDescriptor[fd];
}

int eventfd(unsigned int value, int flags) {
  REAL(eventfd);
  const int fd = real(value, flags);
  if (fd >= 0 && fd < DESCRIPTORS) isEventDescriptor[fd] = 1;
  return fd;
}

int close(int fd) {
  REAL(close);
  if (fd >= 0 && fd < DESCRIPTORS) {
    isEventDescriptor[fd] = 0;
    places[fd] = (struct place){0};
  }
  return real(fd);
}

// MPA's frames (RFC 5044 section 4): length, ULPDU, padding to four bytes, CRC. The ULPDU begins with the control bytes of DDP
// and RDMAP (RFC 5040 section 4). What is sent before the first frame goes by send(). Returns how many frames began.
static uint64_t frames_in(struct place* place, const struct msghdr* message, uint64_t sent) {
  uint64_t frames = 0;
  for (size_t i = 0; i < message->msg_iovlen && sent > 0; ++i) {
    const unsigned char* at = message->msg_iov[i].iov_base;
    uint64_t left = message->msg_iov[i].iov_len < sent ? message->msg_iov[i].iov_len : sent;
    sent -= left;
    while (left > 0) {
      if (place->rest > 0) {
        const uint64_t step = left < place->rest ? left : place->rest;
        at += step;
        left -= step;
        place->rest -= step;
        continue;
      }
      place->header[place->known++] = *at++;
      --left;
      if (place->known < sizeof place->header) continue;
      const uint64_t ulpdu = (uint64_t)place->header[0] << 8 | place->header[1];
      place->rest = (2 + ulpdu + 3) / 4 * 4 + 4 - sizeof place->header;
      place->known = 0;
      if ((place->header[3] & 0x0f) <= 2) place->data = 1;
      ++frames;
    }
  }
  return frames;
}

ssize_t sendmsg(int fd, const struct msghdr* message, int flags) {
  REAL(sendmsg);
  const ssize_t sent = real(fd, message, flags);
  if (fd < 0 || fd >= DESCRIPTORS) return sent;
  const uint64_t frames = sent > 0 ? frames_in(&places[fd], message, (uint64_t)sent) : 0;
  if (!places[fd].data) return sent;
  add(SENDS, 1);
  add(FRAMES, frames);
  if (sent > 0) add(SENT_BYTES, (uint64_t)sent);
  return sent;
}

ssize_t recvmsg(int fd, struct msghdr* message, int flags) {
  REAL(recvmsg);
  const ssize_t got = real(fd, message, flags);
  if (fd >= 0 && fd < DESCRIPTORS && places[fd].data) add(got > 0 ? RECEIVES : EMPTY_RECEIVES, 1);
  return got;
}

ssize_t write(int fd, const void* from, size_t bytes) {
  REAL(write);
  if (isEvent(fd)) add(SIGNALS, 1);
  return real(fd, from, bytes);
}

ssize_t read(int fd, void* to, size_t bytes) {
  REAL(read);
  if (isEvent(fd)) add(SIGNAL_READS, 1);
  return real(fd, to, bytes);
}

int epoll_wait(int epoll, struct epoll_event* events, int count, int timeout) {
  REAL(epoll_wait);
  add(LOOP_TURNS, 1);
  return real(epoll, events, count, timeout);
}

int epoll_pwait(int epoll, struct epoll_event* events, int count, int timeout, const sigset_t* mask) {
  REAL(epoll_pwait);
  add(LOOP_TURNS, 1);
  return real(epoll, events, count, timeout, mask);
}

static ssize_t wrote(ssize_t bytes) {
  add(PWRITES, 1);
  if (bytes > 0) add(PWRITE_BYTES, (uint64_t)bytes);
  return bytes;
}

ssize_t pwrite(int fd, const void* from, size_t bytes, off_t at) {
  REAL(pwrite);
  return wrote(real(fd, from, bytes, at));
}

ssize_t pwrite64(int fd, const void* from, size_t bytes, off64_t at) {
  REAL(pwrite64);
  return wrote(real(fd, from, bytes, at));
}

int fdatasync(int fd) {
  REAL(fdatasync);
  add(SYNCS, 1);
  return real(fd);
}

int fsync(int fd) {
  REAL(fsync);
  add(SYNCS, 1);
  return real(fd);
}

int msync(void* from, size_t bytes, int flags) {
  REAL(msync);
  add(SYNCS, 1);
  return real(from, bytes, flags);
}

// raw-tcp.c -- the raw limit that the benchmark compares with: one TCP connection over loopback between two processes.
//
//   raw-tcp BYTES DEPTH SECONDS SPAN
//
// The sender keeps up to DEPTH messages of BYTES in flight; the receiver puts each into its place in a ring of SPAN
// bytes (as a unit puts writes into a region) and answers with one byte, as a completed write is answered. Prints
// operations, seconds, and with depth 1 the median and 99th percentile of the round trip in microseconds.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

static void fail(const char* what) {
  perror(what);
  exit(1);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

// Returns 0 at the end of the stream.
static int receive_all(int fd, char* to, size_t bytes) {
  while (bytes > 0) {
    ssize_t n = recv(fd, to, bytes, 0);
    if (n == 0) return 0;
    if (n < 0) {
      if (errno == EINTR) continue;
      fail("recv");
    }
    to += n;
    bytes -= (size_t)n;
  }
  return 1;
}

static void send_all(int fd, const char* from, size_t bytes) {
  while (bytes > 0) {
    ssize_t n = send(fd, from, bytes, MSG_NOSIGNAL);
    if (n < 0) {
      if (errno == EINTR) continue;
      fail("send");
    }
    from += n;
    bytes -= (size_t)n;
  }
}

static char* touched_memory(size_t bytes) {
  char* memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) fail("mmap");
  memset(memory, 0x5a, bytes);
  return memory;
}

static void receiver(int listener, size_t bytes, size_t span) {
  int fd = accept(listener, NULL, NULL);
  if (fd < 0) fail("accept");
  int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  char* memory = touched_memory(span);
  size_t at = 0;
  char answer = 1;
  while (receive_all(fd, memory + at, bytes)) {
    send_all(fd, &answer, 1);
    at += bytes;
    if (at + bytes > span) at = 0;
  }
  exit(0);
}

static int ascending(const void* a, const void* b) {
  double x = *(const double*)a, y = *(const double*)b;
  return (x > y) - (x < y);
}

int main(int argc, char** argv) {
  if (argc != 5) {
    fprintf(stderr, "usage: raw-tcp BYTES DEPTH SECONDS SPAN\n");
    return 2;
  }
  size_t bytes = strtoull(argv[1], NULL, 10);
  unsigned depth = (unsigned)strtoul(argv[2], NULL, 10);
  double seconds = strtod(argv[3], NULL);
  size_t span = strtoull(argv[4], NULL, 10);
  if (bytes == 0 || depth == 0 || span < bytes) return 2;

  int listener = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof address;
  if (listener < 0 || bind(listener, (struct sockaddr*)&address, sizeof address) != 0 || listen(listener, 1) != 0)
    fail("listen");
  if (getsockname(listener, (struct sockaddr*)&address, &length) != 0) fail("getsockname");

  pid_t child = fork();
  if (child < 0) fail("fork");
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    receiver(listener, bytes, span);
  }

  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0 || connect(fd, (struct sockaddr*)&address, sizeof address) != 0) fail("connect");
  int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);

  // One buffer for all, as the benchmark's writes have: it stays in the processor's cache.
  char* memory = touched_memory(bytes);
  size_t latencies = 1u << 22, measured = 0;
  double* latency = malloc(latencies * sizeof *latency);
  if (latency == NULL) fail("malloc");
  char answers[64];

  // The first tenth warms up and is not counted.
  double start = now() + seconds / 10, end = start + seconds;
  uint64_t operations = 0;
  unsigned inFlight = 0;
  int counting = 0;
  double countedFrom = start;
  for (;;) {
    double before = now();
    if (!counting && before >= start) {
      counting = 1;
      countedFrom = before;
      end = before + seconds;
      operations = 0;
      measured = 0;
    }
    if (before >= end && inFlight == 0) break;
    while (before < end && inFlight < depth) {
      send_all(fd, memory, bytes);
      inFlight++;
    }
    ssize_t n = recv(fd, answers, depth < sizeof answers ? depth : sizeof answers, 0);
    if (n <= 0) fail("recv");
    inFlight -= (unsigned)n;
    operations += (uint64_t)n;
    if (depth == 1 && measured < latencies) latency[measured++] = (now() - before) * 1e6;
  }
  double elapsed = now() - countedFrom;
  close(fd);
  waitpid(child, NULL, 0);

  double p50 = 0, p99 = 0;
  if (measured > 0) {
    qsort(latency, measured, sizeof *latency, ascending);
    p50 = latency[measured / 2];
    p99 = latency[(size_t)((double)measured * 0.99)];
  }
  printf("{\"operations\":%llu,\"seconds\":%.6f,\"p50us\":%.2f,\"p99us\":%.2f}\n", (unsigned long long)operations, elapsed,
         p50, p99);
  return 0;
}

// tcp.c -- a raw limit of the benchmark: one TCP connection over loopback between two processes.
//
//   tcp exchange ASK ANSWER DEPTH SECONDS block|spin
//   tcp stream BYTES SECONDS
//
// exchange keeps up to DEPTH messages of ASK bytes in flight, each answered by ANSWER bytes: a write has a large ask and an
// answer of one byte, a read the other way round. The far end puts each message into its place in a ring, as a unit puts
// writes into a region, or answers from there. spin asks the socket again and again instead of sleeping in it, at both ends.
// stream sends messages that nobody answers; the far end counts what has arrived.
#include "cell.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int spin;

// At most bytes; 0 at the end of the stream.
static size_t receive_some(int fd, char* to, size_t bytes) {
  for (;;) {
    ssize_t n = recv(fd, to, bytes, spin ? MSG_DONTWAIT : 0);
    if (n >= 0) return (size_t)n;
    if (errno != EINTR && errno != EAGAIN) fail("recv");
  }
}

static int receive_all(int fd, char* to, size_t bytes) {
  while (bytes > 0) {
    size_t n = receive_some(fd, to, bytes);
    if (n == 0) return 0;
    to += n;
    bytes -= n;
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

static void without_delay(int fd) {
  int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static void answer(int fd, size_t ask, size_t back) {
  char* memory = touched_memory(SPAN);
  const size_t step = ask > back ? ask : back;
  for (size_t at = 0; receive_all(fd, ask > 1 ? memory + at : memory, ask); at = at + 2 * step > SPAN ? 0 : at + step)
    send_all(fd, memory + (back > 1 ? at : 0), back);
}

static void exchange(int fd, size_t ask, size_t back, unsigned depth, double seconds) {
  // One buffer for all, as the benchmark's writes have: it stays in the processor's cache.
  char* memory = touched_memory(ask > back ? ask : back);
  struct cell cell = begin(seconds);
  unsigned inFlight = 0;
  size_t due = back;
  for (;;) {
    double before = now();
    int more = goes_on(&cell, before);
    if (!more && inFlight == 0) break;
    for (; more && inFlight < depth; inFlight++) send_all(fd, memory, ask);
    // Small answers come several at once.
    char several[64];
    size_t most = back == 1 && depth < sizeof several ? depth : due;
    size_t n = receive_some(fd, back == 1 ? several : memory + back - due, most);
    if (n == 0) fail("the far end has gone");
    if (back > 1) {
      due -= n;
      if (due > 0) continue;
      due = back;
      n = 1;
    }
    inFlight -= (unsigned)n;
    cell.operations += n;
    if (depth == 1) took(&cell, now() - before);
  }
  print(&cell);
}

static void count(int fd, size_t bytes, double seconds) {
  char* memory = touched_memory(SPAN);
  struct cell cell = begin(seconds);
  for (size_t at = 0; goes_on(&cell, now()) && receive_all(fd, memory + at, bytes);
       at = at + 2 * bytes > SPAN ? 0 : at + bytes)
    cell.operations++;
  print(&cell);
}

static void stream(int fd, size_t bytes) {
  char* memory = touched_memory(bytes);
  for (;;) send_all(fd, memory, bytes);
}

int main(int argc, char** argv) {
  const int exchanges = argc == 7 && strcmp(argv[1], "exchange") == 0;
  if (!exchanges && !(argc == 4 && strcmp(argv[1], "stream") == 0)) {
    fprintf(stderr, "usage: tcp exchange ASK ANSWER DEPTH SECONDS block|spin | tcp stream BYTES SECONDS\n");
    return 2;
  }
  const size_t ask = strtoull(argv[2], NULL, 10);
  const size_t back = exchanges ? strtoull(argv[3], NULL, 10) : 1;
  const unsigned depth = exchanges ? (unsigned)strtoul(argv[4], NULL, 10) : 1;
  const double seconds = strtod(argv[exchanges ? 5 : 3], NULL);
  spin = exchanges && strcmp(argv[6], "spin") == 0;
  if (ask == 0 || back == 0 || depth == 0 || ask > SPAN || back > SPAN) return 2;

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
    int fd = accept(listener, NULL, NULL);
    if (fd < 0) fail("accept");
    without_delay(fd);
    if (exchanges) answer(fd, ask, back);
    else stream(fd, ask);
    exit(0);
  }
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0 || connect(fd, (struct sockaddr*)&address, sizeof address) != 0) fail("connect");
  without_delay(fd);
  if (exchanges) exchange(fd, ask, back, depth, seconds);
  else count(fd, ask, seconds);
  kill(child, SIGKILL);
  waitpid(child, NULL, 0);
  return 0;
}

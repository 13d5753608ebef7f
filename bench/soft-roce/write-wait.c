/* write-wait.c -- what a C program needs to write over RDMA and wait: the baseline of bench/soft-roce.js.
 *
 *   write-wait serve ADDRESS PORT                                 prints "ready", serves one client after another
 *   write-wait ask ADDRESS PORT spin|block write|visible BYTES COUNT [warm|cold]
 *
 * write waits for the completion of the write; visible posts a read of one byte behind it and waits for that. spin polls the
 * completion queue, block sleeps until its event. cold: between two writes it runs some thousand other functions, as a program
 * does that has more to do than to write; under emulation, where executed code is found by a cache of a few thousand blocks,
 * that makes the kernel's part of a write take twice as long. Prints one line of JSON: microseconds at the median and the 99th percentile.
 */
#include <errno.h>
#include <rdma/rdma_cma.h>
#include <rdma/rdma_verbs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MEMORY = 1 << 20, INLINE = 64 };

static volatile unsigned elsewhere;
#define ONE(n) \
  static __attribute__((noinline)) void other##n(void) { elsewhere += n; }
#define NAME(n) other##n,
#define EIGHT(do, n) do(n##0) do(n##1) do(n##2) do(n##3) do(n##4) do(n##5) do(n##6) do(n##7)
#define EIGHTS(do, n) \
  EIGHT(do, n##0) EIGHT(do, n##1) EIGHT(do, n##2) EIGHT(do, n##3) EIGHT(do, n##4) EIGHT(do, n##5) EIGHT(do, n##6) EIGHT(do, n##7)
#define HUNDREDS(do, n) EIGHTS(do, n##0) EIGHTS(do, n##1) EIGHTS(do, n##2) EIGHTS(do, n##3) EIGHTS(do, n##4) EIGHTS(do, n##5)
#define ALL(do) HUNDREDS(do, 01) HUNDREDS(do, 02) HUNDREDS(do, 03) HUNDREDS(do, 04) \
  HUNDREDS(do, 05) HUNDREDS(do, 06) HUNDREDS(do, 07) HUNDREDS(do, 010) HUNDREDS(do, 011) HUNDREDS(do, 012) \
  HUNDREDS(do, 013) HUNDREDS(do, 014) HUNDREDS(do, 015) HUNDREDS(do, 016)
ALL(ONE)
static void (*const others[])(void) = {ALL(NAME)};

static void runOtherCode(void) {
  for (size_t i = 0; i < sizeof others / sizeof *others; ++i) others[i]();
}

struct place {
  uint64_t address;
  uint32_t key;
};

static void need(int holds, const char *what) {
  if (holds) return;
  fprintf(stderr, "write-wait: %s: %s\n", what, strerror(errno));
  exit(1);
}

static struct rdma_cm_id *endpoint(const char *address, const char *port, int passive) {
  struct rdma_addrinfo hints = {.ai_port_space = RDMA_PS_TCP, .ai_flags = passive ? RAI_PASSIVE : 0};
  struct rdma_addrinfo *found = NULL;
  need(rdma_getaddrinfo((char *)address, (char *)port, &hints, &found) == 0, "rdma_getaddrinfo");
  struct ibv_qp_init_attr attributes = {
      .cap = {.max_send_wr = 16, .max_recv_wr = 1, .max_send_sge = 1, .max_recv_sge = 1, .max_inline_data = INLINE},
      .qp_type = IBV_QPT_RC,
  };
  struct rdma_cm_id *id = NULL;
  need(rdma_create_ep(&id, found, NULL, &attributes) == 0, "rdma_create_ep");
  rdma_freeaddrinfo(found);
  return id;
}

static void serve(const char *address, const char *port) {
  struct rdma_cm_id *listener = endpoint(address, port, 1);
  need(rdma_listen(listener, 8) == 0, "rdma_listen");
  void *memory = aligned_alloc(4096, MEMORY);
  memset(memory, 0, MEMORY);
  printf("ready\n");
  fflush(stdout);
  for (;;) {
    struct rdma_cm_id *id = NULL;
    need(rdma_get_request(listener, &id) == 0, "rdma_get_request");
    struct ibv_mr *registered =
        ibv_reg_mr(id->pd, memory, MEMORY, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ);
    need(registered != NULL, "ibv_reg_mr");
    struct place place = {(uintptr_t)memory, registered->rkey};
    struct rdma_conn_param parameters = {
        .private_data = &place, .private_data_len = sizeof place, .responder_resources = 4, .initiator_depth = 4};
    need(rdma_accept(id, &parameters) == 0, "rdma_accept");
    struct rdma_cm_event *event = NULL;
    while (rdma_get_cm_event(id->channel, &event) == 0) {
      const int over = event->event == RDMA_CM_EVENT_DISCONNECTED;
      rdma_ack_cm_event(event);
      if (over) break;
    }
    rdma_disconnect(id);
    ibv_dereg_mr(registered);
    rdma_destroy_ep(id);
  }
}

static uint64_t nanoseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

/* One completion, which must be a good one. */
static void await(struct rdma_cm_id *id, int block) {
  struct ibv_wc completion;
  for (;;) {
    int found = ibv_poll_cq(id->send_cq, 1, &completion);
    if (found == 0 && block) {
      need(ibv_req_notify_cq(id->send_cq, 0) == 0, "ibv_req_notify_cq");
      found = ibv_poll_cq(id->send_cq, 1, &completion);
      if (found == 0) {
        struct ibv_cq *queue = NULL;
        void *context = NULL;
        need(ibv_get_cq_event(id->send_cq_channel, &queue, &context) == 0, "ibv_get_cq_event");
        ibv_ack_cq_events(queue, 1);
      }
    }
    need(found >= 0, "ibv_poll_cq");
    if (found == 0) continue;
    errno = EIO;
    need(completion.status == IBV_WC_SUCCESS, ibv_wc_status_str(completion.status));
    return;
  }
}

static int ascending(const void *a, const void *b) {
  const uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
  return left < right ? -1 : left > right;
}

static void ask(char **arguments) {
  const int block = strcmp(arguments[2], "block") == 0, visible = strcmp(arguments[3], "visible") == 0;
  const int cold = arguments[6] != NULL && strcmp(arguments[6], "cold") == 0;
  const size_t bytes = strtoul(arguments[4], NULL, 10), count = strtoul(arguments[5], NULL, 10);
  if (bytes == 0 || bytes > MEMORY || count == 0) {
    fprintf(stderr, "write-wait: 1 to %d bytes, and a count\n", MEMORY);
    exit(2);
  }
  struct rdma_cm_id *id = endpoint(arguments[0], arguments[1], 0);
  struct rdma_conn_param parameters = {.responder_resources = 4, .initiator_depth = 4, .retry_count = 6};
  need(rdma_connect(id, &parameters) == 0, "rdma_connect");
  struct place place;
  memcpy(&place, id->event->param.conn.private_data, sizeof place);
  unsigned char *memory = aligned_alloc(4096, MEMORY);
  memset(memory, 7, MEMORY);
  struct ibv_mr *registered = ibv_reg_mr(id->pd, memory, MEMORY, IBV_ACCESS_LOCAL_WRITE);
  need(registered != NULL, "ibv_reg_mr");
  uint64_t *times = calloc(count, sizeof *times);
  struct ibv_sge from = {(uintptr_t)memory, (uint32_t)bytes, registered->lkey};
  struct ibv_sge back = {(uintptr_t)memory + MEMORY - 1, 1, registered->lkey};
  struct ibv_send_wr read = {.sg_list = &back, .num_sge = 1, .opcode = IBV_WR_RDMA_READ, .send_flags = IBV_SEND_SIGNALED};
  struct ibv_send_wr write = {.sg_list = &from, .num_sge = 1, .opcode = IBV_WR_RDMA_WRITE};
  write.send_flags = (visible ? 0U : IBV_SEND_SIGNALED) | (bytes <= INLINE ? IBV_SEND_INLINE : 0U);
  write.next = visible ? &read : NULL;
  write.wr.rdma.remote_addr = read.wr.rdma.remote_addr = place.address;
  write.wr.rdma.rkey = read.wr.rdma.rkey = place.key;
  const size_t warm = count / 10;
  for (size_t i = 0; i < warm + count; ++i) {
    if (cold) runOtherCode();
    const uint64_t started = nanoseconds();
    struct ibv_send_wr *refused = NULL;
    need(ibv_post_send(id->qp, &write, &refused) == 0, "ibv_post_send");
    await(id, block);
    if (i >= warm) times[i - warm] = nanoseconds() - started;
  }
  qsort(times, count, sizeof *times, ascending);
  printf("{\"p50us\":%.2f,\"p99us\":%.2f,\"operations\":%zu}\n", (double)times[count / 2] / 1e3,
         (double)times[count * 99 / 100] / 1e3, count);
  rdma_disconnect(id);
  exit(0);
}

int main(int count, char **arguments) {
  if (count == 4 && strcmp(arguments[1], "serve") == 0) serve(arguments[2], arguments[3]);
  if ((count == 8 || count == 9) && strcmp(arguments[1], "ask") == 0) ask(arguments + 2);
  fprintf(stderr, "usage: write-wait serve ADDRESS PORT | ask ADDRESS PORT spin|block write|visible BYTES COUNT "
                  "[warm|cold]\n");
  return 2;
}

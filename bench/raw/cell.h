// cell.h -- what the raw limits share: the clock, memory that has been touched, and the count of one cell. The first
// tenth of a cell's time warms up and is not counted, as in bench/measure.js.
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#ifndef SPAN
#define SPAN (64 << 20)  // what the places of payloads take
#endif

enum { LATENCIES = 1 << 20 };

static inline void fail(const char* what) {
  perror(what);
  exit(1);
}

static inline double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static inline char* touched_memory(size_t bytes) {
  char* memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) fail("mmap");
  memset(memory, 0x5a, bytes);
  return memory;
}

struct cell {
  double start, end, seconds, countedFrom;
  int counting;
  uint64_t operations;
  size_t measured;
  double* latencies;
};

static inline struct cell begin(double seconds) {
  struct cell cell = {.seconds = seconds};
  cell.latencies = malloc(LATENCIES * sizeof *cell.latencies);
  if (cell.latencies == NULL) fail("malloc");
  cell.start = cell.countedFrom = now() + seconds / 10;
  cell.end = cell.start + seconds;
  return cell;
}

// Whether another operation begins at this time; counting begins with the first after the warm-up, however late that is.
static inline int goes_on(struct cell* cell, double at) {
  if (!cell->counting && at >= cell->start) {
    cell->counting = 1;
    cell->countedFrom = at;
    cell->end = at + cell->seconds;
    cell->operations = 0;
    cell->measured = 0;
  }
  return at < cell->end;
}

static inline void took(struct cell* cell, double seconds) {
  if (cell->measured < LATENCIES) cell->latencies[cell->measured++] = seconds * 1e6;
}

static inline int ascending(const void* a, const void* b) {
  double x = *(const double*)a, y = *(const double*)b;
  return (x > y) - (x < y);
}

static inline void print(struct cell* cell) {
  double elapsed = now() - cell->countedFrom, p50 = 0, p99 = 0;
  if (cell->measured > 0) {
    qsort(cell->latencies, cell->measured, sizeof *cell->latencies, ascending);
    p50 = cell->latencies[cell->measured / 2];
    p99 = cell->latencies[(size_t)((double)cell->measured * 0.99)];
  }
  printf("{\"operations\":%llu,\"seconds\":%.6f,\"p50us\":%.2f,\"p99us\":%.2f}\n",
         (unsigned long long)cell->operations, elapsed, p50, p99);
}

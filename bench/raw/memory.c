// memory.c -- a raw limit of the benchmark: memcpy of BYTES into one place after another of a ring.
//
//   memory BYTES SECONDS
#include "cell.h"

int main(int argc, char** argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: memory BYTES SECONDS\n");
    return 2;
  }
  const size_t bytes = strtoull(argv[1], NULL, 10);
  if (bytes == 0 || bytes > SPAN) return 2;
  char* from = touched_memory(bytes);
  char* ring = touched_memory(SPAN);
  struct cell cell = begin(strtod(argv[2], NULL));
  // The clock is read once in a few copies, so that it is not what is measured.
  const size_t copies = bytes < 65536 ? 65536 / bytes : 1;
  for (size_t at = 0; goes_on(&cell, now()); cell.operations += copies) {
    for (size_t i = 0; i < copies; i++) {
      memcpy(ring + at, from, bytes);
      __asm__ volatile("" : : "r"(ring) : "memory");
      at = at + 2 * bytes > SPAN ? 0 : at + bytes;
    }
  }
  print(&cell);
  return 0;
}

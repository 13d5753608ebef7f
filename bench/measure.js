// One cell of a benchmark: keeps `depth` calls in flight for a while and counts what was answered.

/** @typedef {{ operations: number, seconds: number, p50us: number, p99us: number }} Measurement */

/**
 * The first tenth of the time warms up and is not counted.
 * @param {(number: number) => unknown} call one operation; `number` counts them
 * @param {{ depth: number, seconds: number }} how
 * @returns {Promise<Measurement>}
 */
export async function measure(call, { depth, seconds }) {
  const start = performance.now() + seconds * 100
  let end = start + seconds * 1000
  let number = 0
  let operations = 0
  let countedFrom = start
  let counting = false
  /** @type {number[]} */
  const latencies = []

  async function worker() {
    for (;;) {
      const before = performance.now()
      if (!counting && before >= start) {
        counting = true
        countedFrom = before
        // However late it is: the machine may have been busy with something else.
        end = before + seconds * 1000
        operations = 0
        latencies.length = 0
      }
      if (before >= end) return
      await call(number++)
      operations++
      if (depth === 1) latencies.push((performance.now() - before) * 1000)
    }
  }
  await Promise.all(Array.from({ length: depth }, worker))
  const elapsed = (performance.now() - countedFrom) / 1000
  latencies.sort((a, b) => a - b)
  return {
    operations,
    seconds: elapsed,
    p50us: latencies[Math.floor(latencies.length / 2)] ?? 0,
    p99us: latencies[Math.floor(latencies.length * 0.99)] ?? 0,
  }
}

/** @param {readonly number[]} values */
export function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? (sorted[middle] ?? 0) : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2
}

/** Half the distance between the lowest and the highest, as a share of the median: how much to trust it. @param {readonly number[]} values */
export function spread(values) {
  const middle = median(values)
  return middle === 0 ? 0 : (Math.max(...values) - Math.min(...values)) / 2 / middle
}

/** For how long a process leaves its region to the others, and which events end that. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { RegionEvent, RegionEventType } from '../types.js'

/** How long a process that has handed over leaves the region to the others. */
const handOverMs = 5_000
/** How long a process that found the newest checkpoint damaged leaves the region alone, the first time and at most. */
const damagedMs = { first: 1_000, most: 30_000 }
/** Events after which the region may be available. */
const vacant: ReadonlySet<RegionEventType> = new Set(['owner-lost', 'released', 'deleted'])

export class Leave {
  /** Until when, and whose release is no reason to take the region until then: of every owner if of none. */
  #leaving: { until: number; epoch: bigint | undefined } | undefined
  /** How long it lasts when the region is found damaged once more. */
  #damagedMs = damagedMs.first

  get isOver(): boolean {
    return this.#leaving === undefined
  }

  /** Milliseconds until it is over by itself. */
  get ms(): number | undefined {
    return this.#leaving && Math.max(0, this.#leaving.until - performance.now())
  }

  /** @param epoch of the ownership that was given up */
  forOthers(epoch: bigint): void {
    this.#leaving = { epoch, until: performance.now() + handOverMs }
  }

  /** Somebody may restore the pool, or clear the log: longer each time until {@link afterWhole}. */
  forDamage(): void {
    this.#leaving = { epoch: undefined, until: performance.now() + this.#damagedMs }
    this.#damagedMs = Math.min(2 * this.#damagedMs, damagedMs.most)
  }

  /** What was read is whole. */
  afterWhole(): void {
    this.#damagedMs = damagedMs.first
  }

  /** Whether the event says that this process may try to take the region. A clear mends what was damaged. */
  isVacant({ type, epoch }: RegionEvent): boolean {
    if (type === 'cleared' && this.#leaving?.epoch === undefined) this.end()
    if (!vacant.has(type)) return false
    if (type !== 'released' || this.#leaving === undefined) return true
    return this.#leaving.epoch !== undefined && epoch !== this.#leaving.epoch
  }

  end(): void {
    this.#leaving = undefined
  }
}

/** The same values, and undefined whenever none has come for this long. The caller ends the iterator that it passed. */
export async function* orAfter<V>(
  iterator: AsyncIterableIterator<V>,
  waitMs: () => number | undefined,
): AsyncGenerator<V | undefined, void, undefined> {
  let next = iterator.next()
  for (;;) {
    next.catch(() => undefined)
    const ms = waitMs()
    const timer = new AbortController()
    const late = ms === undefined ? [] : [sleep(ms, undefined, { signal: timer.signal }).catch(() => undefined)]
    const result = await Promise.race([next, ...late])
    timer.abort()
    if (result === undefined) yield undefined
    else if (result.done) return
    else {
      yield result.value
      next = iterator.next()
    }
  }
}

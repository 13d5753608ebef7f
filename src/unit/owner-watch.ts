/**
 * Notices that owners are lost: at once when the data plane tells that a session has lost its last connection, and
 * otherwise when the first lease that could end by then does. Nobody is asked in between.
 */
import type { RegionRecord } from '../pool/slot.js'
import type { ServedRegions } from './served-regions.js'
import type { Sessions } from './sessions.js'

/** Timers end late, never early; a clock that stood still makes them end too soon, and they are set again. */
const leastWaitMs = 5
/** Bounds what a change that nobody told of could cost, and the largest timer. */
const mostWaitMs = 60_000
/** How often an owner that is lost is looked at: less than the shortest lease. */
const lookAgainMs = 100

export class OwnerWatch {
  readonly #served: ServedRegions
  readonly #sessions: Sessions
  readonly #tellLost: (record: RegionRecord, because: string) => void
  #timer: NodeJS.Timeout | undefined
  #due = Number.POSITIVE_INFINITY
  #closed = false

  /** @param tellLost called once for each loss */
  constructor(served: ServedRegions, sessions: Sessions, tellLost: (record: RegionRecord, because: string) => void) {
    this.#served = served
    this.#sessions = sessions
    this.#tellLost = tellLost
  }

  /** Something has changed: look now. */
  look(): void {
    if (this.#closed) return
    clearTimeout(this.#timer)
    this.#due = Number.POSITIVE_INFINITY
    this.within(this.#lookAtAll())
  }

  /** An owner can be lost in so many milliseconds. */
  within(ms: number): void {
    if (this.#closed || ms === Number.POSITIVE_INFINITY) return
    const wait = Math.min(Math.max(ms, leastWaitMs), mostWaitMs)
    const due = performance.now() + wait
    if (due >= this.#due) return
    this.#due = due
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.look(), wait)
    this.#timer.unref()
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#timer)
  }

  /** @returns in how many milliseconds another owner can be lost */
  #lookAtAll(): number {
    const states = this.#sessions.states()
    const msSinceReady = this.#served.sinceReady.look()
    let next = Number.POSITIVE_INFINITY
    let awaited = false
    for (const { record, served } of this.#served.all()) {
      if (record.owner === undefined) continue
      const { ownership } = served
      const left = ownership.livesMs(record.lease, states, msSinceReady)
      const because = ownership.takeLoss(record.lease, states, msSinceReady)
      if (because !== undefined) this.#tellLost(record, because)
      awaited ||= ownership.inherited && left > 0
      if (left > 0) next = Math.min(next, left)
      // It may come back, and be lost again.
      else if (ownership.owner !== undefined) next = Math.min(next, lookAgainMs)
    }
    if (!awaited) this.#served.sinceReady.stop()
    return next
  }
}

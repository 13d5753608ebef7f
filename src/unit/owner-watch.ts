/**
 * Notices that owners are lost: at once when the data plane tells that a session has lost its last connection, and
 * otherwise when the first lease that could end by then does. Nobody is asked in between.
 */

/** Timers end late, never early; a clock that stood still makes them end too soon, and they are set again. */
const leastWaitMs = 5
/** Bounds what a change that nobody told of could cost, and the largest timer. */
const mostWaitMs = 60_000

export class OwnerWatch {
  readonly #check: () => number
  #timer: NodeJS.Timeout | undefined
  #due = Number.POSITIVE_INFINITY
  #closed = false

  /** @param check looks at all owners, tells of those that are lost, and returns in how many ms the next one can be */
  constructor(check: () => number) {
    this.#check = check
  }

  /** Something has changed: look now. */
  look(): void {
    if (this.#closed) return
    clearTimeout(this.#timer)
    this.#due = Number.POSITIVE_INFINITY
    this.within(this.#check())
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
}

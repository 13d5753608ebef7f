/**
 * Timers of any length. Node's own fire at once when they are set to more than 2^31-1 ms, which is 24.8 days: longer waits are
 * made of several here, and Infinity never ends.
 */

/** The most that a timer of Node's can be set to. */
export const longestTimerMs = 2 ** 31 - 1

export class Timer {
  #timer: NodeJS.Timeout | undefined
  readonly #due: number
  readonly #then: () => void
  #holds = true

  /** Calls `then` once, after so many milliseconds. */
  constructor(ms: number, then: () => void) {
    this.#due = performance.now() + ms
    this.#then = then
    this.#set(ms)
  }

  cancel(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  /** Does not hold the process. */
  unref(): this {
    this.#holds = false
    this.#timer?.unref()
    return this
  }

  #set(ms: number): void {
    if (ms > longestTimerMs) this.#timer = setTimeout(() => this.#goOn(), longestTimerMs)
    else this.#timer = setTimeout(this.#then, Math.max(0, ms))
    if (!this.#holds) this.#timer.unref()
  }

  #goOn(): void {
    this.#set(this.#due - performance.now())
  }
}

/** A timer for a call's deadline; none where there is none. */
export function deadlineTimer(ms: number, then: () => void): Timer | undefined {
  return ms === Number.POSITIVE_INFINITY ? undefined : new Timer(ms, then)
}

/** Resolves after so many milliseconds, or at once when the signal is aborted. Never rejects. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      timer.cancel()
      signal?.removeEventListener('abort', done)
      resolve()
    }
    const timer = new Timer(ms, done)
    signal?.addEventListener('abort', done)
    if (signal?.aborted) done()
  })
}

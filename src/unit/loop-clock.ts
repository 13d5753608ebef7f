/**
 * Milliseconds of the event loop's own time: a gap between two of its turns counts little, as in the clock of leases (`native/unit/lease_clock.h`),
 * which runs on a thread of its own. Owners come back through the loop after a restart, so that their time to do so stands still with it.
 */
const tickMs = 25
/** Two ticks. */
const stepMs = 50

export class LoopClock {
  #elapsedMs = 0
  #last = performance.now()
  #timer: NodeJS.Timeout | undefined

  start(): void {
    this.stop()
    this.#elapsedMs = 0
    this.#last = performance.now()
    this.#timer = setInterval(() => this.look(), tickMs)
    this.#timer.unref()
  }

  /** Milliseconds since the start. */
  look(): number {
    const now = performance.now()
    this.#elapsedMs += Math.min(now - this.#last, stepMs)
    this.#last = now
    return this.#elapsedMs
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }
}

/**
 * How long to wait before the next try: longer each time, and not the same for all who lost the same unit at once. Never so long that
 * an owner could miss the time that a unit which was restarted leaves it to come back.
 */
const longestMs = 250

export class Backoff {
  #firstMs: number
  #ms = 0

  constructor(firstMs: number) {
    this.#firstMs = firstMs
  }

  /** A try has failed since the last that went well. */
  get pending(): boolean {
    return this.#ms > 0
  }

  /** Milliseconds: the first time about `firstMs`, then twice that, at most 312. */
  next(): number {
    this.#ms = Math.min(longestMs, Math.max(this.#firstMs, this.#ms * 2))
    return this.#ms * (0.75 + Math.random() / 2)
  }

  reset(): void {
    this.#ms = 0
  }
}

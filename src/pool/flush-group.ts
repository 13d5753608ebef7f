/** Combines flushes that are requested while another one runs into one call of the medium: they share its sync. */
import type { PoolMedium } from './medium.js'

export class FlushGroup {
  #ranges: number[] = []
  #next: Promise<void> | undefined
  #running: Promise<void> = Promise.resolve()
  readonly #medium: PoolMedium

  constructor(medium: PoolMedium) {
    this.#medium = medium
  }

  /** Settles when a flush that began after this call has ended. */
  flush(offset: number, length: number): Promise<void> {
    if (!this.#medium.durable) return Promise.resolve()
    this.#ranges.push(offset, length)
    this.#next ??= this.#running.then(() => {
      const ranges = this.#ranges
      this.#ranges = []
      this.#next = undefined
      const flushed = this.#medium.flush(ranges)
      this.#running = flushed.catch(() => undefined)
      return flushed
    })
    return this.#next
  }
}

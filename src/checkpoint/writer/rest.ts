/**
 * The tip that a log at rest gets. When nothing comes for a while, or ever, the log says where it ends, and that this was
 * acknowledged. Until then a reader cannot tell damage from what was never acknowledged.
 *
 * - At first it is a write without a flush, so that a pause between appends costs none: what it tells of is durable.
 * - After a longer rest, and before the region is closed, it is flushed. From then on a crash cannot take it.
 * - An owner that has appended nothing writes none: from a takeover to the first append no byte of the log changes.
 */
import type { Placement } from '../placement.js'
import type { RegionWriteAccess } from '../region-access.js'
import { posted } from './flights.js'
import type { LogEnd } from './log-end.js'

/** A log that nothing was appended to for so long is at rest. */
const restMs = 25
const flushAfterMs = 1_000
const longestMs = 1_000

export class Rest {
  readonly #access: RegionWriteAccess
  readonly #placement: Placement
  readonly #end: LogEnd
  readonly #isIdle: () => boolean
  #timer: NodeJS.Timeout | undefined
  #flushTimer: NodeJS.Timeout | undefined
  #unflushed = false

  constructor(access: RegionWriteAccess, placement: Placement, end: LogEnd, isIdle: () => boolean) {
    this.#access = access
    this.#placement = placement
    this.#end = end
    this.#isIdle = isIdle
  }

  /** Something was appended, or the log's end was found. */
  soon(): void {
    if (this.#timer !== undefined) return
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      if (this.#isIdle()) void this.#write(longestMs)
      else this.soon()
    }, restMs)
    this.#timer.unref()
  }

  /** Nothing will come any more. */
  async last(timeoutMs: number): Promise<void> {
    const end = performance.now() + Math.min(timeoutMs, longestMs)
    await this.#write(Math.max(1, end - performance.now()))
    if (end > performance.now()) await this.#flush(end - performance.now())
  }

  cancel(): void {
    clearTimeout(this.#timer)
    clearTimeout(this.#flushTimer)
  }

  async #write(timeoutMs: number): Promise<void> {
    if (!this.#isIdle() || !this.#end.known || !this.#end.wrote) return
    const writes = this.#placement.restingTip(this.#end.durableSequence)
    if (writes.length === 0) return
    this.#unflushed = true
    clearTimeout(this.#flushTimer)
    this.#flushTimer = setTimeout(() => void this.#flush(longestMs), flushAfterMs)
    this.#flushTimer.unref()
    // Whoever appends next says it again.
    await posted(() => this.#access.writeAll(writes, { durability: 'visible', timeoutMs })).catch(() => undefined)
  }

  async #flush(timeoutMs: number): Promise<void> {
    if (!this.#unflushed || !this.#isIdle() || !this.#end.known) return
    this.#unflushed = false
    await posted(() => this.#access.flush(this.#placement.tips, { timeoutMs })).catch(() => undefined)
  }
}

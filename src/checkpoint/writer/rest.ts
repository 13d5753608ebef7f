/**
 * The tip that a log at rest gets. When nothing comes for a while, or ever, the log says where it ends, and that this was
 * acknowledged. Until then a reader cannot tell damage from what was never acknowledged. It is a write and no flush: what it
 * tells of is durable.
 */
import type { Placement } from '../placement.js'
import type { RegionWriteAccess } from '../region-access.js'
import { posted } from './flights.js'
import type { LogEnd } from './log-end.js'

/** A log that nothing was appended to for so long is at rest. */
const restMs = 25
const longestRestMs = 1_000

export class Rest {
  readonly #access: RegionWriteAccess
  readonly #placement: Placement
  readonly #end: LogEnd
  readonly #isIdle: () => boolean
  #timer: NodeJS.Timeout | undefined

  constructor(access: RegionWriteAccess, placement: Placement, end: LogEnd, isIdle: () => boolean) {
    this.#access = access
    this.#placement = placement
    this.#end = end
    this.#isIdle = isIdle
  }

  /** Something was appended. */
  soon(): void {
    if (this.#timer !== undefined) return
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      if (this.#isIdle()) void this.now(longestRestMs)
      else this.soon()
    }, restMs)
    this.#timer.unref()
  }

  async now(timeoutMs: number): Promise<void> {
    if (!this.#isIdle() || !this.#end.known) return
    const writes = this.#placement.restingTip(this.#end.durableSequence)
    if (writes.length === 0) return
    const options = { durability: 'visible', timeoutMs: Math.min(timeoutMs, longestRestMs) } as const
    // Whoever appends next says it again.
    await posted(() => this.#access.writeAll(writes, options)).catch(() => undefined)
  }

  cancel(): void {
    clearTimeout(this.#timer)
  }
}

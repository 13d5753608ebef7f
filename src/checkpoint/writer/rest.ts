/**
 * The tip that a log at rest gets. When nothing comes for a while, or ever, the log says where it ends, and that this was
 * acknowledged. Until then a reader cannot tell damage from what was never acknowledged.
 *
 * - At first it is a write without a flush, so that a pause between appends costs none: what it tells of is durable.
 * - After a longer rest, and before the region is closed, it is written again, durably. From then on a crash cannot take it.
 * - One that could not be written is tried again, for as long as nothing is appended.
 * - An owner that has appended nothing writes none: from a takeover to the first append no byte of the log changes.
 */

import { promised } from '../../call/promised.js'
import type { Durability } from '../../types.js'
import type { RestingTip } from '../metadata/tip-writer.js'
import type { Placement } from '../placement.js'
import type { RegionWriteAccess } from '../region-access.js'
import type { LogEnd } from './log-end.js'

/** A log that nothing was appended to for so long is at rest. */
const restMs = 25
const flushAfterMs = 1_000
const longestMs = 1_000
const firstRetryMs = 250
const longestRetryMs = 60_000

export class Rest {
  readonly #access: RegionWriteAccess
  readonly #placement: Placement
  readonly #end: LogEnd
  readonly #isIdle: () => boolean
  #timer: NodeJS.Timeout | undefined
  #flushTimer: NodeJS.Timeout | undefined
  #retryTimer: NodeJS.Timeout | undefined
  #retryMs = firstRetryMs
  /** Written, and not durable. */
  #tip: RestingTip | undefined
  #ended = false

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
    this.#ended = true
    clearTimeout(this.#timer)
    clearTimeout(this.#flushTimer)
    clearTimeout(this.#retryTimer)
  }

  async #write(timeoutMs: number): Promise<void> {
    if (!this.#isIdle() || !this.#end.known || !this.#end.wrote) return
    const tip = this.#placement.restingTip(this.#end.durableSequence)
    if (tip === undefined) return
    this.#tip = tip
    clearTimeout(this.#flushTimer)
    this.#flushTimer = setTimeout(() => void this.#flush(longestMs), flushAfterMs)
    this.#flushTimer.unref()
    await this.#send(tip, 'visible', timeoutMs)
  }

  async #flush(timeoutMs: number): Promise<void> {
    const tip = this.#tip
    if (tip === undefined || !this.#isIdle() || !this.#end.known) return
    this.#tip = undefined
    if (tip.isNewest()) await this.#send(tip, 'durable', timeoutMs)
  }

  async #send(tip: RestingTip, durability: Durability, timeoutMs: number): Promise<void> {
    try {
      await promised(() => this.#access.writeAll(tip.writes, { durability, timeoutMs, upkeep: true }))
      this.#retryMs = firstRetryMs
    } catch {
      tip.failed()
      if (!this.#ended) this.#retry()
    }
  }

  #retry(): void {
    clearTimeout(this.#retryTimer)
    this.#retryTimer = setTimeout(() => void this.#write(longestMs), this.#retryMs)
    this.#retryTimer.unref()
    this.#retryMs = Math.min(this.#retryMs * 2, longestRetryMs)
  }
}

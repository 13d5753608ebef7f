/**
 * Room for the next record.
 *
 * Before a record is posted, three things hold: it overwrites nothing that the policy keeps, it leaves the newest settled
 * checkpoint as it is, and what it overwrites is reserved durably, so that a crash cannot leave less than the metadata says.
 */
import { CheckpointError } from '../../errors.js'
import { withOutcome } from '../../outcome.js'
import type { Placement } from '../placement.js'
import { compareOrder, type LogOrder } from '../record/order.js'
import type { RegionWriteAccess } from '../region-access.js'
import type { Calls } from './calls.js'
import type { Changes } from './changes.js'
import type { Flights } from './flights.js'
import type { JobQueue } from './job-queue.js'
import type { Answer } from './jobs.js'
import type { LogEnd } from './log-end.js'

const longestPollMs = 50
/** For a look at the saved cursors while the region is being closed. */
const lastLookMs = 1_000

export class Room {
  readonly #access: RegionWriteAccess
  readonly #placement: Placement
  readonly #end: LogEnd
  readonly #flights: Flights
  readonly #queue: JobQueue
  readonly #calls: Calls
  readonly #changes: Changes
  #cursors: readonly LogOrder[] = []

  constructor(
    access: RegionWriteAccess,
    placement: Placement,
    writer: { end: LogEnd; flights: Flights; queue: JobQueue; calls: Calls; changes: Changes },
  ) {
    this.#access = access
    this.#placement = placement
    this.#end = writer.end
    this.#flights = writer.flights
    this.#queue = writer.queue
    this.#calls = writer.calls
    this.#changes = writer.changes
  }

  /** @param first it is the first record of its checkpoint */
  has(cells: number, first: boolean): boolean {
    return (
      !this.#overwritesKept(cells) &&
      !this.#placement.overwritesNewest(cells, first) &&
      !this.#placement.unreserved(cells)
    )
  }

  /** One step towards room for so many cells: waits, or flushes, or rejects the answer. The caller looks again. */
  async make(answer: Answer, cells: number, first: boolean): Promise<void> {
    if (this.#overwritesKept(cells)) {
      await this.#awaitRelease(answer, cells)
    } else if (!this.#placement.overwritesNewest(cells, first)) {
      await this.#reserve(answer, cells)
    } else if (this.#flights.length > 0) {
      await this.#changes.next()
    } else {
      try {
        await this.#end.flush()
        if (!this.#end.rolledBack && this.#placement.overwritesNewest(cells, first)) {
          throw new CheckpointError('INTERNAL', 'The newest checkpoint leaves no room for the next.')
        }
      } catch (error) {
        this.#end.lose()
        answer.reject(withOutcome(error, 'none'))
      }
    }
  }

  #overwritesKept(cells: number): boolean {
    if (this.#access.onFull === 'drop-oldest') return false
    const released = (last: LogOrder) =>
      last.sequence < this.#end.header.firstSequence ||
      (this.#cursors.length > 0 && this.#cursors.every((cursor) => compareOrder(cursor, last) >= 0))
    return this.#placement.overwritesKept(cells, released)
  }

  /** Says durably how far what is in the ring may be overwritten, before it is. */
  async #reserve(answer: Answer, cells: number): Promise<void> {
    const { writes, reserved } = this.#placement.reservation(cells)
    try {
      if (writes.length > 0) {
        await this.#access.writeAll(writes, { durability: 'durable', timeoutMs: answer.writeTimeoutMs, upkeep: true })
      }
      if (!this.#end.rolledBack) reserved()
    } catch (error) {
      this.#end.lose()
      answer.reject(withOutcome(error, 'none'))
    }
  }

  /** Waits for a clear, or for saved cursors that have passed what would be overwritten. Barriers do not wait behind it. */
  async #awaitRelease(answer: Answer, cells: number): Promise<void> {
    if (this.#flights.troubled) return
    for (let delay = 1; !answer.settled; delay = Math.min(delay * 2, longestPollMs)) {
      for (const barrier of this.#queue.takeBarriers()) if (!barrier.answer.settled) barrier.reached()
      const { closing } = this.#calls
      try {
        this.#cursors = await this.#lookAtCursors(answer)
      } catch (error) {
        // The region began to be closed in the middle of the look: one more, which is short.
        if (closing === undefined && this.#calls.closing !== undefined) continue
        answer.reject(withOutcome(closing ?? error, 'none'))
        return
      }
      if (answer.settled || !this.#overwritesKept(cells) || this.#flights.troubled) return
      if (closing !== undefined) {
        answer.reject(withOutcome(closing, 'none'))
        return
      }
      if (this.#access.onFull === 'fail') {
        answer.reject(full(this.#access.name))
        return
      }
      if (this.#calls.closing === undefined) await this.#changes.next(delay)
    }
  }

  /** Given up when the answer is, or when the region begins to be closed. */
  async #lookAtCursors(answer: Answer): Promise<readonly LogOrder[]> {
    const over = new AbortController()
    const { closing } = this.#calls
    const stop = this.#changes.watch(() => {
      if (answer.settled || this.#calls.closing !== closing) over.abort()
    })
    try {
      const limit = closing === undefined ? {} : { timeoutMs: lastLookMs }
      return (await this.#access.metadata({ signal: over.signal, ...limit })).cursors
    } finally {
      stop()
    }
  }
}

function full(region: string): CheckpointError {
  return new CheckpointError('REGION_FULL', `Region ${JSON.stringify(region)} is full, and keeps what is in it.`, {
    help: 'clear({ before }) releases what is not needed, as do saved cursors that have passed it.',
  })
}

/**
 * What has happened to each region's life, for those who watch: the last events of each name, numbered so that a watcher
 * can go on where it was. It lies in memory; what a restart of the unit takes, a snapshot makes up for.
 */
import { CheckpointError } from '../errors.js'
import type { RegionEventType } from '../types.js'

export interface LoggedEvent {
  readonly type: RegionEventType
  readonly revision: bigint
  readonly epoch: bigint
  readonly atMs: number
  /** No change, but how the region stands: a watch begins, or events before this one are not kept any more. */
  readonly snapshot: boolean
}
/** How a region stands, as the event that would have led there. */
export type Standing = Pick<LoggedEvent, 'type' | 'epoch'>

interface Ring {
  events: LoggedEvent[]
  /** Everything after this revision is in `events`. */
  complete: bigint
}

export const eventsKept = 64
/** Names that have no region any more and are remembered. */
const namesRemembered = 1024

export class RegionEventLog {
  readonly #rings = new Map<string, Ring>()
  /** Names without a region, the longest deleted first. */
  readonly #deleted = new Set<string>()
  readonly #waiting = new Set<() => void>()
  #revision: bigint
  /** Of names that have no ring: nothing up to here is known of them. */
  #forgotten: bigint
  #closed = false

  /** @param unitStart of this start of the unit; revisions are above those of any lower one */
  constructor(unitStart: bigint) {
    this.#revision = firstRevision(unitStart)
    this.#forgotten = this.#revision
  }

  add(name: string, type: RegionEventType, epoch: bigint): void {
    const ring = this.#rings.get(name) ?? { events: [], complete: this.#forgotten }
    this.#rings.set(name, ring)
    ring.events.push({ type, epoch, revision: ++this.#revision, atMs: Date.now(), snapshot: false })
    if (ring.events.length > eventsKept) ring.complete = ring.events.shift()?.revision ?? ring.complete
    if (type === 'deleted') this.#deleted.add(name)
    else this.#deleted.delete(name)
    this.#forgetOldest()
    for (const wake of [...this.#waiting]) wake()
  }

  /**
   * Events of a region's name after a revision, as they come; never ends by itself. Where the revision is not given, or
   * some after it are not kept any more, it begins with a snapshot. A reader slower than the events gets one, too.
   * @throws CheckpointError `UNIT_STOPPING` once the log is closed
   */
  async *watch(
    name: string,
    since: bigint | undefined,
    standing: () => Standing,
    signal: AbortSignal,
  ): AsyncGenerator<LoggedEvent, void, undefined> {
    let position = since
    while (!signal.aborted) {
      if (this.#closed) throw new CheckpointError('UNIT_STOPPING', 'The unit is stopping.', { retryable: true })
      const next = this.#next(name, position, standing)
      if (next === undefined) await this.#change(signal)
      else {
        position = next.revision
        yield next
      }
    }
  }

  /** Ends every watch. */
  close(): void {
    this.#closed = true
    for (const wake of [...this.#waiting]) wake()
  }

  #next(name: string, after: bigint | undefined, standing: () => Standing): LoggedEvent | undefined {
    const ring = this.#rings.get(name)
    const complete = ring?.complete ?? this.#forgotten
    // A revision of the future is of another pool's unit.
    if (after === undefined || after < complete || after > this.#revision) {
      return { ...standing(), revision: this.#revision, atMs: Date.now(), snapshot: true }
    }
    return ring?.events.find(({ revision }) => revision > after)
  }

  #change(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        this.#waiting.delete(wake)
        signal.removeEventListener('abort', wake)
        resolve()
      }
      this.#waiting.add(wake)
      signal.addEventListener('abort', wake)
      if (signal.aborted || this.#closed) wake()
    })
  }

  #forgetOldest(): void {
    if (this.#deleted.size <= namesRemembered) return
    const [oldest] = this.#deleted
    if (oldest === undefined) return
    this.#deleted.delete(oldest)
    const last = this.#rings.get(oldest)?.events.at(-1)?.revision
    if (last !== undefined && last > this.#forgotten) this.#forgotten = last
    this.#rings.delete(oldest)
  }
}

/**
 * The number of the unit's start in the high bits. A pool in a file counts its starts: 24 bits, and 40 for the events of one. A pool
 * in memory begins with the milliseconds of its first start, 42 bits: the 22 that are left cannot overtake them, since
 * nothing makes four million events in each millisecond.
 */
export function firstRevision(unitStart: bigint): bigint {
  return unitStart < 1n << 24n ? unitStart << 40n : unitStart << 22n
}

/**
 * The calls on a region's logs that have no answer, and the end of the region.
 *
 * Every call is settled: with its answer, when its time is over, when the connection has been gone for too long, or when the
 * region ends. One timer serves all of them.
 */
import { notDurableError } from '../../call/not-durable.js'
import { deadlineTimer, type Timer } from '../../call/timer.js'
import type { CheckpointError } from '../../errors.js'
import { withOutcome } from '../../outcome.js'
import type { CallOptions, Durability, WriteOptions } from '../../types.js'
import type { RegionWriteAccess } from '../region-access.js'
import type { Changes } from './changes.js'
import { Answer, Clearing, type Unanswered, Waiting } from './jobs.js'

export class Calls {
  /** Nothing new is taken; what can still be done is. */
  closing: CheckpointError | undefined
  /** The region has ended: nothing is done any more. */
  failure: CheckpointError | undefined
  readonly #access: RegionWriteAccess
  readonly #changes: Changes
  readonly #unanswered: () => Iterable<Unanswered>
  #pending = 0
  #timer: Timer | undefined
  #due = Number.POSITIVE_INFINITY
  readonly #onSettled = () => {
    this.#pending--
    this.#changes.wake()
  }

  /** @param unanswered all calls without an answer; one may turn up more than once */
  constructor(access: RegionWriteAccess, changes: Changes, unanswered: () => Iterable<Unanswered>) {
    this.#access = access
    this.#changes = changes
    this.#unanswered = unanswered
  }

  requireOpen(): void {
    const ended = this.failure ?? this.closing
    if (ended !== undefined) throw withOutcome(ended, 'none')
  }

  append(options: WriteOptions): Answer {
    const durability = options.durability ?? this.#access.strongest
    this.requireDurability(durability)
    this.requireOpen()
    return this.#expect(new Answer(options, durability, this.#onSettled))
  }

  clearing(options: CallOptions): Clearing {
    return this.#expect(new Clearing(options, this.#onSettled))
  }

  barrier(): Waiting<void> {
    return this.#expect(new Waiting<void>('The call', {}, this.#onSettled))
  }

  /** @throws CheckpointError `NOT_DURABLE` */
  requireDurability(durability: Durability | undefined): void {
    if (durability !== 'durable' || this.#access.strongest === 'durable') return
    throw notDurableError(this.#access.name)
  }

  /** The connection has broken: the time that calls have is shorter now. */
  noteBroken(): void {
    if (this.#pending > 0) this.#sweep()
  }

  #expect<W extends Unanswered>(waiting: W): W {
    this.#pending++
    const end = this.#endOf(waiting)
    if (end < this.#due) this.#setTimer(end)
    return waiting
  }

  /** As for calls on the region: without a connection none waits for longer than it takes to give one up. */
  #endOf({ deadline, startedAt }: Unanswered): number {
    const { brokenAt, retryMs } = this.#access
    return brokenAt === undefined || retryMs === undefined
      ? deadline
      : Math.min(deadline, Math.max(brokenAt, startedAt) + retryMs)
  }

  #setTimer(due: number): void {
    this.#timer?.cancel()
    this.#due = due
    this.#timer = deadlineTimer(due - performance.now(), () => this.#sweep())?.unref()
  }

  /** Ends the calls whose time is over. */
  #sweep(): void {
    const now = performance.now()
    let next = Number.POSITIVE_INFINITY
    for (const waiting of this.#unanswered()) {
      if (waiting.settled) continue
      const end = this.#endOf(waiting)
      if (end > now) next = Math.min(next, end)
      else waiting.expire((call, outcome) => this.#access.lost?.(call, outcome))
    }
    this.#setTimer(next)
  }
}

/** The events of a ProcessPair. */
import { eventFacts, printsAs } from '../call/printed.js'
import { type ClientEvents, ConnectionEvent, LogEvent, OwnershipEvent } from '../client/client-events.js'

export type Role = 'joining' | 'standby' | 'primary' | 'stopped'

/** `role`, `epoch` and `error` of a ProcessPair. */
export class PairEvent extends Event {
  declare readonly type: 'role' | 'epoch' | 'error'
  readonly role: Role
  readonly epoch: bigint
  /** In `error` events: what failed and is tried again, or what `onPrimary` rejected with after its term was over. */
  readonly error: unknown
  /**
   * In the `role` event for `primary`: milliseconds from the moment the process knew that the region was available until it
   * owned the region, and from then until the state was restored, which is now.
   */
  readonly took: { openMs: number; restoreMs: number } | undefined

  /** @internal */
  constructor(type: PairEvent['type'], detail: Pick<PairEvent, 'role' | 'epoch'> & Partial<PairEvent>) {
    super(type)
    this.role = detail.role
    this.epoch = detail.epoch
    this.error = detail.error
    this.took = detail.took
  }
}

/**
 * Why a ProcessPair makes no progress: the unit cannot be reached; the work of a term that is over has not ended; the newest
 * checkpoint is damaged.
 */
export type WaitingReason = 'unit' | 'work' | 'damage'

/** `waiting` of a ProcessPair: dispatched when a wait begins, and again every 10 s while it lasts. */
export class WaitingEvent extends Event {
  declare readonly type: 'waiting'
  readonly reason: WaitingReason
  /** The reason as one line of text. */
  readonly message: string
  /** Milliseconds since the wait began. */
  readonly forMs: number
  /** Of `unit` and `damage`: what the last try failed with. Of `work`: the reason of the primary's signal. */
  readonly error: unknown

  /** @internal */
  constructor(detail: Pick<WaitingEvent, 'reason' | 'message' | 'forMs' | 'error'>) {
    super('waiting')
    this.reason = detail.reason
    this.message = detail.message
    this.forMs = detail.forMs
    this.error = detail.error
  }
}

for (const event of [PairEvent, WaitingEvent]) printsAs<Event>(event, eventFacts)

/** The events of a ProcessPair by type, including those of its client. */
export interface PairEvents extends ClientEvents {
  /** The role has changed. */
  role: PairEvent
  /** The region has another owner. */
  epoch: PairEvent
  /** Something failed that does not end `run()`. */
  error: PairEvent
  /** The pair makes no progress; the event says why. */
  waiting: WaitingEvent
}

/** The same event for another target. */
export function retoldEvent<E extends ConnectionEvent | OwnershipEvent | LogEvent>(event: E): E
export function retoldEvent(event: ConnectionEvent | OwnershipEvent | LogEvent): Event {
  if (event instanceof ConnectionEvent) return new ConnectionEvent(event.type, event)
  return event instanceof LogEvent ? new LogEvent(event.type, event) : new OwnershipEvent(event.type, event)
}

const againMs = 10_000

/** Reports what the pair waits for, for as long as it waits. */
export class Patience {
  readonly #tell: (event: WaitingEvent) => void
  #waits = new Map<WaitingReason, { since: number; message: string; error: unknown; timer: NodeJS.Timeout }>()

  constructor(tell: (event: WaitingEvent) => void) {
    this.#tell = tell
  }

  /**
   * A wait begins. If it is running already, its message and error are replaced.
   * @param afterMs how long the wait may last before it is reported
   */
  begin(reason: WaitingReason, message: string, error: unknown, afterMs = 0): void {
    const known = this.#waits.get(reason)
    if (known !== undefined) {
      Object.assign(known, { message, error })
      return
    }
    const since = performance.now()
    const timer = setTimeout(() => this.#again(reason), afterMs)
    timer.unref()
    this.#waits.set(reason, { since, message, error, timer })
  }

  end(reason?: WaitingReason): void {
    for (const [key, { timer }] of [...this.#waits]) {
      if (reason !== undefined && key !== reason) continue
      clearTimeout(timer)
      this.#waits.delete(key)
    }
  }

  #again(reason: WaitingReason): void {
    const wait = this.#waits.get(reason)
    if (wait === undefined) return
    const { since, message, error } = wait
    wait.timer = setTimeout(() => this.#again(reason), againMs)
    wait.timer.unref()
    this.#tell(new WaitingEvent({ reason, message, error, forMs: Math.round(performance.now() - since) }))
  }
}

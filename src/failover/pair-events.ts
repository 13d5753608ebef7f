/** What a ProcessPair tells of itself. */
import { eventFacts, printsAs } from '../call/printed.js'
import { type ClientEvents, ConnectionEvent, LogEvent, OwnershipEvent } from '../client/client-events.js'

export type Role = 'joining' | 'standby' | 'primary' | 'stopped'

/** `role`, `epoch` and `error` of a ProcessPair. */
export class PairEvent extends Event {
  declare readonly type: 'role' | 'epoch' | 'error'
  readonly role: Role
  readonly epoch: bigint
  /** Of `error` events: what went wrong and is tried again, or what the work of a term that was over rejected with. */
  readonly error: unknown
  /**
   * Of the `role` event that says `primary`: milliseconds from the moment it knew that the region could be had until it had it,
   * and from then until the state was restored, which is now.
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

/** `waiting` of a ProcessPair: told when a wait begins, and again every 10 s while it lasts. */
export class WaitingEvent extends Event {
  declare readonly type: 'waiting'
  readonly reason: WaitingReason
  /** The same for people, in one line. */
  readonly message: string
  /** Milliseconds since it began to wait. */
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

/** The events of a ProcessPair, by their types. Those of its client are told as its own. */
export interface PairEvents extends ClientEvents {
  /** It has become a standby, primary, ... */
  role: PairEvent
  /** The region has another owner. */
  epoch: PairEvent
  /** Something failed that does not end `run()`. */
  error: PairEvent
  /** It does not get on, and why. */
  waiting: WaitingEvent
}

/** The same event for another target. */
export function retoldEvent<E extends ConnectionEvent | OwnershipEvent | LogEvent>(event: E): E
export function retoldEvent(event: ConnectionEvent | OwnershipEvent | LogEvent): Event {
  if (event instanceof ConnectionEvent) return new ConnectionEvent(event.type, event)
  return event instanceof LogEvent ? new LogEvent(event.type, event) : new OwnershipEvent(event.type, event)
}

const againMs = 10_000

/** Tells that something is waited for, for as long as it is. */
export class Patience {
  readonly #tell: (event: WaitingEvent) => void
  #waits = new Map<WaitingReason, { since: number; message: string; error: unknown; timer: NodeJS.Timeout }>()

  constructor(tell: (event: WaitingEvent) => void) {
    this.#tell = tell
  }

  /**
   * What it is that is waited for now. Of one wait the latest message and error are told.
   * @param afterMs how long it may last before it is worth telling
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

/** What waits in a writer's queue, and the promise each caller holds. */
import { type Abortable, unwatchAbort, watchAbort } from '../../abort-watch.js'
import { defaultTimeoutMs, timeoutOf } from '../../call/check.js'
import { hold, release } from '../../call/hold.js'
import { CheckpointError, type Outcome } from '../../errors.js'
import type { Ack, CallOptions, Durability, WriteOptions } from '../../types.js'
import type { ChainLink } from '../delta/chain.js'
import type { RecordFields } from '../record/header.js'
import type { RegionWriteAccess } from '../region-access.js'

export type Appended = Ack & { sequence: bigint }
export type Staging = ReturnType<RegionWriteAccess['staging']>

/**
 * The promise of one call that waits in the queue, which holds the process until it is settled. The caller's signal, its deadline and
 * the end of the region settle it early; what is on its way meanwhile stays on its way.
 */
export class Waiting<R> implements Abortable {
  readonly promise: Promise<R>
  readonly signal: AbortSignal | undefined
  /** In ms of performance.now(). */
  readonly calledAt = performance.now()
  /** When it gives up; Infinity for never. */
  expires: number
  settled = false
  readonly #what: string
  readonly #onEnd: () => void
  #resolve: (result: R) => void = () => {}
  #reject: (error: unknown) => void = () => {}

  /**
   * @param what it is, for messages: "The append"
   * @param timeoutMs Infinity for none
   */
  constructor(what: string, signal: AbortSignal | undefined, timeoutMs: number, onEnd: () => void) {
    if (signal?.aborted) throw new CheckpointError('ABORTED', `${what} was aborted.`, { cause: signal.reason })
    this.#what = what
    this.signal = signal
    this.expires = this.calledAt + timeoutMs
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    this.#onEnd = onEnd
    if (signal !== undefined) watchAbort(signal, this)
    hold()
  }

  /** Of a failure from here on. */
  get outcome(): Outcome {
    return 'none'
  }

  onAbort(): void {
    const { outcome } = this
    this.reject(new CheckpointError('ABORTED', `${this.#what} was aborted.`, { outcome, cause: this.signal?.reason }))
  }

  /** Its time is over. @param lost why, where the connection does not stand */
  expire(lost?: (call: string, outcome: Outcome) => CheckpointError | undefined): void {
    const { outcome } = this
    this.reject(
      lost?.(this.#what, outcome) ??
        new CheckpointError('TIMEOUT', `The deadline of ${uncapitalized(this.#what)} passed.`, {
          outcome,
          retryable: outcome === 'none',
        }),
    )
  }

  resolve(result: R): void {
    if (this.#end()) this.#resolve(result)
  }

  reject(error: unknown): void {
    if (this.#end()) this.#reject(error)
  }

  #end(): boolean {
    if (this.settled) return false
    this.settled = true
    release()
    if (this.signal !== undefined) unwatchAbort(this.signal, this)
    this.#onEnd()
    return true
  }
}

/** The promise of one append. */
export class Answer extends Waiting<Appended> {
  readonly durability: Durability
  /** For the write itself: at least the default, since it cannot be taken back. */
  readonly writeTimeoutMs: number
  /** It may be in the log from now on. */
  sent = false

  /** @param options checked ones */
  constructor(options: WriteOptions, durability: Durability, onEnd: () => void) {
    const timeoutMs = timeoutOf(options)
    super('The append', options.signal, timeoutMs, onEnd)
    this.durability = durability
    this.writeTimeoutMs = Math.max(timeoutMs, defaultTimeoutMs)
  }

  override get outcome(): Outcome {
    return this.sent ? 'unknown' : 'none'
  }
}

/** The promise of a clear. */
export class Clearing extends Waiting<Ack> {
  /** The log header is on its way. */
  sent = false

  /** @param options checked ones */
  constructor(options: CallOptions, onEnd: () => void) {
    super('The clear', options.signal, timeoutOf(options), onEnd)
  }

  override get outcome(): Outcome {
    return this.sent ? 'unknown' : 'none'
  }
}

/** A snapshot taken, header still to be written in front of it. */
export interface RecordJob {
  readonly kind: 'record'
  readonly answer: Answer
  readonly staging: Staging
  readonly payloadBytes: number
  readonly payloadCrc: number
  readonly codec: number
  readonly schema: number
  readonly cells: number
  /** Of a log that writes deltas: what the next may build on. With a base it is a delta itself. */
  readonly link?: ChainLink
}

export interface StreamJob {
  readonly kind: 'stream'
  readonly answer: Answer
  /** Without a deadline of the caller's: how long its source, or the unit, may go without a step. */
  readonly patienceMs: number | undefined
  readonly chunks: AsyncIterable<Uint8Array>
  /** Undefined when it is not known before the end. */
  readonly totalBytes: number | undefined
  readonly codec: number
  readonly schema: number
}

/** What a record says, apart from where it goes. */
export type RecordContent = Pick<
  RecordFields,
  'kind' | 'flags' | 'codec' | 'schema' | 'part' | 'offset' | 'payloadBytes' | 'totalBytes' | 'payloadCrc'
> & { baseSequence?: bigint }

/** Reached when everything before it has been sent, or waits for space. */
export interface BarrierJob {
  readonly kind: 'barrier'
  readonly answer: Waiting<void> | Clearing
  /** What is done then is the answer's to tell. */
  readonly reached: () => void
}

export type Unanswered = Answer | Clearing | Waiting<void>

export type Job = RecordJob | StreamJob | BarrierJob

function uncapitalized(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1)
}

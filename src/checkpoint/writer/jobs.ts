/** What waits in a writer's queue, and the promise each caller holds. */
import { QueuedCall } from '../../call/call.js'
import { defaultTimeoutMs, requireNotAborted } from '../../call/check.js'
import type { CheckpointError, Outcome } from '../../errors.js'
import type { Ack, CallOptions, Durability, WriteOptions } from '../../types.js'
import type { ChainEntry } from '../delta/chain.js'
import type { RecordFields } from '../record/header.js'
import type { RegionWriteAccess } from '../region-access.js'

export type Appended = Ack & { sequence: bigint }
export type Staging = ReturnType<RegionWriteAccess['staging']>

/** One call that waits in the queue. What is on its way when it is given up stays on its way. */
export class Waiting<R> extends QueuedCall<R> {
  readonly #onSettled: () => void

  /**
   * @param what it is, for messages: "The append"
   * @param options checked ones
   * @throws CheckpointError `ABORTED`
   */
  constructor(what: string, options: CallOptions, onSettled: () => void) {
    requireNotAborted(options)
    super(what, options)
    this.#onSettled = onSettled
  }

  /** Its time is over. @param lost why, where the connection does not stand */
  expire(lost?: (call: string, outcome: Outcome) => CheckpointError | undefined): void {
    this.reject(lost?.(this.what, this.outcome) ?? this.lateError())
  }

  /** What may be in the log is not to be written once more. */
  protected override isRepeatable(outcome: Outcome): boolean {
    return outcome === 'none'
  }

  protected override onSettled(): void {
    this.#onSettled()
  }
}

/** One append. */
export class Answer extends Waiting<Appended> {
  readonly durability: Durability
  /** For the write itself: at least the default, since it cannot be taken back. */
  readonly writeTimeoutMs: number
  /** It may be in the log from now on. */
  sent = false

  /** @param options checked ones */
  constructor(options: WriteOptions, durability: Durability, onSettled: () => void) {
    super('The append', options, onSettled)
    this.durability = durability
    this.writeTimeoutMs = Math.max(this.timeoutMs, defaultTimeoutMs)
  }

  override get outcome(): Outcome {
    return this.sent ? 'unknown' : 'none'
  }
}

/** One clear. */
export class Clearing extends Waiting<Ack> {
  /** The log header is on its way. */
  sent = false

  /** @param options checked ones */
  constructor(options: CallOptions, onSettled: () => void) {
    super('The clear', options, onSettled)
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
  readonly entry?: ChainEntry
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

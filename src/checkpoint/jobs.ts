/** What waits in a writer's queue, and the promise each caller holds. */

import { defaultTimeoutMs, timeoutOf } from '../call/check.js'
import { hold, release } from '../call/hold.js'
import { deadlineTimer, type Timer } from '../call/timer.js'
import { CheckpointError, type Outcome } from '../errors.js'
import type { Ack, Durability, WriteOptions } from '../types.js'
import type { ChainLink } from './delta-chain.js'
import type { RegionWriteAccess } from './region-access.js'

export type Appended = Ack & { sequence: bigint }
export type Staging = ReturnType<RegionWriteAccess['staging']>

/** The promise of one append, which holds the process until it is settled. The caller's signal and timeout end it early, but never the write that is on its way. */
export class Answer {
  readonly promise: Promise<Appended>
  readonly durability: Durability
  readonly signal: AbortSignal | undefined
  /** When a call that has to wait for space gives up, in ms of performance.now(). */
  readonly expires: number
  /** For the write itself: at least the default, since it cannot be taken back. */
  readonly writeTimeoutMs: number
  /** Part of it is on its way. */
  sent = false
  settled = false
  #resolve: (appended: Appended) => void = () => {}
  #reject: (error: unknown) => void = () => {}
  #timer: Timer | undefined
  readonly #onAbort = () => {
    this.reject(
      new CheckpointError('ABORTED', 'The append was aborted.', {
        outcome: this.#outcome(),
        cause: this.signal?.reason,
      }),
    )
  }

  /** @param options checked ones */
  constructor(options: WriteOptions, durability: Durability, onEnd: () => void) {
    const { signal } = options
    const timeoutMs = timeoutOf(options)
    if (signal?.aborted) throw new CheckpointError('ABORTED', 'The append was aborted.', { cause: signal.reason })
    this.durability = durability
    this.signal = signal
    this.expires = performance.now() + timeoutMs
    this.writeTimeoutMs = Math.max(timeoutMs, defaultTimeoutMs)
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    this.#onEnd = onEnd
    signal?.addEventListener('abort', this.#onAbort)
    if (options.timeoutMs !== undefined) this.#timer = deadlineTimer(timeoutMs, () => this.expire())
    hold()
  }

  readonly #onEnd: () => void

  expire(): void {
    this.reject(
      new CheckpointError('TIMEOUT', 'The deadline of the append passed.', {
        outcome: this.#outcome(),
        retryable: !this.sent,
      }),
    )
  }

  resolve(appended: Appended): void {
    if (this.#end()) this.#resolve(appended)
  }

  reject(error: unknown): void {
    if (this.#end()) this.#reject(error)
  }

  #end(): boolean {
    if (this.settled) return false
    this.settled = true
    release()
    this.#timer?.cancel()
    this.signal?.removeEventListener('abort', this.#onAbort)
    this.#onEnd()
    return true
  }

  #outcome(): Outcome {
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
  readonly chunks: AsyncIterable<Uint8Array>
  /** Undefined when it is not known before the end. */
  readonly totalBytes: number | undefined
  readonly codec: number
  readonly schema: number
}

/** Reached when everything before it has been sent, or waits for space. */
export interface BarrierJob {
  readonly kind: 'barrier'
  readonly reached: () => void
  readonly failed: (error: unknown) => void
}

export type Job = RecordJob | StreamJob | BarrierJob

/** The same error for another call that it takes down, with that call's own outcome. */
export function withOutcome(cause: unknown, outcome: Outcome): unknown {
  if (!(cause instanceof CheckpointError) || cause.outcome === outcome) return cause
  const { code, message, retryable, help, details } = cause
  return new CheckpointError(code, message, {
    cause,
    outcome,
    retryable,
    ...(help === undefined ? {} : { help }),
    ...(details === undefined ? {} : { details }),
  })
}

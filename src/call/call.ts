/**
 * One call while it waits: what it is, its signal, until when it may last, and what it may have done if it fails. Whatever waits on
 * behalf of a caller waits by one of these, so that a time-out and an abort are the same everywhere.
 *
 * Invariants:
 * - Times are on performance.now()'s clock; Infinity is none. A wait may be longer than a timer of Node's can be set to.
 * - The options are checked ones (see options.ts): nothing is validated here.
 * - Giving a call up ends the wait for it. What it waits for goes on.
 */
import { CheckpointError, type Outcome } from '../errors.js'
import type { CallOptions } from '../types.js'
import { type Abortable, unwatchAbort, watchAbort } from './abort-watch.js'
import { timeoutOf } from './check.js'
import { hold, release } from './hold.js'
import { deadlineTimer } from './timer.js'

export class Call {
  /** For messages, the beginning of a sentence: "The append", "Opening region 'orders'". */
  readonly what: string
  readonly signal: AbortSignal | undefined
  readonly timeoutMs: number
  startedAt: number
  deadline: number
  readonly #outcome: Outcome

  /** @param outcome of a failure; where it changes with time, by an override of {@link outcome} */
  constructor(what: string, options: CallOptions = {}, outcome: Outcome = 'none') {
    this.what = what
    this.signal = options.signal
    this.timeoutMs = timeoutOf(options)
    this.#outcome = outcome
    this.startedAt = performance.now()
    this.deadline = this.startedAt + this.timeoutMs
  }

  /** What a failure from here on may have done. */
  get outcome(): Outcome {
    return this.#outcome
  }

  /** Milliseconds, 0 when its time is over. */
  get leftMs(): number {
    return Math.max(0, this.deadline - performance.now())
  }

  /** The time begins again: for one that covers many steps with the caller's own work in between. */
  restart(): void {
    this.startedAt = performance.now()
    this.deadline = this.startedAt + this.timeoutMs
  }

  /** @throws CheckpointError `ABORTED` or `TIMEOUT` */
  check(outcome: Outcome = this.outcome): void {
    if (this.signal?.aborted) throw this.abortedError(outcome)
    if (performance.now() > this.deadline) throw this.lateError(outcome)
  }

  /**
   * Options for one of the calls that this one makes.
   * @throws CheckpointError `ABORTED` or `TIMEOUT`
   */
  rest(): CallOptions {
    this.check()
    // What is left of 2^53-1 may be rounded up to more than a call takes; 0 would be no deadline.
    const left = Math.min(Math.ceil(this.leftMs), Number.MAX_SAFE_INTEGER)
    const timeoutMs = this.deadline === Number.POSITIVE_INFINITY ? this.deadline : Math.max(1, left)
    return this.signal === undefined ? { timeoutMs } : { timeoutMs, signal: this.signal }
  }

  /** Calls `then` once with `ABORTED` or `TIMEOUT`, should the call be given up. @returns what ends the watch */
  onGivenUp(then: (error: CheckpointError) => void): () => void {
    const { signal } = this
    const give = (error: CheckpointError) => {
      end()
      then(error)
    }
    const aborts: Abortable = { onAbort: () => give(this.abortedError()) }
    const timer = deadlineTimer(this.leftMs, () => give(this.lateError()))
    const end = () => {
      timer?.cancel()
      if (signal !== undefined) unwatchAbort(signal, aborts)
    }
    if (signal?.aborted) give(this.abortedError())
    else if (signal !== undefined) watchAbort(signal, aborts)
    return end
  }

  /** The same promise, unless the call is given up first. @throws CheckpointError `ABORTED` or `TIMEOUT` */
  race<T>(promise: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const end = this.onGivenUp(reject)
      promise.then(resolve, reject).finally(end)
    })
  }

  abortedError(outcome: Outcome = this.outcome): CheckpointError {
    return new CheckpointError('ABORTED', `${this.what} was aborted.`, { outcome, cause: this.signal?.reason })
  }

  lateError(outcome: Outcome = this.outcome): CheckpointError {
    const message = `${this.what} did not end within ${Math.ceil(this.deadline - this.startedAt)} ms.`
    return new CheckpointError('TIMEOUT', message, { outcome, retryable: this.isRepeatable(outcome) })
  }

  /** The same call may be made again after a failure with that outcome. */
  protected isRepeatable(_outcome: Outcome): boolean {
    return true
  }
}

/**
 * A call that waits in a queue, and the promise that its caller holds. It settles once. The signal settles it early; its deadline is for
 * the owner of the queue to look at, by one timer for all of them.
 */
export class QueuedCall<R> extends Call implements Abortable {
  readonly promise: Promise<R>
  settled = false
  readonly #holds: boolean
  #resolve!: (result: R) => void
  #reject!: (error: unknown) => void

  /** @param holds the process, until it is settled */
  constructor(what: string, options: CallOptions, holds = true) {
    super(what, options)
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    this.#holds = holds
    if (this.signal !== undefined) watchAbort(this.signal, this)
    if (holds) hold()
  }

  onAbort(): void {
    this.reject(this.abortedError())
  }

  resolve(result: R): void {
    if (this.#settle()) this.#resolve(result)
  }

  reject(error: unknown): void {
    if (this.#settle()) this.#reject(error)
  }

  /** It has been settled, by whatever. */
  protected onSettled(): void {}

  #settle(): boolean {
    if (this.settled) return false
    this.settled = true
    if (this.#holds) release()
    if (this.signal !== undefined) unwatchAbort(this.signal, this)
    this.onSettled()
    return true
  }
}

/** The same promise, unless the signal aborts first: then it rejects with the reason of that. */
export function unlessAborted<T>(signal: AbortSignal, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const call: Abortable = { onAbort: () => reject(signal.reason) }
    if (signal.aborted) call.onAbort()
    else watchAbort(signal, call)
    promise.then(resolve, reject).finally(() => unwatchAbort(signal, call))
  })
}

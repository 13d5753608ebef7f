/** One deadline and abort signal for a call that makes many reads. */
import { timeoutOf } from '../call/check.js'
import { takeCall } from '../call/options.js'
import { CheckpointError } from '../errors.js'
import type { CallOptions } from '../types.js'

export class Deadline {
  readonly signal: AbortSignal | undefined
  readonly #timeoutMs: number
  #end = Number.POSITIVE_INFINITY

  /** @throws CheckpointError `INVALID_ARGUMENT`; `ABORTED` when the signal is already */
  constructor(options?: CallOptions) {
    const call = takeCall(options)
    this.signal = call.signal
    this.#timeoutMs = timeoutOf(call)
    this.restart()
  }

  /** The time begins again: for one that covers many steps with the caller's own work in between. */
  restart(): void {
    this.#end = performance.now() + this.#timeoutMs
  }

  /** @throws CheckpointError `ABORTED` or `TIMEOUT` */
  check(outcome: 'none' | 'unknown'): void {
    if (this.signal?.aborted) {
      throw new CheckpointError('ABORTED', 'The call was aborted.', { outcome, cause: this.signal.reason })
    }
    if (performance.now() > this.#end) {
      throw new CheckpointError('TIMEOUT', 'The deadline of the call passed.', { outcome, retryable: true })
    }
  }

  /** Options for one of the calls that this one makes. */
  rest(): CallOptions {
    this.check('none')
    // What is left of 2^53-1 may be rounded up to more than a call takes.
    const left = Math.min(Math.ceil(this.#end - performance.now()), Number.MAX_SAFE_INTEGER)
    const options: CallOptions = { timeoutMs: Math.max(1, this.#end === Number.POSITIVE_INFINITY ? this.#end : left) }
    if (this.signal !== undefined) options.signal = this.signal
    return options
  }
}

/** One deadline and abort signal for a call that makes many reads. */
import { CheckpointError } from '../errors.js'
import type { CallOptions } from '../types.js'

export const defaultTimeoutMs = 30_000

export class Deadline {
  readonly signal: AbortSignal | undefined
  readonly #timeoutMs: number
  #end = Number.POSITIVE_INFINITY

  /** @throws CheckpointError `INVALID_ARGUMENT`; `ABORTED` when the signal is already */
  constructor(options: CallOptions = {}) {
    const timeoutMs = options.timeoutMs ?? defaultTimeoutMs
    if (typeof timeoutMs !== 'number' || !(timeoutMs >= 0)) {
      throw new CheckpointError('INVALID_ARGUMENT', `timeoutMs is a number of milliseconds from 0, not ${timeoutMs}.`)
    }
    this.signal = options.signal
    this.#timeoutMs = timeoutMs
    this.restart()
    this.check('none')
  }

  /** The time begins again: for one that covers many steps with the caller's own work in between. */
  restart(): void {
    if (this.#timeoutMs > 0) this.#end = performance.now() + this.#timeoutMs
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
    const options: CallOptions = {
      timeoutMs: this.#end === Number.POSITIVE_INFINITY ? 0 : Math.max(1, Math.ceil(this.#end - performance.now())),
    }
    if (this.signal !== undefined) options.signal = this.signal
    return options
  }
}

/** Resolves after so many milliseconds, or at once when the signal is aborted. */
export function pause(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    signal?.addEventListener('abort', done)
    if (signal?.aborted) done()
  })
}

/** Applies CallOptions to a promise that continues by itself: how long the caller waits for it. */
import { timeoutOf } from './call/check.js'
import { deadlineTimer, type Timer } from './call/timer.js'
import { CheckpointError, type Outcome } from './errors.js'
import type { CallOptions } from './types.js'

export interface Impatience {
  /** Of the TIMEOUT, as in "The unit has not stopped". */
  late: string
  /** Of the ABORTED, as in "The wait for the unit to stop". */
  wait: string
  outcome: Outcome
}

/** Waits for the promise, up to the caller's limit (default: 30 s). Keeps the process running meanwhile, if there is a limit. */
export async function within<T>(work: Promise<T>, call: CallOptions, { late, wait, outcome }: Impatience): Promise<T> {
  const { signal } = call
  const timeoutMs = timeoutOf(call)
  let timer: Timer | undefined
  let aborted: (() => void) | undefined
  const givenUp = new Promise<never>((_, reject) => {
    timer = deadlineTimer(timeoutMs, () =>
      reject(new CheckpointError('TIMEOUT', `${late} within ${timeoutMs} ms.`, { outcome, retryable: true })),
    )
    aborted = () => reject(new CheckpointError('ABORTED', `${wait} was aborted.`, { cause: signal?.reason, outcome }))
    if (signal?.aborted) aborted()
    else signal?.addEventListener('abort', aborted, { once: true })
  })
  try {
    return await Promise.race([work, givenUp])
  } finally {
    timer?.cancel()
    if (aborted !== undefined) signal?.removeEventListener('abort', aborted)
  }
}

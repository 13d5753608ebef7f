/** The caller's patience with something that goes on by itself: CallOptions around a promise. */
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

/** Waits for it, no longer than the caller likes. Default: 30 s. Holds the process meanwhile, if there is a limit. */
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

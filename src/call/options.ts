/** What every call takes, and every write: their tables, and the check of what a caller hands in. */
import type { CallOptions, Lease, WriteOptions } from '../types.js'
import { abortSignal, milliseconds, oneOf, requireNotAborted, wholeNumber } from './check.js'
import { shape, take } from './shape.js'

/** Heartbeats come every 100 ms. */
export const minSilenceMs = 200
export const maxLeaseMs = 86_400_000

/** What every call takes. */
export const callFields = { signal: abortSignal, timeoutMs: milliseconds }
export const durability = oneOf('visible', 'durable')
export const transport = oneOf('auto', 'verbs', 'iwarp')

export const callOptions = shape<CallOptions>(callFields)
export const writeOptions = shape<WriteOptions>({ ...callFields, durability })

export const lease = shape<Lease>({
  silenceMs: wholeNumber(minSilenceMs, maxLeaseMs),
  stallMs: wholeNumber(0, maxLeaseMs),
})

/** @throws CheckpointError `INVALID_ARGUMENT`, `ABORTED` */
export function takeCall(value: unknown): CallOptions {
  if (value === undefined) return {}
  const taken = take(callOptions, value)
  requireNotAborted(taken)
  return taken
}

/** For what goes on without whoever called it, such as a close: an aborted signal ends only the wait. @throws CheckpointError `INVALID_ARGUMENT` */
export function takeWait(value: unknown): CallOptions {
  return value === undefined ? {} : take(callOptions, value)
}

/** @throws CheckpointError `INVALID_ARGUMENT`, `ABORTED` */
export function takeWrite(value: unknown): WriteOptions {
  if (value === undefined) return {}
  const taken = take(writeOptions, value)
  requireNotAborted(taken)
  return taken
}

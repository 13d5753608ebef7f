/**
 * What a failed call may have done, said by the place where it failed: the code of an error cannot tell, since the same one
 * comes before and after an effect.
 */
import { CheckpointError, type Outcome } from './errors.js'

/** The same error with that outcome; what is no error of ours passes as it is. */
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

/**
 * Does what comes after a first effect: whatever it fails with, the call as a whole has changed something, or may have.
 */
export async function afterEffect<T>(work: () => T | Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw withOutcome(error, 'unknown')
  }
}

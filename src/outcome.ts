/**
 * Sets what a failed call may have done, at the place where it failed. The code of an error cannot tell, because the same code
 * occurs before and after an effect.
 */
import { CheckpointError, type Outcome } from './errors.js'

/** The same error with that outcome; errors of other classes pass unchanged. */
export function withOutcome(cause: unknown, outcome: Outcome): unknown {
  return cause instanceof CheckpointError ? cause.withOutcome(outcome) : cause
}

/**
 * Runs what comes after a first effect. If it fails, the call as a whole has changed something, or may have.
 */
export async function afterEffect<T>(work: () => T | Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw withOutcome(error, 'unknown')
  }
}

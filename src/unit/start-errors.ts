/** Why the start of a unit ends before it is ready. */
import { CheckpointError } from '../errors.js'

export function checkAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) {
    throw new CheckpointError('ABORTED', 'The start of the unit was aborted.', { cause: signal.reason })
  }
}

export function stopping(): CheckpointError {
  return new CheckpointError('UNIT_STOPPING', 'The unit is stopping.', { retryable: true })
}

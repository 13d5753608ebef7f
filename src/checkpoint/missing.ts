/** Errors that say why a checkpoint cannot be given. */
import { CheckpointError } from '../errors.js'
import type { Survey } from './log-view.js'

function rangeOf({ newest, header, droppedThrough }: Survey): { oldest?: bigint; newest?: bigint } {
  if (newest === undefined || newest.sequence < header.firstSequence) return {}
  const kept = droppedThrough + 1n
  return { oldest: kept > header.firstSequence ? kept : header.firstSequence, newest: newest.sequence }
}

function rangeText(survey: Survey): string {
  const { oldest, newest } = rangeOf(survey)
  return oldest === undefined ? 'the log is empty' : `the log keeps ${oldest} to ${newest}`
}

export function notFound(sequence: bigint, survey: Survey, why: string): CheckpointError {
  return new CheckpointError('CHECKPOINT_NOT_FOUND', `Checkpoint ${sequence} ${why}; ${rangeText(survey)}.`, {
    details: { sequence, ...rangeOf(survey) },
  })
}

export function lapped(sequence: bigint, survey: Survey): CheckpointError {
  return new CheckpointError(
    'CHECKPOINT_LAPPED',
    `The log has gone past checkpoint ${sequence}; ${rangeText(survey)}.`,
    {
      help: 'Restart from the oldest, with all() or follow(), or from the newest, with latest().',
      details: { sequence, ...rangeOf(survey) },
    },
  )
}

/** The writer went round the ring while it was read, over and over. */
export function outrun(): CheckpointError {
  return new CheckpointError('CHECKPOINT_LAPPED', 'The log is written faster than it can be read.', {
    retryable: true,
    help: 'A larger region gives readers more time.',
  })
}

export function damaged(sequence: bigint): CheckpointError {
  return new CheckpointError(
    'CHECKPOINT_DAMAGED',
    `The record of checkpoint ${sequence} was durable, and fails its checksum though nothing overwrites it.`,
    { help: 'The medium is damaged, or something else wrote to the region.', details: { sequence } },
  )
}

/** Errors that say why a checkpoint cannot be given. */
import { CheckpointError } from '../errors.js'
import type { SequenceRange } from './findings.js'
import type { Survey } from './log-view.js'
import type { LogOrder } from './record/order.js'

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

/** @param known where to go on: behind the range, with `unread()` and `follow()`; and the newest whole one before a damaged end */
export function damaged(
  { from, to }: SequenceRange,
  { region, newest, epoch }: { region: string; newest?: LogOrder | undefined; epoch?: bigint },
): CheckpointError {
  const one = from === to
  return new CheckpointError(
    'CHECKPOINT_DAMAGED',
    one
      ? `Checkpoint ${from} was durable but is no longer intact, although nothing has overwritten it.`
      : `Checkpoints ${from} to ${to} were durable but are no longer intact, although nothing has overwritten them.`,
    {
      help:
        newest === undefined
          ? 'The medium is damaged, or something else wrote to the region. details.cursor leads past it.'
          : `The medium is damaged, or something else wrote to the region. Checkpoint ${newest.sequence} before it is whole: ` +
            'latest({ beforeDamage: true }) gives it. Appending, or clear(), goes on behind the damage.',
      details: {
        sequence: from,
        from,
        to,
        cursor: { region, epoch: newest?.epoch ?? epoch ?? 0n, sequence: to },
        ...(newest === undefined ? {} : { newest: newest.sequence }),
      },
    },
  )
}

/** What reading a log gives. */
import { loggable } from '../call/printed.js'
import type { Cursor } from '../types.js'
import { isDelta } from './delta/restore.js'
import type { SequenceRange } from './findings.js'
import type { StoredCheckpoint } from './record/stored.js'

/** One saved state. */
export interface Checkpoint<T> {
  readonly sequence: bigint
  /** The ownership number of the region under which it was written. */
  readonly epoch: bigint
  /** The writer's number for the form of its values; 0 unless it gave one to `log()`. */
  readonly schema: number
  /** By the writer's clock. */
  readonly writtenAt: Date
  /** Length of the encoded value. */
  readonly bytes: number
  readonly value: T
  /** The place behind it: `unread(cursor)` begins with the checkpoint that follows. */
  readonly cursor: Cursor
  /** Given by `latest({ beforeDamage: true })`: what lay behind it and was durable is damaged. */
  readonly damaged?: SequenceRange
  /**
   * Given by `latest()`: appends of these numbers were to become durable, and are not intact. A crash took them before they
   * were acknowledged, or their writer was killed right then; otherwise they are damaged.
   */
  readonly missing?: SequenceRange
}

/** A checkpoint without its value. */
export interface CheckpointInfo extends Omit<Checkpoint<never>, 'value' | 'damaged' | 'missing'> {
  /** Id of the codec it was written with. */
  readonly codec: number
  /** Bytes that it takes in the log, without headers: fewer than `bytes` for a delta. */
  readonly storedBytes: number
  /** Of a delta: the full checkpoint that its chain begins with. */
  readonly baseSequence?: bigint
  readonly damaged?: undefined
}

/** In a list: in this place there were checkpoints that were durable, and none is there whole. */
export interface DamagedCheckpoints {
  readonly damaged: true
  /** The first. */
  readonly sequence: bigint
  /** The last. */
  readonly through: bigint
  /** The place behind them. */
  readonly cursor: Cursor
}

export function infoOf(stored: StoredCheckpoint, region: string): CheckpointInfo {
  const { sequence, epoch, bytes, storedBytes } = stored
  const { schema, codec, timeMs, baseSequence } = stored.parts[0]
  const cursor = loggable({ region, epoch, sequence })
  const info = { sequence, epoch, schema, codec, writtenAt: new Date(timeMs), bytes, storedBytes, cursor }
  return loggable(isDelta(stored) ? { ...info, baseSequence } : info)
}

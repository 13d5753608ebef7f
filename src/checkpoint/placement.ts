/** Where a writer puts its records: what the append and the overwrite format differ in. */
import type { RangeBytes, RegionRange } from '../region-range.js'
import type { Deadline } from './deadline.js'
import type { MendedMetadata, SequenceRange } from './findings.js'
import type { LogHeader } from './metadata/log-header.js'
import type { RestingTip } from './metadata/tip-writer.js'
import type { RecordHeader } from './record/header.js'
import type { LogOrder } from './record/order.js'
import type { StoredCheckpoint } from './record/stored.js'

export interface Loaded {
  readonly header: LogHeader
  readonly newest: StoredCheckpoint | undefined
  /** Of whole and of torn records, and of what the metadata says there was. */
  readonly greatestSequence: bigint
  /** Up to here all was durable, whether it is there or not. */
  readonly durableSequence: bigint
  /** For what is written next. */
  readonly unbrokenFrom: bigint
  /** As of a survey: of the newest. */
  readonly damaged?: SequenceRange | undefined
  readonly missing?: SequenceRange | undefined
  /** What of the metadata was written anew, if anything. */
  readonly mended?: MendedMetadata | undefined
}

export interface Placement {
  /** Cells of the largest checkpoint. */
  readonly maximumCells: number
  /**
   * Finds the end of the log; what is written next goes there.
   * @param durable all that is there is known to be
   */
  load(deadline: Deadline, durable: boolean): Promise<Loaded>
  /**
   * Whether so many cells more would overwrite the newest checkpoint that is acknowledged (and durable, where there is
   * such a thing): then what is in flight has to settle, and what is pending to be flushed, first.
   */
  overwritesNewest(cells: number, first: boolean): boolean
  /** Whether so many cells more would overwrite what the policy keeps. */
  overwritesKept(cells: number, released: (last: LogOrder) => boolean): boolean
  /** Where the next record goes; `first` for the first record of a checkpoint. */
  next(first: boolean): { position: number; previousCrc: number }
  /**
   * Whether so many cells more would reach beyond what is reserved, so that a crash could leave less of what they overwrite
   * than the metadata says there is.
   */
  unreserved(cells: number): boolean
  /** Reserves so many cells: to be written durably. Until `reserved()` nothing has changed. */
  reservation(cells: number): { writes: RangeBytes[]; reserved: () => void }
  /**
   * The record goes there. Returns what else belongs into the same batch of writes.
   * @param durable the checkpoint ends here, and the batch is to be made durable
   */
  advance(header: RecordHeader, durable: boolean): RangeBytes[]
  /** What a clear writes besides the log header, which it repeats. */
  cleared(header: LogHeader): RangeBytes[]
  /** Says where the log ends, for a pause: with what has become durable since the last record was sent. Nothing if that is said. */
  restingTip(durableSequence: bigint): RestingTip | undefined
  /** What was written and is not known to be durable; whoever takes it makes it durable, or loads again. */
  takePending(): RegionRange[]
  /** The checkpoint that begins at start was acknowledged. */
  settled(start: number, sequence: bigint, durable: boolean): void
  /** Everything acknowledged so far is durable. */
  flushed(): void
}

/** Where a writer puts its records: what the append and the overwrite format differ in. */
import type { Deadline } from './deadline.js'
import type { LogHeader } from './log-header.js'
import type { Age, Found } from './log-view.js'
import type { RecordHeader } from './record-header.js'

export interface Loaded {
  readonly header: LogHeader
  readonly newest: Found | undefined
  /** Of whole and of torn records. */
  readonly greatestSequence: bigint
}

export interface RegionRange {
  readonly offset: number
  readonly length: number
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
  guarded(cells: number, first: boolean): boolean
  /** Whether so many cells more would overwrite what the policy keeps. */
  crowded(cells: number, released: (last: Age) => boolean): boolean
  /** Where the next record goes; `first` for the first record of a checkpoint. */
  next(first: boolean): { position: number; previousCrc: number }
  /** The record goes there. Returns what else belongs into the same batch of writes. */
  advance(header: RecordHeader): { offset: number; bytes: Uint8Array }[]
  /** What was written and is not known to be durable; whoever takes it makes it durable, or loads again. */
  takePending(): RegionRange[]
  /** The checkpoint that begins at start was acknowledged. */
  settled(start: number, durable: boolean): void
  /** Everything acknowledged so far is durable. */
  flushed(): void
}

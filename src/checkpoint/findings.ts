/** What an owner or a reader finds out about a log besides its checkpoints. */

/** From the first to the last of them. */
export interface SequenceRange {
  readonly from: bigint
  readonly to: bigint
}

export interface MendedMetadata {
  /** Copies of the log header that were damaged or out of date. */
  readonly headers: number
  /** Directory entries and tips in which the copies differed, or which were damaged. */
  readonly entries: number
  /** Both copies of the directory were gone: it was made anew from the records. */
  readonly rebuilt: boolean
}

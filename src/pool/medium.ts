/** What the pool needs from a medium. native/media implements it; tests use one in memory that can crash. */
export interface PoolMedium {
  readonly bytes: number
  readonly blockSize: number
  /** False: flush is never called, and nothing outlives the process. */
  readonly durable: boolean
  /** The first write or sync that failed, in any part of the process: from then on nothing becomes durable. */
  readonly failure: Error | undefined
  /** A copy. */
  read(offset: number, length: number): Uint8Array
  /** Visible at once, durable only after flush. */
  write(offset: number, bytes: Uint8Array): void
  /** [offset, length, ...]. Concurrent calls are allowed. After one failure every further call fails. */
  flush(ranges: readonly number[]): Promise<void>
  /** Zeroes a range, durably if the medium is durable. */
  zero(offset: number, length: number): Promise<void>
  /** Brings a range of the medium into memory. */
  load(offset: number, length: number): Promise<void>
}

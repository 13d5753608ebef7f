/**
 * What the checkpoint formats need of a region: the client's OpenRegion implements it, tests use one in memory. It keeps
 * this folder free of the client.
 */
import type { CheckpointError, Outcome } from '../errors.js'
import type { Ack, CallOptions, Durability, RegionInfo, WriteOptions } from '../types.js'
import type { MendedMetadata, SequenceRange } from './findings.js'
import type { VerifiedCheckpoints } from './verified.js'

/**
 * What an owner found when it looked for the end of the log: it wrote damaged metadata anew (mended); durable checkpoints at
 * the end are gone (damaged); appends that were to become durable are not intact, which a crash explains as well (missing).
 */
export type LogFinding =
  | ({ readonly kind: 'mended' } & MendedMetadata)
  | ({ readonly kind: 'damaged' | 'missing' } & SequenceRange)

export interface RegionReadAccess {
  readonly name: string
  /** Instance UUID. */
  readonly id: string
  /** Bytes of the region. */
  readonly bytes: number
  readonly mode: 'append' | 'overwrite' | 'raw'
  readonly onFull: 'drop-oldest' | 'wait' | 'fail'
  /** Reads all ranges in one batch, into the caller's memory. */
  readInto(ranges: readonly { offset: number; bytes: Uint8Array }[], options?: CallOptions): Promise<void>
  /** The region's entry in the pool's tables, by RDMA: epoch, cursors. */
  metadata(options?: CallOptions): Promise<RegionInfo>
  crc32c(bytes: Uint8Array, seed?: number): number
  /** Which start of the unit answers reads, as far as the connection knows; with `verified`. */
  readonly unitStart?: bigint | undefined
  /** Shared by all accesses of a client. */
  readonly verified?: VerifiedCheckpoints | undefined
  saveCursor(cursor: { name: string; epoch: bigint; sequence: bigint }, options?: CallOptions): Promise<void>
  /** Aborts when the region takes no more calls: closed, fenced, deleted. The reason is the error that says so. */
  readonly ended?: AbortSignal | undefined
}

export type RecordWriteOptions = WriteOptions & {
  readonly alsoFlush?: readonly { offset: number; length: number }[]
  readonly upkeep?: boolean
  readonly provisional?: boolean
}

export interface RegionWriteAccess extends RegionReadAccess {
  readonly epoch: bigint
  /** The strongest that the pool promises. */
  readonly strongest: Durability
  /**
   * Grows by one each time the unit came back without writes that had been visible but not durable, provisional ones too. A log
   * that sees it change reads its tail again before it appends.
   */
  readonly rollbacks: number
  /** What was visible when this access was opened is durable: a unit's takeover sees to it. */
  readonly durableWhenOpened?: boolean
  /**
   * One batch. With durability durable, `alsoFlush` names ranges written earlier that the same flush must cover.
   * The bytes must not change until the promise settles (use staging memory). `upkeep`: they are of the log's metadata alone; if
   * they are lost, the user has lost nothing. `provisional`: the answer tells the user nothing; if somebody is told later that they
   * are visible, {@link noteAcknowledged} says so.
   */
  writeAll(ranges: readonly { offset: number; bytes: Uint8Array }[], options: RecordWriteOptions): Promise<Ack>
  flush(ranges: readonly { offset: number; length: number }[], options?: CallOptions): Promise<Ack>
  /** For the log's readers, whose calls end when the region begins to be closed; by default this access itself. */
  readonly forReaders?: RegionReadAccess
  /** How long a call waits for a connection, in ms. */
  readonly retryMs?: number
  /** Since when there is none, in ms of performance.now(). */
  readonly brokenAt?: number | undefined
  /** For a call whose time is over: why, if there is no connection; undefined when there is. */
  lost?(call: string, outcome: Outcome): CheckpointError | undefined
  /** The log has records of a later epoch: this access is of an owner that was fenced. */
  foundFenced?(epoch: bigint): void
  /** What the owner found out about the log's metadata and end. Best effort, and not waited for. */
  noteFinding?(finding: LogFinding): void
  /** Somebody is told that what provisional writes have put there is visible: if it is lost, the user has lost something. */
  noteAcknowledged?(ranges: readonly { offset: number; length: number }[]): void
  /** The log was cleared: for those who watch the region. Best effort, and not waited for. */
  noteCleared?(): void
  /** Page-aligned memory for staging, reused: call release once nothing refers to it. */
  staging(bytes: number): { bytes: Uint8Array<ArrayBuffer>; release(): void }
  /** Copy and CRC32C in one pass. */
  copyCrc32c(target: Uint8Array, targetOffset: number, source: Uint8Array, seed?: number): number
  /** The native function of that name: runs of what is in state and not in base, which is brought up to date. */
  takeChanges(base: Uint8Array, state: Uint8Array, blockBytes: number, mostBytes: number): Uint8Array | undefined
}

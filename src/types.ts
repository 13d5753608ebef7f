/** Public types that more than one folder shares. */

/** A number of bytes or an offset: a safe integer (refused beyond 2^53-1) or a bigint. */
export type Size = number | bigint
/** See docs/concepts.md: readable by any other connection / survives the medium's failure model. */
export type Durability = 'visible' | 'durable'
export type Transport = 'auto' | 'verbs' | 'iwarp'
export type DurableMethod = 'none' | 'flush-verb' | 'unit-flush' | 'read-after-write'
export type RegionMode = 'append' | 'overwrite' | 'raw'
export type OnFull = 'drop-oldest' | 'wait' | 'fail'

export interface CallOptions {
  /** Aborting it rejects the call with ABORTED. What was sent may still take effect (see the error's outcome). */
  signal?: AbortSignal
  /** Milliseconds until the call rejects with TIMEOUT, 0 to 2^53-1. Default 30,000; 0 or Infinity for no deadline. */
  timeoutMs?: number
}
export interface WriteOptions extends CallOptions {
  /** Default: the strongest the pool promises. */
  durability?: Durability
}
/** The durability that was achieved, and how. */
export interface Ack {
  durability: Durability
  method: DurableMethod
  epoch: bigint
}
export interface Range {
  offset: Size
  bytes: Uint8Array
}
export interface Lease {
  /** Milliseconds of silence of the owner's session after which it is lost. Default 1,000. */
  silenceMs?: number
  /** Milliseconds without a turn of the owner's event loop after which it is lost; 0 = never. Default 10,000. */
  stallMs?: number
}
/** A reader's place in a log: everything up to (epoch, sequence) has been read. */
export interface Cursor {
  /** Instance id of the region. */
  region: string
  epoch: bigint
  sequence: bigint
}
export interface RegionInfo {
  name: string
  /** UUID of this instance of the name; a region created again under the same name has another. */
  id: string
  bytes: bigint
  mode: RegionMode
  onFull: OnFull
  epoch: bigint
  owner?: { identity: string; since: Date }
  lease: Required<Lease>
  labels: Readonly<Record<string, string>>
  cursors: readonly { name: string; epoch: bigint; sequence: bigint }[]
}

/**
 * `created`. `opened`: for writing, without a former owner on record. `owner-lost`: the owner is dead, silent or stalled, and
 * may come back until another process takes the region. `released`: the owner closed it. `taken-over`: opened for writing
 * although another owner was on record. `cleared`: its log was cleared. `deleted`.
 */
export type RegionEventType = 'created' | 'opened' | 'owner-lost' | 'released' | 'taken-over' | 'cleared' | 'deleted'
/** An event in the life of a region. */
export interface RegionEvent {
  type: RegionEventType
  /** Grows from event to event, also across restarts of the unit. Watch on from it after a break. */
  revision: bigint
  /** The region's epoch after the event; 0 before its first owner. */
  epoch: bigint
  /** By the unit's clock. */
  at: Date
  /**
   * The event is not a change but the region's current state (`deleted` if it does not exist): the watch begins, or earlier events
   * are no longer kept, as after a restart of the unit.
   */
  snapshot?: true
}

/** How to create a region. */
export interface RegionOptions {
  /** 1 to the pool's size. */
  bytes: Size
  /** What the region holds: a log of checkpoints, two slots used in turn, or your own bytes. Default `append`. */
  mode?: RegionMode
  /**
   * What an append does when the log is full. Default `drop-oldest`. An overwrite region is never full, and a raw one has no log:
   * they keep it without effect.
   */
  onFull?: OnFull
  lease?: Lease
  /** Free text for people and tools. */
  labels?: Readonly<Record<string, string>>
}
/** For writing. Opened for reading, a region takes {@link CallOptions} only. */
export interface OpenOptions extends CallOptions {
  /** Replaces the lease of the region. */
  lease?: Lease
  /** Durability of writes that do not name one. Default: the strongest the pool promises. NOT_DURABLE if the pool cannot. */
  durability?: Durability
}
export interface ConnectOptions extends CallOptions {
  /** Default `auto`: verbs if both ends have it, otherwise iwarp. */
  transport?: Transport
  /** Most bytes that the client has in flight; further calls wait in order. Default 64 MiB, at least 64 KiB. */
  maxBytesInFlight?: number
  /**
   * Milliseconds that a call waits for a broken connection to come back before it rejects with CONNECTION_LOST, within its
   * own deadline. Default 30,000; Infinity: forever; 0: calls fail as soon as the connection breaks (the client still reconnects for
   * later ones).
   */
  retryMs?: number
  /** Shown to others as the owner of the regions that this client writes. Default user@host:pid. */
  identity?: string
}
export interface UnitStatus {
  /** UUID of the unit's pool. */
  id: string
  /** Counts the unit's starts on its pool. */
  starts: bigint
  state: 'starting' | 'ready' | 'read-only' | 'stopping'
  /** Bytes of the pool that are in use, out of `bytes`. */
  used: bigint
  bytes: bigint
  regions: number
  /** The durability levels that the pool promises, weakest first. */
  promises: readonly Durability[]
  medium: string
  version: string
}
/** The address of a region on the data plane, for programs that use RDMA directly. */
export interface AddressContext {
  /** Remote address of the region's first byte. */
  base: bigint
  length: bigint
  transport: Exclude<Transport, 'auto'>
  /** host:port of the unit's data plane. */
  endpoint: string
}
/** Page-aligned memory that belongs to the package, which transfers need not copy. */
export interface RegisteredBuffer extends Disposable {
  /** @throws CheckpointError CLOSED after it has been disposed. */
  readonly bytes: Uint8Array<ArrayBuffer>
}

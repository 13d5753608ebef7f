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
  /** Aborting rejects the call with ABORTED; what was sent may still take effect (see the error's outcome). */
  signal?: AbortSignal
  /** Milliseconds until the call rejects with TIMEOUT, 0 to 2^53-1. Default 30,000; 0 or Infinity for no deadline. */
  timeoutMs?: number
}
export interface WriteOptions extends CallOptions {
  /** Default: the strongest the pool promises. */
  durability?: Durability
}
/** What was kept, and how. */
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
/** A place in a log that a reader has come to: everything up to (epoch, sequence) has been read. */
export interface Cursor {
  /** Instance id of the region. */
  region: string
  epoch: bigint
  sequence: bigint
}
export interface RegionInfo {
  name: string
  /** UUID of this instance of the name; a region made again under the same name has another. */
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
 * `created`; `opened` for writing where nobody owned it; `owner-lost`: its owner is dead, silent or stalled, and may come
 * back as long as nobody takes the region; `released`: its owner closed it in order; `taken-over` from an owner on record;
 * `cleared`: its log was; `deleted`.
 */
export type RegionEventType = 'created' | 'opened' | 'owner-lost' | 'released' | 'taken-over' | 'cleared' | 'deleted'
/** Something that happened to the life of a region. */
export interface RegionEvent {
  type: RegionEventType
  /** Grows from event to event, also over restarts of the unit; where to go on after a break. */
  revision: bigint
  /** Of the region after the event; 0 before its first owner. */
  epoch: bigint
  /** By the unit's clock. */
  at: Date
  /**
   * It is no change, but how the region stands (`deleted` when there is none): the watch begins, or what happened before is
   * not kept any more, as after a restart of the unit.
   */
  snapshot?: true
}

/** How a region is made. */
export interface RegionOptions {
  /** 1 to the pool's size. */
  bytes: Size
  /** Format of what is in it: a log of checkpoints, two slots in turn, or whatever the user writes. Default `append`. */
  mode?: RegionMode
  /** What an append does when the log is full. Default `drop-oldest`. */
  onFull?: OnFull
  lease?: Lease
  /** Free text for people and tools. */
  labels?: Readonly<Record<string, string>>
}
export interface OpenOptions extends CallOptions {
  /** Replaces the lease the region has; writers only. */
  lease?: Lease
  /** Durability of writes that name none. Default: the strongest the pool promises. NOT_DURABLE if it cannot. */
  durability?: Durability
}
export interface ConnectOptions extends CallOptions {
  /** Default `auto`: verbs where both ends have it, else iwarp. */
  transport?: Transport
  /** Bytes that the client has in flight at most; further calls wait in order. Default 64 MiB, at least 64 KiB. */
  maxBytesInFlight?: number
  /**
   * Milliseconds that a call waits for a broken connection to come back before it rejects with CONNECTION_LOST, within its
   * own deadline. Default 30,000; Infinity: for ever; 0: calls fail as soon as the connection breaks (it is still made again for later ones).
   */
  retryMs?: number
  /** Shown to others as the owner of what this client writes. Default user@host:pid. */
  identity?: string
}
export interface UnitStatus {
  /** UUID of the unit's pool. */
  id: string
  /** Counts the unit's starts on its pool. */
  generation: bigint
  state: 'starting' | 'ready' | 'read-only' | 'stopping'
  /** Bytes of the pool that are taken, of `bytes` in all. */
  used: bigint
  bytes: bigint
  regions: number
  /** What a write can be promised, weakest first. */
  promises: readonly Durability[]
  medium: string
  version: string
}
/** Where a region lies for the data plane: what a program that speaks RDMA by itself would address. */
export interface AddressContext {
  /** Remote address of the region's first byte. */
  base: bigint
  length: bigint
  transport: Exclude<Transport, 'auto'>
  /** host:port of the unit's data plane. */
  endpoint: string
}
/** Page-aligned memory of the package's own, which transfers need not copy. */
export interface RegisteredBuffer extends Disposable {
  /** @throws CheckpointError CLOSED after it has been disposed. */
  readonly bytes: Uint8Array<ArrayBuffer>
}

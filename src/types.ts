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
  /** Milliseconds until the call rejects with TIMEOUT. Default 30,000; 0 for no deadline. */
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

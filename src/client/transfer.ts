/**
 * One call on a region's data, from its check to its promise: what is to be moved, until when, and what became of it. How far
 * it has come on a connection is in a {@link Passage}, which is one for each unit that it goes to.
 *
 * Invariants:
 * - The promise settles once: by an answer for all of it, by a failure, or because the caller gave up. What is in flight by
 *   then stays in flight.
 * - The memory in `buffers` is referred to until native code has let go of it, also after the promise has settled.
 * - It holds the process until it is settled, unless it is a step of the log: those hold by the calls that they are made for,
 *   and go on after they were given up.
 */

import { QueuedCall } from '../call/call.js'
import type { CheckpointError } from '../errors.js'
import { operationKind, operationUntil } from '../native.js'
import type { RegionRange } from '../region-range.js'
import type { CallOptions, WriteOptions } from '../types.js'
import type { WrittenRange } from './dirty-ranges.js'

/** Who is told when a transfer is given up before its pieces are done. */
export interface TransferOwner {
  onAbandoned(transfer: Transfer): void
}

/**
 * Whose call it is, which decides what the close of its region does to it. `call`: the user's own; a close waits for it.
 * `look`: a step of reading checkpoints; it ends at once. `log`: of the region's log, which goes on until it has sent what it
 * had taken.
 */
export type TransferUse = 'call' | 'look' | 'log'

/** What a call asks of a region's data. */
export interface TransferRequest {
  /** For messages: "A write to region 'orders'". */
  readonly what: string
  /** One of `operationKind`. */
  readonly kind: number
  /** Of a write: one of `operationUntil`. */
  readonly until?: number
  /** For each buffer its offset in the region. */
  readonly offsets: readonly number[]
  readonly buffers: readonly Uint8Array[]
  /** [offset, length, ...] that are flushed besides its own ranges. */
  readonly flushRanges?: readonly number[] | undefined
  /** Checked ones. */
  readonly options: CallOptions
  /** What the promise resolves with. */
  readonly result: (method: number) => unknown
  /** Default: `call`. */
  readonly use?: TransferUse
  /** Nobody else has the buffers before the promise has settled. Default: false. */
  readonly ours?: boolean
  /** A write of a log's metadata alone. Default: false. */
  readonly upkeep?: boolean
  /** Its answer tells nobody yet that the write is visible. Default: false. */
  readonly provisional?: boolean
}

/** A read or write with its memory, which lies at `offsets` of the region. */
export interface MemoryCall {
  readonly offsets: readonly number[]
  readonly buffers: readonly Uint8Array[]
  readonly options: CallOptions
  readonly use: TransferUse
}

export interface ReadCall extends MemoryCall {
  /** Nobody else has the memory before the answer. */
  readonly ours: boolean
  readonly result: () => unknown
}

export interface WriteCall extends MemoryCall {
  readonly options: WriteOptions
  /** If it is durable: ranges written earlier that its flush covers, too. */
  readonly alsoFlush: readonly RegionRange[]
  readonly upkeep?: boolean
  readonly provisional?: boolean
}

export class Transfer extends QueuedCall<unknown> {
  readonly owner: TransferOwner
  readonly kind: number
  readonly until: number
  readonly offsets: readonly number[]
  /** Emptied when native code has no use for them any more. */
  buffers: readonly Uint8Array[]
  /** Of the buffers, when the call was made. */
  readonly lengths: readonly number[]
  /** Of all buffers. */
  readonly bytes: number
  readonly flushRanges: readonly number[] | undefined
  readonly use: TransferUse
  readonly ours: boolean
  readonly upkeep: boolean
  readonly provisional: boolean
  /** Something of it may have reached a unit. */
  posted = false
  /** On all connections: what native code may still refer to. */
  piecesInFlight = 0
  succeeded = false
  /** How it became durable, as the unit answered. */
  method = 0
  /** Of a write: a flush posted later that covers it. */
  coveredBy: Transfer | undefined
  /** Of a flush or durable write: what it took out of the ranges that are not durable. */
  taken: WrittenRange[] = []
  /** Some of what it took was written by calls that have ended, so it cannot bring that back by itself. */
  carriesEarlierWrites = false
  readonly #result: (method: number) => unknown

  constructor(owner: TransferOwner, request: TransferRequest) {
    const { what, buffers, options, use = 'call' } = request
    super(what, options, use !== 'log')
    this.owner = owner
    this.kind = request.kind
    this.until = request.until ?? operationUntil.placed
    this.offsets = request.offsets
    this.buffers = buffers
    const lengths: number[] = []
    let bytes = 0
    for (const { byteLength } of buffers) {
      lengths.push(byteLength)
      bytes += byteLength
    }
    this.lengths = lengths
    this.bytes = bytes
    this.flushRanges = request.flushRanges
    this.use = use
    this.ours = request.ours ?? false
    this.upkeep = request.upkeep ?? false
    this.provisional = request.provisional ?? false
    this.#result = request.result
  }

  /** Some of its memory is gone: it was transferred to a worker, or cloned away. */
  get bereft(): boolean {
    if (this.ours) return false
    for (let index = 0; index < this.buffers.length; index++) {
      if (this.buffers[index]?.byteLength !== this.lengths[index]) return true
    }
    return false
  }

  get isWrite(): boolean {
    return this.kind === operationKind.write
  }

  /** Outcome of a failure from here on. */
  override get outcome(): 'none' | 'unknown' {
    return this.posted && this.kind !== operationKind.read ? 'unknown' : 'none'
  }

  /** What it took to make durable, and what it writes. @param told somebody is told that what it writes is visible */
  touchedRanges(told: boolean): WrittenRange[] {
    const ranges = [...this.taken]
    if (!this.isWrite) return ranges
    for (const [index, length] of this.lengths.entries()) {
      ranges.push({ offset: this.offsets[index] as number, length, told })
    }
    return ranges
  }

  override onAbort(): void {
    this.giveUp(this.abortedError())
  }

  /** Rejects now; what is in flight stays in flight. */
  giveUp(error: CheckpointError): void {
    if (this.settled) return
    this.reject(error)
    this.owner.onAbandoned(this)
  }

  succeed(): void {
    if (this.settled) return
    this.succeeded = true
    try {
      this.resolve(this.#result(this.method))
    } catch (error) {
      this.reject(error)
    }
  }
}

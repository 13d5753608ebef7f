/**
 * One call of the user on a region's data, from its check to its promise. It goes out as one piece, or as several when it
 * is larger than a piece may be; each piece is one operation of the native channel. It holds the process until it is settled, unless
 * it is a step of the log: those hold by the calls that they are made for, and go on after they were given up.
 */

import { type Abortable, unwatchAbort, watchAbort } from '../abort-watch.js'
import { hold, release } from '../call/hold.js'
import { CheckpointError } from '../errors.js'
import { type NativeOperation, operationKind, operationUntil } from '../native.js'
import type { Interval } from './dirty-ranges.js'

/** Who is told when a transfer is given up before its pieces are done. */
export interface TransferOwner {
  onAbandoned(transfer: Transfer): void
}

/** What goes out at once: an operation of the native channel, and what it means to its transfer. */
export class Piece implements NativeOperation {
  done = false

  constructor(
    readonly transfer: Transfer,
    readonly kind: number,
    readonly until: number,
    readonly offsets: readonly number[],
    readonly buffers: readonly Uint8Array[],
    readonly flushRanges: readonly number[] | undefined,
    /** What it takes of the budget. */
    readonly charge: number,
    /** The transfer's position behind it. */
    readonly end: Position,
  ) {}
}

/** How much of a transfer has been cut into pieces. `range` beyond the last one: only the flush of it is left. */
export interface Position {
  readonly range: number
  readonly byte: number
  readonly flushed: boolean
}
const start: Position = { range: 0, byte: 0, flushed: false }

/** Ranges of one piece of a call that is cut up; keeps single operations from becoming arbitrarily large lists. */
export const maxPieceRanges = 1024

/**
 * Whose call it is, which decides what the close of its region does to it. `call`: the user's own; a close waits for it. `look`: a
 * step of reading checkpoints; it ends at once. `log`: of the region's log, which goes on until it has sent what it had taken.
 */
export type TransferUse = 'call' | 'look' | 'log'

/** What a call asks of a region's data. Times are on performance.now()'s clock. */
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
  readonly startedAt: number
  /** Infinity for none. */
  readonly deadline: number
  readonly signal: AbortSignal | undefined
  /** What the promise resolves with. */
  readonly result: (method: number) => unknown
  /** Default: `call`. */
  readonly use?: TransferUse
  /** Nobody else has the buffers before the promise has settled. Default: false. */
  readonly ours?: boolean
}

export class Transfer implements Abortable {
  readonly owner: TransferOwner
  readonly what: string
  readonly kind: number
  readonly until: number
  readonly offsets: readonly number[]
  /** Let go of when native code has no use for them any more. */
  buffers: readonly Uint8Array[]
  /** Of the buffers, when the call was made. */
  readonly lengths: readonly number[]
  /** Of all buffers. */
  readonly bytes: number
  readonly flushRanges: readonly number[] | undefined
  readonly startedAt: number
  readonly deadline: number
  readonly signal: AbortSignal | undefined
  readonly use: TransferUse
  readonly ours: boolean
  readonly promise: Promise<unknown>
  /** Something of it may have reached the unit. */
  posted = false
  settled = false
  succeeded = false
  method = 0
  /** Pieces that native code may still refer to. */
  piecesInFlight = 0
  position: Position = start
  /** Everything before it has been answered. */
  donePosition: Position = start
  /** Connections that broke in a way that this transfer may be the cause of. */
  suspicions = 0
  /** Of a write: a flush posted later that covers it. */
  coveredBy: Transfer | undefined
  /** Of a flush or durable write: what it took out of the dirty ranges. */
  taken: Interval[] = []
  /** Some of what it took was written by calls that have been answered, so it cannot bring that back by itself. */
  carriesEarlierWrites = false
  /** Pieces of a call that was cut up, in order, from the first that is not done. */
  #line: Piece[] = []
  readonly #result: (method: number) => unknown
  #resolve!: (value: unknown) => void
  #reject!: (error: CheckpointError) => void

  constructor(owner: TransferOwner, request: TransferRequest) {
    const { kind, until = operationUntil.placed, buffers, signal, use = 'call' } = request
    this.owner = owner
    this.what = request.what
    this.kind = kind
    this.until = until
    this.offsets = request.offsets
    this.buffers = buffers
    this.lengths = buffers.map((buffer) => buffer.byteLength)
    this.bytes = this.lengths.reduce((sum, length) => sum + length, 0)
    this.flushRanges = request.flushRanges
    this.startedAt = request.startedAt
    this.deadline = request.deadline
    this.signal = signal
    this.use = use
    this.ours = request.ours ?? false
    this.#result = request.result
    this.promise = new Promise<unknown>((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    if (signal !== undefined) watchAbort(signal, this)
    if (use !== 'log') hold()
  }

  /** Some of its memory is gone: it was transferred to a worker, or cloned away. */
  get bereft(): boolean {
    return !this.ours && this.buffers.some((buffer, index) => buffer.byteLength !== this.lengths[index])
  }

  get isWrite(): boolean {
    return this.kind === operationKind.write
  }

  /** Outcome of a failure from here on. */
  get outcome(): 'none' | 'unknown' {
    return this.posted && this.kind !== operationKind.read ? 'unknown' : 'none'
  }

  /** What it took to make durable, and what it writes. */
  touchedRanges(): Interval[] {
    const ranges = [...this.taken]
    if (!this.isWrite) return ranges
    for (const [index, length] of this.lengths.entries()) {
      ranges.push({ offset: this.offsets[index] as number, length })
    }
    return ranges
  }

  get cut(): boolean {
    return this.kind === operationKind.flush
      ? this.position.flushed
      : this.position.range >= this.buffers.length && (this.position.flushed || !this.#needsOwnFlush)
  }

  onAbort(): void {
    this.giveUp(
      new CheckpointError('ABORTED', `${this.what} was aborted.`, {
        cause: this.signal?.reason,
        outcome: this.outcome,
      }),
    )
  }

  /** Rejects now; what is in flight stays in flight. */
  giveUp(error: CheckpointError): void {
    if (this.settled) return
    this.fail(error)
    this.owner.onAbandoned(this)
  }

  succeed(): void {
    if (this.settled) return
    this.#settle()
    this.succeeded = true
    try {
      this.#resolve(this.#result(this.method))
    } catch (error) {
      this.#reject(error as CheckpointError)
    }
  }

  fail(error: CheckpointError): void {
    if (this.settled) return
    this.#settle()
    this.#reject(error)
  }

  /** The next piece from the position on, of at most so many bytes. Moves the position. */
  nextPiece(pieceBytes: number, overhead: number): Piece {
    if (this.kind === operationKind.flush) {
      this.position = { range: 0, byte: 0, flushed: true }
      return new Piece(this, operationKind.flush, 0, [], [], this.flushRanges, overhead, this.position)
    }
    if (this.position === start && this.bytes <= pieceBytes && this.buffers.length <= maxPieceRanges) {
      this.position = { range: this.buffers.length, byte: 0, flushed: true }
      const { kind, until, offsets, buffers, flushRanges } = this
      return new Piece(this, kind, until, offsets, buffers, flushRanges, this.bytes + overhead, this.position)
    }
    return this.position.range < this.buffers.length
      ? this.#dataPiece(pieceBytes, overhead)
      : this.#flushPiece(overhead)
  }

  pieceTaken(piece: Piece): void {
    this.posted = true
    this.piecesInFlight++
    if (!(this.cut && this.#line.length === 0)) this.#line.push(piece)
  }

  pieceDone(piece: Piece): void {
    this.piecesInFlight--
    piece.done = true
    while (this.#line[0]?.done) this.donePosition = (this.#line.shift() as Piece).end
  }

  /** Back to what has been answered, or to the very beginning. */
  rewind(toStart: boolean): void {
    if (toStart) this.donePosition = start
    this.position = this.donePosition
    this.piecesInFlight = 0
    this.#line = []
  }

  get #needsOwnFlush(): boolean {
    return this.isWrite && this.until === operationUntil.durable
  }

  #dataPiece(pieceBytes: number, overhead: number): Piece {
    const offsets: number[] = []
    const buffers: Uint8Array[] = []
    let { range, byte } = this.position
    let room = pieceBytes
    while (range < this.buffers.length && room > 0 && buffers.length < maxPieceRanges) {
      const whole = this.buffers[range] as Uint8Array
      const all = this.lengths[range] as number
      const length = Math.min(room, all - byte)
      offsets.push((this.offsets[range] as number) + byte)
      buffers.push(whole.subarray(byte, byte + length))
      room -= length
      byte += length
      if (byte === all) {
        range++
        byte = 0
      }
    }
    this.position = { range, byte, flushed: false }
    const until = this.until === operationUntil.durable ? operationUntil.visible : this.until
    return new Piece(this, this.kind, until, offsets, buffers, undefined, pieceBytes - room + overhead, this.position)
  }

  #flushPiece(overhead: number): Piece {
    this.position = { range: this.buffers.length, byte: 0, flushed: true }
    const ranges = [...(this.flushRanges ?? [])]
    for (const [index, length] of this.lengths.entries()) ranges.push(this.offsets[index] as number, length)
    return new Piece(this, operationKind.flush, 0, [], [], ranges, overhead, this.position)
  }

  #settle(): void {
    this.settled = true
    if (this.use !== 'log') release()
    if (this.signal !== undefined) unwatchAbort(this.signal, this)
  }
}

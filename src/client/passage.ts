/**
 * How far a transfer has come on one connection. It goes out as one piece, or as several when it is larger than a piece may
 * be; each piece is one operation of the native channel. After a break it goes on behind what has been answered.
 */
import { type NativeOperation, operationKind, operationUntil } from '../native.js'
import { operationOverhead } from './in-flight-budget.js'
import type { Transfer } from './transfer.js'

/** What goes out at once: an operation of the native channel, and what it means to its passage. */
export class Piece implements NativeOperation {
  done = false
  /** Of what becomes durable: the sync that it waits for, with others perhaps. */
  sync: { left: number } | undefined

  constructor(
    readonly passage: Passage,
    readonly kind: number,
    readonly until: number,
    readonly offsets: readonly number[],
    readonly buffers: readonly Uint8Array[],
    readonly flushRanges: readonly number[] | undefined,
    /** What it takes of the budget. */
    readonly charge: number,
    /** The passage's position behind it. */
    readonly end: Position,
  ) {}
}

/** How much of a transfer has been cut into pieces. `range` beyond the last one: only the flush of it is left. */
interface Position {
  readonly range: number
  readonly byte: number
  readonly flushed: boolean
}
const start: Position = { range: 0, byte: 0, flushed: false }
const everything: Position = { range: Number.POSITIVE_INFINITY, byte: 0, flushed: true }

/** Ranges of one piece of a call that is cut up; keeps single operations from becoming arbitrarily large lists. */
const maxPieceRanges = 1024

export class Passage {
  /** On this connection. */
  piecesInFlight = 0
  /** Connections that broke in a way that this transfer may be the cause of. */
  suspicions = 0
  /** All of it has been cut into pieces. */
  cut = false
  #position: Position = start
  /** Everything before it has been answered. */
  #donePosition: Position = start
  /** Pieces of a transfer that was cut up, in order, from the first that is not done. */
  #line: Piece[] = []

  constructor(readonly transfer: Transfer) {}

  /** The next piece, of at most so many bytes. It is taken by {@link take}, or cut again. */
  nextPiece(pieceBytes: number): Piece {
    const { transfer } = this
    const { kind, until, offsets, buffers, flushRanges, bytes } = transfer
    if (kind === operationKind.flush) {
      return new Piece(this, kind, operationUntil.placed, [], [], flushRanges, operationOverhead, everything)
    }
    if (this.#position === start && bytes <= pieceBytes && buffers.length <= maxPieceRanges) {
      const charge = bytes + operationOverhead
      return new Piece(this, kind, until, offsets, buffers, flushRanges, charge, everything)
    }
    return this.#position.range < buffers.length ? this.#dataPiece(pieceBytes) : this.#flushPiece()
  }

  /** The piece goes out. @returns whether it was the last one */
  take(piece: Piece): boolean {
    this.#goTo(piece.end)
    this.transfer.posted = true
    this.transfer.piecesInFlight++
    this.piecesInFlight++
    if (!(this.cut && this.#line.length === 0)) this.#line.push(piece)
    return this.cut
  }

  /** The piece has been answered. */
  done(piece: Piece): void {
    this.transfer.piecesInFlight--
    this.piecesInFlight--
    piece.done = true
    while (this.#line[0]?.done) this.#donePosition = (this.#line.shift() as Piece).end
  }

  /** The connection is gone: back to what has been answered, or to the very beginning. */
  rewind(toStart: boolean): void {
    if (toStart) this.#donePosition = start
    this.#goTo(this.#donePosition)
    this.transfer.piecesInFlight -= this.piecesInFlight
    this.piecesInFlight = 0
    this.#line = []
  }

  #goTo(position: Position): void {
    const { kind, until, lengths } = this.transfer
    const ownFlush = kind === operationKind.write && until === operationUntil.durable
    const moved = position.range >= lengths.length
    this.#position = position
    this.cut = position.flushed || (moved && kind !== operationKind.flush && !ownFlush)
  }

  #dataPiece(pieceBytes: number): Piece {
    const { transfer } = this
    const offsets: number[] = []
    const buffers: Uint8Array[] = []
    let { range, byte } = this.#position
    let room = pieceBytes
    while (range < transfer.buffers.length && room > 0 && buffers.length < maxPieceRanges) {
      const whole = transfer.buffers[range] as Uint8Array
      const all = transfer.lengths[range] as number
      const length = Math.min(room, all - byte)
      offsets.push((transfer.offsets[range] as number) + byte)
      buffers.push(whole.subarray(byte, byte + length))
      room -= length
      byte += length
      if (byte === all) {
        range++
        byte = 0
      }
    }
    const until = transfer.until === operationUntil.durable ? operationUntil.visible : transfer.until
    const charge = pieceBytes - room + operationOverhead
    return new Piece(this, transfer.kind, until, offsets, buffers, undefined, charge, { range, byte, flushed: false })
  }

  #flushPiece(): Piece {
    const { transfer } = this
    const ranges = [...(transfer.flushRanges ?? [])]
    for (const [index, length] of transfer.lengths.entries()) ranges.push(transfer.offsets[index] as number, length)
    return new Piece(this, operationKind.flush, operationUntil.placed, [], [], ranges, operationOverhead, everything)
  }
}

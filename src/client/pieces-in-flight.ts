/**
 * The pieces that one queue has posted on its connection and that have no outcome yet. Small ones of one kind go out as a
 * group: in one crossing and one transmission, with one read that makes all of them visible, or one sync.
 *
 * Invariants:
 * - A piece has a number from its post to its outcome, and the pieces of a group have numbers in a row.
 * - At most {@link mostSyncs} groups of small durable writes are under way, so that what comes meanwhile shares the next.
 */
import { type NativeDataChannel, operationKind, operationUntil, postFlag } from '../native.js'
import type { Piece } from './passage.js'

/** Of a group: bytes with their overhead, and pieces. */
const mostGroupedBytes = 64 * 1024
const mostGrouped = 256
const mostSyncs = 2

export class PiecesInFlight {
  readonly #byId = new Map<number, Piece>()
  #nextId = 1
  #syncs = 0

  get size(): number {
    return this.#byId.size
  }

  values(): Iterable<Piece> {
    return this.#byId.values()
  }

  get(id: number): Piece | undefined {
    return this.#byId.get(id)
  }

  /** Whether it has to wait until a sync under way has ended, and then may share one with others. */
  mustWait(piece: Piece): boolean {
    return this.#syncs >= mostSyncs && isSmallSync(piece)
  }

  /**
   * Posts pieces that may go out together.
   * @returns the number of the first, and the method by which it has been answered already, if it has
   * @throws what native code does, when none of them is in flight
   */
  post(
    channel: NativeDataChannel,
    pieces: readonly Piece[],
    flags: number,
  ): { id: number; method: number | undefined } {
    const id = this.#nextId
    const first = pieces[0] as Piece
    this.#nextId += pieces.length
    for (let index = 0; index < pieces.length; index++) this.#byId.set(id + index, pieces[index] as Piece)
    if (isSmallSync(first)) {
      const sync = { left: pieces.length }
      for (const piece of pieces) piece.sync = sync
      this.#syncs++
    }
    if (pieces.length === 1) return { id, method: channel.post(id, first, flags) }
    channel.postGroup(id, pieces, flags & ~postFlag.poll)
    return { id, method: undefined }
  }

  /** It has its outcome, or none is to come. */
  delete(id: number): void {
    const sync = this.#byId.get(id)?.sync
    if (sync !== undefined && --sync.left === 0) this.#syncs--
    this.#byId.delete(id)
  }

  /** The numbers of these pieces, which were posted last. */
  withdraw(pieces: readonly Piece[]): void {
    for (let index = 1; index <= pieces.length; index++) this.delete(this.#nextId - index)
  }

  clear(): void {
    this.#byId.clear()
    this.#syncs = 0
  }
}

/** A group that grows while what comes next may go out with it. */
export class Group {
  readonly pieces: [Piece, ...Piece[]]
  #charge: number

  constructor(first: Piece) {
    this.pieces = [first]
    this.#charge = first.charge
  }

  admits(piece: Piece): boolean {
    const [first] = this.pieces
    return (
      this.pieces.length < mostGrouped &&
      this.#charge + piece.charge <= mostGroupedBytes &&
      first.kind === piece.kind &&
      first.until === piece.until &&
      first.kind !== operationKind.flush &&
      first.passage.transfer.ours === piece.passage.transfer.ours
    )
  }

  add(piece: Piece): void {
    this.pieces.push(piece)
    this.#charge += piece.charge
  }
}

function isSmallSync({ kind, until, charge }: Piece): boolean {
  return kind === operationKind.write && until === operationUntil.durable && charge < mostGroupedBytes
}

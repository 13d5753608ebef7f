/**
 * The calls on one connection: they go out in the order in which they came, in pieces while the client's bytes in flight allow
 * it, and are kept until they have an answer. What had none when the connection broke goes out again on the next, in its
 * order. Reads, writes and flushes of a region are idempotent, so that repeating is safe.
 *
 * Invariants:
 * - A call is in the queue until all of it has been cut into pieces, and by its pieces until they have an outcome.
 * - Each piece in flight has taken its charge from the budget, and gives it back once: by its outcome, or when the connection
 *   has broken.
 * - Every call settles: by its answer, its deadline, its signal, or the end of the connection.
 * - While another call is in flight, or when the turn before had more than one, the small calls of a turn of the event loop go
 *   out together at its end. What is to become durable waits while two syncs are under way, and joins the next.
 */
import type { CheckpointError } from '../errors.js'
import { type NativeDataChannel, operationKind, postFlag } from '../native.js'
import { fromNative, fromNativeCode, nativeCode } from '../native-error.js'
import {
  bereftError,
  closedError,
  connectionLostError,
  endsConnection,
  mayBreakConnection,
  writesLostError,
} from './call-errors.js'
import { Cork } from './cork.js'
import type { Deadlines, DeadlineUser } from './deadlines.js'
import type { BudgetUser, InFlightBudget } from './in-flight-budget.js'
import { Passage, type Piece } from './passage.js'
import { Group, PiecesInFlight } from './pieces-in-flight.js'
import type { PollTurn } from './poll-turn.js'
import {
  bounded,
  type ConnectionContext,
  type ConnectionUser,
  type Opened,
  type Opener,
  RegionConnection,
} from './region-connection.js'
import type { Transfer, TransferOwner, TransferUse } from './transfer.js'
import type { UndurableWrites } from './undurable.js'

/** What all queues of one client share. */
export interface QueueContext extends ConnectionContext {
  budget: InFlightBudget
  deadlines: Deadlines
  pollTurn: PollTurn
}

/** Who is told what becomes of the connection. */
export interface QueueUser {
  /** It has ended for good; calls without an answer have failed. */
  onEnded?(error: CheckpointError): void
  /** It has broken, and is to be made again. */
  onBroken?(): void
  /** The unit came back without writes of this handle that had been visible but not durable. */
  onWritesLost?(error: CheckpointError): void
}

/** Up to so many bytes a device may be done before another thread could be woken to say so. */
const maxPolledBytes = 16 * 1024
/** Tries of a call on connections that it may have broken itself. */
const maxSuspicions = 3

export class TransferQueue<T extends Opened> implements TransferOwner, BudgetUser, DeadlineUser, ConnectionUser {
  readonly connection: RegionConnection<T>
  readonly #context: QueueContext
  readonly #notDurable: UndurableWrites
  readonly #user: QueueUser
  #queue: Passage[] = []
  readonly #pieces = new PiecesInFlight()
  readonly #cork = new Cork(() => this.#postQueue())
  /** The first call in the queue waits until a sync has ended. */
  #waitsForSync = false
  /** What calls are refused with once a close has begun. */
  #refusal: CheckpointError | undefined
  /** Of those that have begun before, only the answers are waited for. */
  #closing = false
  #closed: Promise<CheckpointError | undefined> | undefined
  #whenIdle: (() => void) | undefined

  /** @param notDurable is told what becomes of the calls */
  constructor(context: QueueContext, opener: Opener<T>, notDurable: UndurableWrites, user: QueueUser = {}) {
    this.#context = context
    this.#notDurable = notDurable
    this.#user = user
    this.connection = new RegionConnection(context, opener, this)
    context.deadlines.join(this)
  }

  /** What a call is refused with, if it is; the connection may be broken at the moment. */
  refusalOf(use: TransferUse): CheckpointError | undefined {
    return this.connection.failure ?? (use === 'log' && !this.#closing ? undefined : this.#refusal)
  }

  get pending(): boolean {
    return this.#pieces.size > 0 || this.#queue.length > 0
  }

  get hasQueued(): boolean {
    return this.connection.channel !== undefined && this.#queue.length > 0 && !this.#waitsForSync
  }

  /** Every call that has no answer, in the order they came; one may turn up more than once. */
  *unanswered(): Iterable<Transfer> {
    for (const { passage } of this.#pieces.values()) yield passage.transfer
    for (const { transfer } of this.#queue.slice()) yield transfer
  }

  /** Takes a checked call over. Its promise tells the rest. */
  submit(transfer: Transfer): void {
    const ended = this.refusalOf(transfer.use)
    if (ended !== undefined) {
      transfer.reject(ended.withOutcome('none'))
      return
    }
    this.#context.deadlines.watch(transfer.deadline)
    this.#queue.push(new Passage(transfer))
    if (this.connection.channel === undefined) this.#waitForConnection()
    else if (this.#cork.isIn || this.#queue.length > 1) return
    else if (this.#cork.fits(this.#pieces.size)) this.#cork.put()
    else this.#postQueue()
  }

  /** Takes no more calls but those of the region's log. Reading checkpoints ends at once; other calls are still answered. */
  refuse(reason: CheckpointError): void {
    if (this.#refusal !== undefined || this.connection.failure !== undefined) return
    this.#refusal = reason
    for (const transfer of new Set(this.unanswered())) {
      if (transfer.use === 'look') transfer.giveUp(reason.withOutcome(transfer.outcome))
    }
  }

  /** Waits for pending calls, at most so long, and closes the connection and the handle. @returns as of {@link RegionConnection.close} */
  close(timeoutMs: number): Promise<CheckpointError | undefined> {
    this.#closed ??= this.#close(timeoutMs)
    return this.#closed
  }

  async #close(timeoutMs: number): Promise<CheckpointError | undefined> {
    const { connection } = this
    this.refuse(closedError(connection.what))
    this.#closing = true
    connection.expectClose()
    if (this.#isAwaited && connection.failure === undefined) {
      await bounded(timeoutMs, (done) => {
        this.#whenIdle = done
      })
    }
    connection.end(this.#refusal ?? closedError(connection.what))
    return await connection.close()
  }

  // BudgetUser

  postNext(): boolean {
    let passage = this.#queue[0]
    while (passage !== undefined && (passage.transfer.settled || passage.transfer.bereft)) {
      if (passage.transfer.settled) this.#queue.shift()
      else this.#fail(passage.transfer, bereftError(passage.transfer))
      passage = this.#queue[0]
    }
    if (passage === undefined) return true
    const { budget } = this.#context
    const piece = passage.nextPiece(budget.pieceBytes)
    if (this.#pieces.mustWait(piece)) {
      this.#waitsForSync = true
      return true
    }
    if (!budget.take(this, piece.charge)) return false
    const group = new Group(piece)
    if (passage.take(piece)) this.#queue.shift()
    for (let next = this.#queue[0]; next !== undefined && !next.transfer.settled && !next.transfer.bereft; ) {
      const another = next.nextPiece(budget.pieceBytes)
      if (!group.admits(another) || !budget.take(this, another.charge)) break
      if (next.take(another)) this.#queue.shift()
      group.add(another)
      next = this.#queue[0]
    }
    this.#post(group.pieces)
    return true
  }

  // DeadlineUser

  expire(now: number): number {
    let next = Number.POSITIVE_INFINITY
    const { connection } = this
    const disconnected = connection.channel === undefined
    for (const transfer of this.unanswered()) {
      if (transfer.settled) continue
      const { what, outcome, startedAt, deadline } = transfer
      const end = disconnected ? Math.min(deadline, connection.waitsUntil(startedAt)) : deadline
      if (end > now) next = Math.min(next, end)
      else if (disconnected) transfer.giveUp(connectionLostError(what, outcome, connection.lastError))
      else transfer.giveUp(transfer.lateError())
    }
    return next
  }

  // TransferOwner

  onAbandoned(transfer: Transfer): void {
    this.#notDurable.onAbandoned(transfer)
    const at = this.#queue.findIndex((passage) => passage.transfer === transfer)
    if (at >= 0) this.#queue.splice(at, 1)
    if (this.#queue.length === 0) this.#context.budget.leave(this)
    if (transfer.piecesInFlight === 0) transfer.buffers = []
    this.#checkIdle()
  }

  // ConnectionUser

  onUp(restarted: boolean): void {
    this.#notDurable.onUp(this.connection.durablePromised, restarted, this.pending)
    for (const passage of this.#queue) passage.rewind(restarted && passage.transfer.isWrite)
    if (restarted) this.#afterRestart()
    this.#postQueue()
  }

  #afterRestart(): void {
    const error = writesLostError(this.connection.what)
    const waiting = this.#queue.map(({ transfer }) => transfer)
    const lost = this.#notDurable.onRestart(waiting, (transfer) =>
      this.#fail(transfer, error.withOutcome(transfer.outcome)),
    )
    if (lost) this.#user.onWritesLost?.(error)
  }

  onOutcomes(outcomes: Float64Array): void {
    for (let i = 0; i < outcomes.length; i += 4) {
      const id = outcomes[i] as number
      const piece = this.#pieces.get(id)
      if (piece === undefined) continue
      const code = outcomes[i + 1] as number
      if (code === nativeCode.ok) this.#onSuccess(id, piece, outcomes[i + 2] as number)
      else this.#onFailure(id, piece, code, outcomes[i + 3])
    }
    this.#afterOutcomes()
  }

  #onFailure(id: number, piece: Piece, code: number, systemError: number | undefined): void {
    const { passage } = piece
    const { transfer } = passage
    const { what, outcome } = transfer
    if (!endsConnection(code)) {
      this.#finishPiece(id, piece)
      this.#fail(transfer, fromNativeCode(code, `${what} failed.`, systemError, { outcome }))
      return
    }
    // It stays among the pieces, and is sent again after the end of the connection, which is on its way.
    this.connection.noteBreaking(code)
    if (mayBreakConnection(code)) passage.suspicions++
    if (passage.suspicions >= maxSuspicions) {
      this.#fail(transfer, fromNativeCode(code, `${what} was refused by the unit.`, systemError, { outcome }))
    }
  }

  onDown(): void {
    this.#requeue()
    if (this.connection.failure !== undefined) return
    this.#user.onBroken?.()
    if (this.pending) this.#waitForConnection()
  }

  onEnded(error: CheckpointError): void {
    for (const transfer of new Set(this.unanswered())) this.#fail(transfer, error.withOutcome(transfer.outcome))
    this.#queue = []
    this.#context.budget.leave(this)
    this.#context.deadlines.leave(this)
    this.#user.onEnded?.(error)
    this.#checkIdle()
  }

  // posting

  #postQueue(): number {
    const waiting = this.#queue.length
    this.#waitsForSync = false
    while (this.hasQueued && this.postNext()) {}
    return waiting
  }

  #post(group: readonly Piece[]): void {
    const channel = this.connection.channel as NativeDataChannel
    const first = group[0] as Piece
    let flags = this.#notDurable.flushByUnit ? postFlag.flushByUnit : 0
    if (this.#pieces.size === 0 && first.charge <= maxPolledBytes && this.#mayPoll()) flags |= postFlag.poll
    if (first.passage.transfer.ours) flags |= postFlag.ours
    let posted: { id: number; method: number | undefined }
    try {
      posted = this.#pieces.post(channel, group, flags)
    } catch (error) {
      this.#onRefused(group, error)
      return
    }
    const { id, method } = posted
    if (method === undefined) return
    this.#onSuccess(id, first, method)
    this.#afterOutcomes()
  }

  #onRefused(group: readonly Piece[], error: unknown): void {
    const code = (error as { nativeCode?: unknown }).nativeCode
    // The connection is over; its end is on the way here, and the pieces are repeated after it.
    if (endsConnection(code)) return
    this.#pieces.withdraw(group)
    if (group.length > 1) {
      // What is wrong with one of them is not to be the others' fault.
      for (const piece of group) this.#post([piece])
      return
    }
    const piece = group[0] as Piece
    this.#letGo(piece)
    this.#fail(piece.passage.transfer, fromNative(error, { outcome: piece.passage.transfer.outcome }))
    this.#context.budget.drain()
  }

  #mayPoll(): boolean {
    return this.connection.endpoint?.transport === 'verbs' && this.#context.pollTurn.mayPoll(performance.now())
  }

  #onSuccess(id: number, piece: Piece, method: number): void {
    const { passage } = piece
    this.#finishPiece(id, piece)
    if (method !== 0) passage.transfer.method = method
    if (passage.piecesInFlight === 0 && passage.cut) this.#succeed(passage.transfer)
  }

  #finishPiece(id: number, piece: Piece): void {
    this.#pieces.delete(id)
    this.#letGo(piece)
  }

  #letGo(piece: Piece): void {
    const { passage, charge } = piece
    this.#context.budget.release(charge)
    passage.done(piece)
    const { transfer } = passage
    if (transfer.settled && transfer.piecesInFlight === 0) transfer.buffers = []
  }

  #succeed(transfer: Transfer): void {
    if (transfer.kind === operationKind.read && transfer.bereft) {
      this.#fail(transfer, bereftError(transfer))
      return
    }
    this.#notDurable.onAnswered(transfer)
    transfer.succeed()
    transfer.buffers = []
  }

  #fail(transfer: Transfer, error: CheckpointError): void {
    if (transfer.settled) return
    transfer.reject(error)
    this.onAbandoned(transfer)
  }

  #afterOutcomes(): void {
    this.connection.noteWorking()
    if (this.#waitsForSync) this.#cork.put()
    this.#context.budget.drain()
    this.#checkIdle()
  }

  /** Puts every call without an answer back in the queue, in the order they came. */
  #requeue(): void {
    const { budget } = this.#context
    const waiting = new Set<Passage>()
    for (const { passage, charge } of this.#pieces.values()) {
      budget.release(charge)
      waiting.add(passage)
    }
    this.#pieces.clear()
    this.#waitsForSync = false
    for (const passage of this.#queue) waiting.add(passage)
    this.#queue = []
    for (const passage of waiting) {
      passage.rewind(false)
      const { transfer } = passage
      if (!transfer.settled) this.#queue.push(passage)
      else if (transfer.piecesInFlight === 0) transfer.buffers = []
    }
    budget.leave(this)
    budget.drain()
  }

  #waitForConnection(): void {
    this.#context.deadlines.watch(performance.now() + this.connection.retryMs)
  }

  /** Somebody waits for an answer. What was given up may still be on its way, and ends with the connection. */
  get #isAwaited(): boolean {
    for (const transfer of this.unanswered()) if (!transfer.settled) return true
    return false
  }

  #checkIdle(): void {
    if (this.#whenIdle !== undefined && !this.#isAwaited) this.#whenIdle()
  }
}

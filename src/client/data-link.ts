/**
 * One open handle's data connection, kept alive: it posts calls, makes the connection again when it broke, and repeats in
 * their order the calls that had no answer. Region writes, reads and flushes are idempotent, so that repeating is safe; the
 * unit fences the earlier connection of the handle before it answers the new open, so that nothing of it lands later.
 */
import type { Secret } from '../call/printed.js'
import { deadlineTimer } from '../call/timer.js'
import type { Endpoint } from '../control/messages.js'
import { CheckpointError, type ErrorCode, type Outcome } from '../errors.js'
import type { NativeDataChannel, NativeDataHandler, NativeEngine, NativeGrant } from '../native.js'
import { operationKind, operationUntil, postFlag } from '../native.js'
import { fromNative, fromNativeCode, nativeCode } from '../native-error.js'
import { Backoff } from './backoff.js'
import type { Connection, ConnectionAccount } from './connection-account.js'
import type { Deadlines, DeadlineUser } from './deadlines.js'
import { DirtyRanges, type Interval } from './dirty-ranges.js'
import type { DataEndpoint, EndpointChoice } from './endpoints.js'
import { type BudgetUser, type InFlightBudget, operationOverhead } from './in-flight-budget.js'
import {
  bereftError,
  closedError,
  connectionLostError,
  fencedError,
  lostToAnother,
  otherEpoch,
  retold,
  timedOutError,
  writesLostError,
} from './link-errors.js'
import { passing } from './passing-errors.js'
import type { PollTurn } from './poll-turn.js'
import type { Piece, Transfer, TransferOwner, TransferUse } from './transfer.js'

/** What the control plane answers to an open. */
export interface Opened {
  handle: bigint
  token: Secret
  endpoints: readonly Endpoint[]
}

export interface LinkOpener<T extends Opened> {
  /** For messages: "region 'orders'". */
  readonly what: string
  /** An open changes something at the unit: who owns the region. */
  readonly changes: boolean
  /** Name of the region; undefined for the pool's tables. */
  readonly region: string | undefined
  /** @param previous the open before, when the connection is made again */
  open(previous: T | undefined, timeoutMs: number): Promise<T>
  /** Best effort. */
  close(opened: T): Promise<void>
  /** The link has ended for good. */
  onFailed(error: CheckpointError): void
  /** The unit came back without writes of this handle that had been visible but not flushed. */
  onWritesLost(error: CheckpointError): void
  onOpened(opened: T, grant: NativeGrant): void
  /** The connection has broken, and is to be made again. */
  onBroken?(): void
}

/** What all links of one client share. */
export interface LinkContext {
  engine: NativeEngine
  budget: InFlightBudget
  deadlines: Deadlines
  pollTurn: PollTurn
  endpoints: EndpointChoice
  retryMs: number
  account: ConnectionAccount
}

/** A single control call or set-up of a connection may take so long before the next try. */
const attemptMs = 5_000
const firstBackoffMs = 10
/** Whoever closes waits no longer for the end of the connection: a unit that is stopped never confirms it. */
const disconnectMs = 500
/** A connection that stood for so long was a good one. */
const goodMs = 1_000
/** A connection on which one work request is unanswered for so long is dead, whatever the deadlines of the calls. */
const workDeadlineMs = 60_000
/** Up to so many bytes a device may be done before another thread could be woken to say so. */
const maxPolledBytes = 16 * 1024
/** Tries of a call on connections that it may have broken itself. */
const maxSuspicions = 3
const promiseDurable = 2

/** Connection-level ends of an operation: it is repeated on the next connection. */
const connectionCodes: ReadonlySet<number> = new Set([
  nativeCode.connectionRefused,
  nativeCode.connectionClosed,
  nativeCode.connectionBroken,
  nativeCode.timedOut,
  nativeCode.remoteAccess,
  nativeCode.protocolViolation,
  nativeCode.fenced,
  nativeCode.stopped,
  nativeCode.localClosed,
])
/** Of them, those that the operation itself may have caused. */
const suspectCodes: ReadonlySet<number> = new Set([nativeCode.remoteAccess, nativeCode.protocolViolation])

/** The same as `passing`, of opening again: what stood once shall not end because the machine is short of something, or another
 * program answers in the unit's place, for a while. */
const passingLater: ReadonlySet<ErrorCode> = new Set(['LIMIT_REACHED', 'OUT_OF_MEMORY', 'SYSTEM', 'PROTOCOL_VIOLATION'])

export class DataLink<T extends Opened> implements TransferOwner, BudgetUser, DeadlineUser {
  /**
   * What this handle has written, or may have, and no flush has made durable: visible writes that were not flushed, and all
   * of a call that failed or was given up, until a later flush of it has succeeded.
   */
  readonly dirty = new DirtyRanges()
  rollbacks = 0
  opened: T | undefined
  grant: NativeGrant | undefined
  endpoint: DataEndpoint | undefined

  #context: LinkContext
  #opener: LinkOpener<T>
  #channel: NativeDataChannel | undefined
  /**
   * Bytes that this handle wrote on an earlier connection may still have to become durable. RDMA FLUSH covers those of its own
   * connection only, so that from there on the unit makes durable.
   */
  #flushByUnit = false
  /** A write was given up that may have landed. */
  #doubtful = false
  #pieces = new Map<number, Piece>()
  #nextId = 1
  #queue: Transfer[] = []
  #failure: CheckpointError | undefined
  /** What calls are refused with once a close has begun. */
  #refusal: CheckpointError | undefined
  /** Of those that have begun before, only the answers are waited for. */
  #closing = false
  #closed: Promise<void> | undefined
  #connecting = false
  #fencedHint = false
  #brokenAt = 0
  #lastError: CheckpointError | undefined
  /** A try to open may have taken effect, whatever a later one was answered. */
  #openedInDoubt = false
  #backoff = new Backoff(firstBackoffMs)
  #openedAt = 0
  #pauseTimer: NodeJS.Timeout | undefined
  #endPause: (() => void) | undefined
  #whenOpen: { resolve: () => void; reject: (error: CheckpointError) => void } | undefined
  #whenIdle: (() => void) | undefined
  #whenClosed: (() => void) | undefined
  #connection: Connection
  #attempt = 0

  constructor(context: LinkContext, opener: LinkOpener<T>) {
    this.#connection = { kind: 'data', ...(opener.region === undefined ? {} : { region: opener.region }) }
    this.#context = context
    this.#opener = opener
    context.deadlines.join(this)
  }

  /** Makes the first connection, trying again what may pass until the deadline. */
  async open(signal: AbortSignal | undefined, deadline: number): Promise<void> {
    const opening = new Promise<void>((resolve, reject) => {
      this.#whenOpen = { resolve, reject }
    })
    const what = `Opening ${this.#opener.what}`
    const outcome = this.#opener.changes ? 'unknown' : 'none'
    const abort = () =>
      this.#end(new CheckpointError('ABORTED', `${what} was aborted.`, { cause: signal?.reason, outcome }))
    signal?.addEventListener('abort', abort)
    const now = performance.now()
    const end = Math.min(deadline, now + Math.max(this.#context.retryMs, attemptMs))
    const late = () =>
      this.#end(
        this.#lastError === undefined
          ? new CheckpointError('TIMEOUT', `${what} had no answer within its deadline.`, { outcome, retryable: true })
          : connectionLostError(what, outcome, this.#lastError),
      )
    const timer = deadlineTimer(end - now, late)
    this.#brokenAt = now
    void this.#connect()
    try {
      await opening
    } catch (error) {
      // The unit may have opened it, and would keep it for this session.
      void this.close(1)
      throw error
    } finally {
      timer?.cancel()
      signal?.removeEventListener('abort', abort)
    }
  }

  get failure(): CheckpointError | undefined {
    return this.#failure
  }

  get durablePromised(): boolean {
    return ((this.grant?.promises ?? 0) & promiseDurable) !== 0
  }

  /** What a call is refused with, if it is; the connection may be broken at the moment. */
  refusalOf(use: TransferUse): CheckpointError | undefined {
    return this.#failure ?? (use === 'log' && !this.#closing ? undefined : this.#refusal)
  }

  /** Since when there has been no connection, on performance.now()'s clock; undefined while there is one. */
  get brokenAt(): number | undefined {
    return this.#channel === undefined ? this.#brokenAt : undefined
  }

  /** For a call whose time is over: that there is no connection, if so. */
  lost(call: string, outcome: Outcome): CheckpointError | undefined {
    return this.#channel === undefined ? connectionLostError(call, outcome, this.#lastError) : undefined
  }

  get pending(): boolean {
    return this.#pieces.size > 0 || this.#queue.length > 0
  }

  get hasQueued(): boolean {
    return this.#channel !== undefined && this.#queue.length > 0
  }

  /** Hands a checked call over. Its promise tells the rest. */
  submit(transfer: Transfer): void {
    const ended = this.refusalOf(transfer.use)
    if (ended !== undefined) {
      transfer.fail(retold(ended, 'none'))
      return
    }
    this.#context.deadlines.watch(transfer.deadline)
    this.#queue.push(transfer)
    if (this.#channel === undefined) this.#waitForConnection()
    else if (this.#queue.length === 1) this.#postQueue()
  }

  /**
   * Takes what a flush or durable write covers out of the dirty ranges; it comes back when the call fails.
   * @param carried ranges written by earlier calls
   */
  cover(transfer: Transfer, own: readonly Interval[], carried: readonly Interval[]): void {
    if (this.dirty.empty) return
    for (const { offset, length } of own) transfer.taken.push(...this.dirty.subtract(offset, length))
    for (const { offset, length } of carried) {
      const taken = this.dirty.subtract(offset, length)
      if (taken.length > 0) transfer.carriesEarlierWrites = true
      transfer.taken.push(...taken)
    }
  }

  /**
   * A flush of everything: the dirty ranges, and what calls without an answer have written or are to make durable. They may
   * fail, and what this flush says must not depend on them.
   */
  coverPending(by: (ranges: number[]) => Transfer): Transfer {
    const before = new Set<Transfer>()
    for (const transfer of this.#transfers()) {
      if (!transfer.settled && transfer.kind !== operationKind.read) before.add(transfer)
    }
    const earlier = this.dirty.takeAll()
    const covered = new DirtyRanges()
    for (const { offset, length } of earlier) covered.add(offset, length)
    for (const transfer of before) {
      for (const { offset, length } of transfer.touchedRanges()) covered.add(offset, length)
    }
    const flush = by(covered.toArray().flatMap(({ offset, length }) => [offset, length]))
    flush.taken = earlier
    flush.carriesEarlierWrites = earlier.length > 0
    for (const transfer of before) {
      transfer.coveredBy = flush
      if (transfer.carriesEarlierWrites) flush.carriesEarlierWrites = true
    }
    return flush
  }

  /** A later epoch owns the region. */
  fence(epoch: bigint | undefined): void {
    this.#end(fencedError(this.#opener.what, epoch))
  }

  /** Takes no more calls but those of its region's log. Reading checkpoints ends at once; other calls are still answered. */
  refuse(reason: CheckpointError): void {
    if (this.#refusal !== undefined || this.#failure !== undefined) return
    this.#refusal = reason
    for (const transfer of new Set(this.#transfers())) {
      if (transfer.use === 'look') transfer.giveUp(retold(reason, transfer.outcome))
    }
  }

  /** Ends it now; calls without an answer reject with that. */
  abandon(reason: CheckpointError): void {
    this.#end(reason)
  }

  /** Waits for pending calls, at most so long, and closes the connection and the handle. */
  close(timeoutMs: number): Promise<void> {
    this.#closed ??= this.#close(timeoutMs)
    return this.#closed
  }

  async #close(timeoutMs: number): Promise<void> {
    this.refuse(closedError(this.#opener.what))
    this.#closing = true
    if (this.#isAwaited && this.#failure === undefined) {
      await bounded(timeoutMs, (done) => {
        this.#whenIdle = done
      })
    }
    this.#end(this.#refusal ?? closedError(this.#opener.what))
    if (this.#channel !== undefined) {
      await bounded(disconnectMs, (done) => {
        this.#whenClosed = done
        this.#channel?.close()
      })
    }
    // Of a handle that was fenced, or whose region is gone, the unit has nothing left.
    const gone = this.#failure?.code === 'FENCED' || this.#failure?.code === 'REGION_NOT_FOUND'
    if (this.opened !== undefined && !gone) await this.#opener.close(this.opened).catch(() => undefined)
  }

  // BudgetUser

  postNext(): boolean {
    let transfer = this.#queue[0]
    while (transfer !== undefined && (transfer.settled || transfer.bereft)) {
      if (transfer.settled) this.#queue.shift()
      else this.#fail(transfer, bereftError(transfer))
      transfer = this.#queue[0]
    }
    if (transfer === undefined) return true
    const { budget } = this.#context
    const before = transfer.position
    const piece = transfer.nextPiece(budget.pieceBytes, operationOverhead)
    if (!budget.take(this, piece.charge)) {
      transfer.position = before
      return false
    }
    if (transfer.cut) this.#queue.shift()
    this.#post(piece)
    return true
  }

  // DeadlineUser

  expire(now: number): number {
    let next = Number.POSITIVE_INFINITY
    const disconnected = this.#channel === undefined
    for (const transfer of this.#transfers()) {
      if (transfer.settled) continue
      const end = disconnected ? Math.min(transfer.deadline, this.#retryEnd(transfer)) : transfer.deadline
      if (end > now) next = Math.min(next, end)
      else if (disconnected) transfer.giveUp(connectionLostError(transfer.what, transfer.outcome, this.#lastError))
      else transfer.giveUp(timedOutError(transfer))
    }
    return next
  }

  // TransferOwner

  onAbandoned(transfer: Transfer): void {
    if (transfer.posted && transfer.isWrite) this.#doubtful = true
    this.#leaveDirty(transfer, false)
    const at = this.#queue.indexOf(transfer)
    if (at >= 0) this.#queue.splice(at, 1)
    if (this.#queue.length === 0) this.#context.budget.leave(this)
    if (transfer.piecesInFlight === 0) transfer.buffers = []
    this.#checkIdle()
  }

  // posting

  #postQueue(): void {
    while (this.#queue.length > 0 && this.#channel !== undefined && this.postNext()) {}
  }

  #post(piece: Piece): void {
    const channel = this.#channel as NativeDataChannel
    const id = this.#nextId++
    const { transfer } = piece
    this.#pieces.set(id, piece)
    transfer.pieceTaken(piece)
    let flags = this.#flushByUnit ? postFlag.flushByUnit : 0
    if (this.#pieces.size === 1 && piece.charge <= maxPolledBytes && this.#mayPoll()) flags |= postFlag.poll
    if (transfer.ours) flags |= postFlag.ours
    let method: number | undefined
    try {
      method = channel.post(id, piece, flags)
    } catch (error) {
      const code = (error as { nativeCode?: unknown }).nativeCode
      // The connection is over; its end is on the way here, and the piece is repeated after it.
      if (typeof code === 'number' && connectionCodes.has(code)) return
      this.#finishPiece(id, piece)
      this.#fail(transfer, fromNative(error, { outcome: transfer.outcome }))
      this.#context.budget.drain()
      return
    }
    if (method === undefined) return
    this.#onSuccess(id, piece, method)
    this.#afterOutcomes()
  }

  #onOutcomes(outcomes: Float64Array): void {
    for (let i = 0; i < outcomes.length; i += 4) {
      const id = outcomes[i] as number
      const piece = this.#pieces.get(id)
      if (piece === undefined) continue
      const code = outcomes[i + 1] as number
      const { transfer } = piece
      if (code === nativeCode.ok) {
        this.#onSuccess(id, piece, outcomes[i + 2] as number)
      } else if (!connectionCodes.has(code)) {
        this.#finishPiece(id, piece)
        this.#fail(
          transfer,
          fromNativeCode(code, `${transfer.what} failed.`, outcomes[i + 3], { outcome: transfer.outcome }),
        )
      } else {
        if (code === nativeCode.fenced) this.#fencedHint = true
        // Past the deadline of its work: the connection may still stand, on a medium that hangs, say.
        if (code === nativeCode.timedOut) this.#channel?.close()
        if (suspectCodes.has(code)) transfer.suspicions++
        if (transfer.suspicions >= maxSuspicions) {
          this.#fail(
            transfer,
            fromNativeCode(code, `${transfer.what} was refused by the unit.`, outcomes[i + 3], {
              outcome: transfer.outcome,
            }),
          )
        }
      }
    }
    this.#afterOutcomes()
  }

  #afterOutcomes(): void {
    this.#backoff.reset()
    this.#context.budget.drain()
    this.#checkIdle()
  }

  #mayPoll(): boolean {
    return this.endpoint?.transport === 'verbs' && this.#context.pollTurn.mayPoll(performance.now())
  }

  #onSuccess(id: number, piece: Piece, method: number): void {
    const { transfer } = piece
    this.#finishPiece(id, piece)
    if (method !== 0) transfer.method = method
    if (transfer.piecesInFlight === 0 && transfer.cut) this.#succeed(transfer)
  }

  #finishPiece(id: number, piece: Piece): void {
    this.#pieces.delete(id)
    this.#context.budget.release(piece.charge)
    piece.transfer.pieceDone(piece)
    if (piece.transfer.settled && piece.transfer.piecesInFlight === 0) piece.transfer.buffers = []
  }

  #succeed(transfer: Transfer): void {
    if (transfer.kind === operationKind.read && transfer.bereft) {
      this.#fail(transfer, bereftError(transfer))
      return
    }
    if (transfer.isWrite && transfer.until !== operationUntil.durable) this.#leaveDirty(transfer, true)
    transfer.taken = []
    transfer.succeed()
    transfer.buffers = []
  }

  #fail(transfer: Transfer, error: CheckpointError): void {
    if (transfer.settled) return
    transfer.fail(error)
    this.onAbandoned(transfer)
  }

  /**
   * Nothing that a call wrote, or was to make durable, counts as durable by it. A flush of everything that was made after it
   * decides, if there is one: its ranges are clean when that has succeeded, and dirty again when it fails.
   * @param answered its writes have been answered as visible
   */
  #leaveDirty(transfer: Transfer, answered: boolean): void {
    if (!this.durablePromised) return
    const ranges = transfer.posted ? transfer.touchedRanges() : transfer.taken
    transfer.taken = []
    const { coveredBy } = transfer
    if (coveredBy?.succeeded) return
    if (coveredBy === undefined || coveredBy.settled) {
      for (const { offset, length } of ranges) this.dirty.add(offset, length)
      return
    }
    coveredBy.taken.push(...ranges)
    if (answered || transfer.carriesEarlierWrites) coveredBy.carriesEarlierWrites = true
  }

  /** Every call that has no answer, in the order they came; one may turn up more than once. */
  *#transfers(): Iterable<Transfer> {
    for (const piece of this.#pieces.values()) yield piece.transfer
    yield* this.#queue.slice()
  }

  // connection

  #waitForConnection(): void {
    this.#context.deadlines.watch(performance.now() + this.#context.retryMs)
  }

  async #connect(): Promise<void> {
    if (this.#connecting) return
    this.#connecting = true
    try {
      while (this.#failure === undefined) {
        try {
          await this.#connectOnce()
          return
        } catch (thrown) {
          const error = fromNative(thrown)
          if (this.#failure !== undefined) return
          this.#lastError = error
          if (this.opened !== undefined || error.outcome !== 'none') this.#openedInDoubt = this.#opener.changes
          // In a session that is not known any more the unit could not tell by whom; in the next it can.
          if (this.#fencedHint && passing.has(error.code) && error.code !== 'SESSION_EXPIRED') this.fence(undefined)
          else if (this.grant !== undefined && lostToAnother(error)) this.fence(otherEpoch(error))
          else if (this.#mayPass(error)) await this.#pause()
          else this.#end(error)
        }
      }
    } finally {
      this.#connecting = false
    }
  }

  async #connectOnce(): Promise<void> {
    const { engine, endpoints } = this.#context
    const opened = await this.#opener.open(this.opened, attemptMs)
    if (this.#failure !== undefined) {
      await this.#opener.close(opened).catch(() => undefined)
      return
    }
    this.opened = opened
    let refused: CheckpointError | undefined
    for (const endpoint of endpoints.inOrder(opened.endpoints)) {
      try {
        await this.#connectTo(engine, endpoint, opened)
        return
      } catch (thrown) {
        const error = fromNative(thrown)
        if (error.code === 'TIMEOUT') endpoints.wasSilent(endpoint)
        // The token is spent only where the unit has seen it.
        if (error.code !== 'NOT_SUPPORTED' && error.code !== 'CONNECTION_REFUSED') throw error
        refused ??= error
      }
    }
    throw refused ?? new CheckpointError('INTERNAL', 'No endpoint was tried.')
  }

  #connectTo(engine: NativeEngine, endpoint: DataEndpoint, opened: T): Promise<void> {
    return new Promise((resolve, reject) => {
      let open = false
      const handler: NativeDataHandler = {
        onOpen: (grant) => {
          open = true
          this.#context.endpoints.answered(endpoint)
          if (this.#failure !== undefined) channel.close()
          else this.#onOpen(channel, endpoint, opened, grant)
          resolve()
        },
        onOutcomes: (outcomes) => this.#onOutcomes(outcomes),
        onClosed: (code, message, systemError) => {
          const error = fromNativeCode(code, message, systemError)
          if (open) this.#onClosed(channel, code, error)
          else reject(error)
        },
      }
      const channel = engine.connectData(
        {
          transport: endpoint.transport,
          host: endpoint.host,
          port: endpoint.port,
          token: opened.token.reveal(),
          setupTimeoutMs: attemptMs,
          workDeadlineMs,
        },
        handler,
      )
    })
  }

  #onOpen(channel: NativeDataChannel, endpoint: DataEndpoint, opened: T, grant: NativeGrant): void {
    const restarted = this.grant !== undefined && this.grant.unitGeneration !== grant.unitGeneration
    const clean = this.dirty.empty && !this.pending && !this.#doubtful
    if (restarted || (this.grant !== undefined && !clean)) this.#flushByUnit = true
    this.grant = grant
    this.endpoint = endpoint
    this.#channel = channel
    this.#openedAt = performance.now()
    this.#fencedHint = false
    this.#attempt = 0
    this.#context.account.stands(this.#connection)
    for (const transfer of this.#queue) transfer.rewind(restarted && transfer.isWrite)
    if (restarted) this.#afterRestart()
    this.#opener.onOpened(opened, grant)
    this.#whenOpen?.resolve()
    this.#whenOpen = undefined
    this.#postQueue()
  }

  #afterRestart(): void {
    let lost = !this.dirty.empty
    const error = writesLostError(this.#opener.what)
    for (const transfer of this.#queue.slice()) {
      if (!transfer.carriesEarlierWrites) continue
      lost = true
      transfer.taken = []
      this.#fail(transfer, retold(error, transfer.outcome))
    }
    this.dirty.takeAll()
    if (!lost) return
    this.rollbacks++
    this.#opener.onWritesLost(error)
  }

  #onClosed(channel: NativeDataChannel, code: number, error: CheckpointError): void {
    if (this.#channel !== channel) return
    this.#channel = undefined
    this.#brokenAt = performance.now()
    this.#lastError = error
    if (code === nativeCode.fenced) this.#fencedHint = true
    if (this.#brokenAt - this.#openedAt > goodMs) this.#backoff.reset()
    this.#requeue()
    this.#whenClosed?.()
    if (this.#failure !== undefined) return
    if (!this.#closing) this.#context.account.lost(this.#connection, error)
    this.#opener.onBroken?.()
    if (this.pending) this.#waitForConnection()
    void this.#reconnect()
  }

  async #reconnect(): Promise<void> {
    if (this.#backoff.pending) await this.#pause()
    await this.#connect()
  }

  /** Puts every call without an answer back in the queue, in the order they came. */
  #requeue(): void {
    const { budget } = this.#context
    const waiting = new Set<Transfer>()
    for (const piece of this.#pieces.values()) {
      budget.release(piece.charge)
      waiting.add(piece.transfer)
    }
    this.#pieces.clear()
    for (const transfer of this.#queue) waiting.add(transfer)
    this.#queue = []
    for (const transfer of waiting) {
      transfer.rewind(false)
      if (transfer.settled) transfer.buffers = []
      else this.#queue.push(transfer)
    }
    budget.leave(this)
    budget.drain()
  }

  /** Ends the link for good; calls without an answer fail now, and their memory is held until the connection is gone. */
  #end(error: CheckpointError): void {
    if (this.#failure !== undefined) return
    this.#failure = error
    this.#context.account.gone(this.#connection)
    this.#endPause?.()
    const { budget, deadlines } = this.#context
    for (const transfer of new Set(this.#transfers())) this.#fail(transfer, retold(error, transfer.outcome))
    this.#queue = []
    budget.leave(this)
    deadlines.leave(this)
    if (!this.#closing) this.#channel?.close()
    this.#whenOpen?.reject(error.outcome === 'none' && this.#openedInDoubt ? retold(error, 'unknown') : error)
    this.#whenOpen = undefined
    this.#opener.onFailed(error)
    this.#checkIdle()
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      this.#endPause = () => {
        clearTimeout(this.#pauseTimer)
        this.#pauseTimer = undefined
        this.#endPause = undefined
        resolve()
      }
      const delayMs = this.#backoff.next()
      this.#pauseTimer = setTimeout(this.#endPause, delayMs)
      if (this.#lastError !== undefined) {
        this.#context.account.waits(this.#connection, ++this.#attempt, delayMs, this.#lastError)
      }
      // Whoever waits for it holds the process.
      this.#pauseTimer.unref()
    })
  }

  /** Somebody waits for an answer. What was given up may still be on its way, and ends with the connection. */
  get #isAwaited(): boolean {
    for (const transfer of this.#transfers()) if (!transfer.settled) return true
    return false
  }

  #checkIdle(): void {
    if (this.#whenIdle !== undefined && !this.#isAwaited) this.#whenIdle()
  }

  #mayPass(error: CheckpointError): boolean {
    return passing.has(error.code) || (this.grant !== undefined && passingLater.has(error.code))
  }

  #retryEnd(transfer: Transfer): number {
    return Math.max(this.#brokenAt, transfer.startedAt) + this.#context.retryMs
  }
}

function bounded(timeoutMs: number, start: (done: () => void) => void): Promise<void> {
  return new Promise((resolve) => {
    const timer = timeoutMs > 0 ? deadlineTimer(timeoutMs, resolve) : undefined
    start(() => {
      timer?.cancel()
      resolve()
    })
  })
}

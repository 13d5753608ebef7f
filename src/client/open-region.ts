/**
 * One open of a region: its connection, what the unit says of it, how durable its writes are to be and which are not yet. The
 * user's `Region` is a checked face of it, and checkpoints are written on it directly.
 *
 * Arguments have been checked by whoever calls; bounds are checked here for the log's own calls.
 *
 * Invariants:
 * - A call has one of three uses, which decides when it is refused: see {@link TransferUse}.
 * - `ended` aborts once: with the first reason to take no more calls.
 * - After `close` has resolved nothing of it is sent, and no call is without an answer.
 */

import { unlessAborted } from '../call/call.js'
import { requireNotAborted } from '../call/check.js'
import { notDurableError } from '../call/not-durable.js'
import { loggable } from '../call/printed.js'
import { promised } from '../call/promised.js'
import type { LogFinding, RecordWriteOptions, RegionReadAccess, RegionWriteAccess } from '../checkpoint/index.js'
import { failLogs, noteBroken } from '../checkpoint/log.js'
import type { VerifiedCheckpoints } from '../checkpoint/verified.js'
import { CheckpointError, type Outcome } from '../errors.js'
import { type NativeModule, operationKind, operationUntil } from '../native.js'
import type { RangeBytes, RegionRange } from '../region-range.js'
import type { Ack, CallOptions, Durability, DurableMethod, OnFull, RegionInfo, RegionMode } from '../types.js'
import type { ClientCore } from './client-core.js'
import type { OwnershipEvent } from './client-events.js'
import { flat } from './dirty-ranges.js'
import { ownRanges, ownVector } from './ranges.js'
import { ReaderAccess } from './reader-access.js'
import { RegionClosing } from './region-closing.js'
import type { RegionConnection } from './region-connection.js'
import { RegionControl, type SavedCursor } from './region-control.js'
import { type OpenedRegion, type OpenTerms, RegionOpener } from './region-opener.js'
import { type ReadCall, Transfer, type TransferUse, type WriteCall } from './transfer.js'
import { type QueueUser, TransferQueue } from './transfer-queue.js'
import { UndurableWrites } from './undurable.js'

/** What its client is told. */
export interface OpenRegionEvents {
  onLost(type: OwnershipEvent['type'], epoch: bigint, error: CheckpointError): void
  onFinding(finding: LogFinding, epoch: bigint): void
  onClosed(): void
}

const methods: readonly DurableMethod[] = ['none', 'flush-verb', 'unit-flush', 'read-after-write']
const nothing: readonly never[] = []
const closeTimeoutMs = 30_000

export class OpenRegion implements RegionWriteAccess, QueueUser {
  readonly name: string
  // As of the first open; they never change.
  id = ''
  bytes = 0
  mode: RegionMode = 'raw'
  onFull: OnFull = 'drop-oldest'
  readonly durableWhenOpened = true
  readonly forReaders: RegionReadAccess
  readonly connection: RegionConnection<OpenedRegion>
  readonly verified: VerifiedCheckpoints
  readonly crc32c: NativeModule['crc32c']
  readonly copyCrc32c: NativeModule['copyCrc32c']
  readonly takeChanges: NativeModule['takeChanges']
  readonly #core: ClientCore
  readonly #queue: TransferQueue<OpenedRegion>
  readonly #notDurable = new UndurableWrites()
  readonly #control: RegionControl
  /** Of writes that say nothing; undefined for the strongest that the pool promises. */
  readonly #durability: Durability | undefined
  readonly #writable: boolean
  readonly #events: OpenRegionEvents
  readonly #ended = new AbortController()
  readonly #fenced = new AbortController()
  #lostWrites = new AbortController()
  readonly #closing: RegionClosing

  constructor(
    core: ClientCore,
    request: OpenTerms & { readonly durability: Durability | undefined },
    events: OpenRegionEvents,
  ) {
    this.name = request.name
    this.#core = core
    this.#durability = request.durability
    this.#writable = request.mode !== 'READ'
    this.#events = events
    this.verified = core.verified
    this.crc32c = core.native.crc32c
    this.copyCrc32c = core.native.copyCrc32c
    this.takeChanges = core.native.takeChanges
    const opener = new RegionOpener(
      core.session,
      request,
      (epoch) => this.connection.fence(epoch),
      (error, epoch) => events.onLost('release-failed', epoch, error),
    )
    this.#queue = new TransferQueue(core.shared, opener, this.#notDurable, this)
    this.connection = this.#queue.connection
    this.#control = new RegionControl(core)
    this.#closing = new RegionClosing({
      access: this,
      queue: this.#queue,
      control: this.#control,
      ended: this.#ended,
      onClosed: (unreleased) => {
        if (unreleased !== undefined) events.onLost('release-failed', this.epoch, unreleased)
        events.onClosed()
      },
    })
    this.forReaders = new ReaderAccess(this, {
      readInto: (ranges, options) => this.#readRanges(ranges, options, 'look'),
      metadata: (options) => unlessAborted(this.ended, this.metadata(options)),
    })
  }

  /**
   * Opens it at the unit, and makes the first connection.
   * @throws CheckpointError `NOT_DURABLE` where durable is to be the default and the pool cannot
   */
  async open(options: CallOptions): Promise<void> {
    await this.connection.open(options)
    const { id, bytes, mode, onFull } = this.#opened.info
    Object.assign(this, { id, bytes: Number(bytes), mode, onFull })
    const { failure } = this.connection
    if (failure !== undefined) this.onEnded(failure)
    if (this.#durability !== 'durable' || this.connection.durablePromised) return
    await this.#queue.close(0)
    // It has been opened, and closed again.
    throw notDurableError(this.name, 'unknown')
  }

  // What it is

  /** Of the newest open. */
  get #opened(): OpenedRegion {
    const { opened } = this.connection
    if (opened === undefined) throw new CheckpointError('INTERNAL', 'A region without an open.')
    return opened
  }

  get epoch(): bigint {
    return this.#opened.epoch
  }

  get unitStart(): bigint | undefined {
    return this.connection.grant?.unitStart
  }

  get strongest(): Durability {
    return this.connection.durablePromised ? 'durable' : 'visible'
  }

  get rollbacks(): number {
    return this.#notDurable.rollbacks
  }

  /** How often {@link lostWrites} has aborted: `rollbacks` without those that lost only what nobody was told to be visible. */
  get toldRollbacks(): number {
    return this.#notDurable.toldRollbacks
  }

  get retryMs(): number {
    return this.connection.retryMs
  }

  get brokenAt(): number | undefined {
    return this.connection.brokenAt
  }

  lost(call: string, outcome: Outcome): CheckpointError | undefined {
    return this.connection.lost(call, outcome)
  }

  /** Aborts when it takes no more calls: it is being closed, was fenced, its region is gone. */
  get ended(): AbortSignal {
    return this.#ended.signal
  }

  /** Aborts when a later epoch owns the region. */
  get fenced(): AbortSignal {
    return this.#fenced.signal
  }

  /** Aborts at the next restart of the unit that loses something; after that there is another one. */
  get lostWrites(): AbortSignal {
    return this.#lostWrites.signal
  }

  closedError(): CheckpointError {
    return new CheckpointError('CLOSED', `Region '${this.name}' has been closed.`)
  }

  // Moving bytes

  read({ offsets, buffers, options, use, ours, result }: ReadCall): Promise<unknown> {
    const what = `A read of region '${this.name}'`
    const kind = operationKind.read
    const transfer = new Transfer(this.#queue, { what, kind, offsets, buffers, options, result, use, ours })
    return this.#submit(transfer, buffers.length === 0)
  }

  /** @throws CheckpointError `NOT_DURABLE` */
  write({ offsets, buffers, options, use, alsoFlush, upkeep = false, provisional = false }: WriteCall): Promise<Ack> {
    const durability = options.durability ?? this.#durability ?? this.strongest
    const durable = durability === 'durable'
    if (durable) this.#requireDurable()
    const flushes = durable && alsoFlush.length > 0
    const onlyFlushes = flushes && buffers.length === 0
    const transfer = new Transfer(this.#queue, {
      what: `A write to region '${this.name}'`,
      kind: onlyFlushes ? operationKind.flush : operationKind.write,
      until: durable ? operationUntil.durable : operationUntil.visible,
      offsets,
      buffers,
      flushRanges: flushes ? flat(alsoFlush) : undefined,
      options,
      result: (method) => this.#ack(durability, method),
      use,
      upkeep,
      provisional,
    })
    if (durable) this.#notDurable.cover(transfer, alsoFlush)
    return this.#submit(transfer, buffers.length === 0 && !onlyFlushes) as Promise<Ack>
  }

  /**
   * @param intervals undefined: all that is not durable
   * @throws CheckpointError `NOT_DURABLE`
   */
  flushRanges(
    intervals: readonly RegionRange[] | undefined,
    options: CallOptions,
    use: TransferUse = 'call',
  ): Promise<Ack> {
    this.#requireDurable()
    const make = (flushRanges: number[]) =>
      new Transfer(this.#queue, {
        what: `A flush of region '${this.name}'`,
        kind: operationKind.flush,
        offsets: nothing,
        buffers: nothing,
        flushRanges,
        options,
        result: (method) => this.#ack('durable', method),
        use,
      })
    let transfer: Transfer
    if (intervals === undefined) transfer = this.#notDurable.coverAll(this.#queue.unanswered(), make)
    else {
      transfer = make(flat(intervals))
      this.#notDurable.cover(transfer, intervals)
    }
    return this.#submit(transfer, transfer.flushRanges?.length === 0) as Promise<Ack>
  }

  /** @param empty it moves nothing: then it is answered without the unit, unless the region has ended */
  #submit(transfer: Transfer, empty: boolean): Promise<unknown> {
    if (empty && this.#queue.refusalOf(transfer.use) === undefined) transfer.succeed()
    else this.#queue.submit(transfer)
    return transfer.promise
  }

  #ack(durability: Durability, method: number): Ack {
    return loggable({ durability, method: methods[method] ?? 'none', epoch: this.epoch })
  }

  #requireDurable(): void {
    if (this.connection.durablePromised) return
    throw notDurableError(this.name)
  }

  // For its log: RegionWriteAccess

  readInto(ranges: readonly RangeBytes[], options?: CallOptions): Promise<void> {
    return this.#readRanges(ranges, options, 'log')
  }

  /** What is not the user's own is read into memory of the package's, which nobody else has before the answer. */
  #readRanges(ranges: readonly RangeBytes[], options: CallOptions = {}, use: TransferUse): Promise<void> {
    return promised(() => {
      requireNotAborted(options)
      const { offsets, buffers } = ownVector(ranges, this)
      const call = { offsets, buffers, options, use, ours: true, result: () => undefined }
      return this.read(call) as Promise<void>
    })
  }

  writeAll(ranges: readonly RangeBytes[], options: RecordWriteOptions): Promise<Ack> {
    return promised(() => {
      requireNotAborted(options)
      const { offsets, buffers } = ownVector(ranges, this)
      const alsoFlush = ownRanges(options.alsoFlush ?? nothing, this)
      const { upkeep = false, provisional = false } = options
      return this.write({ offsets, buffers, options, use: 'log', alsoFlush, upkeep, provisional })
    })
  }

  flush(ranges: readonly RegionRange[], options: CallOptions = {}): Promise<Ack> {
    return promised(() => {
      requireNotAborted(options)
      return this.flushRanges(ownRanges(ranges, this), options, 'log')
    })
  }

  async metadata(options: CallOptions = {}): Promise<RegionInfo> {
    requireNotAborted(options)
    return await this.#control.metadata(this.#opened, options)
  }

  async saveCursor(cursor: SavedCursor, options?: CallOptions): Promise<void> {
    this.requireOpen()
    await this.#control.saveCursor(this.#opened, cursor, options)
  }

  foundFenced(epoch: bigint): void {
    this.connection.fence(epoch)
  }

  noteFinding(finding: LogFinding): void {
    this.#events.onFinding(finding, this.epoch)
  }

  noteAcknowledged(ranges: readonly RegionRange[]): void {
    this.#notDurable.tell(ranges)
  }

  noteCleared(): void {
    this.#control.noteCleared(this.#opened)
  }

  staging(bytes: number): { bytes: Uint8Array<ArrayBuffer>; release(): void } {
    return this.#core.staging.take(bytes)
  }

  // What becomes of the connection: QueueUser

  onBroken(): void {
    noteBroken(this)
  }

  onWritesLost(error: CheckpointError): void {
    const told = this.#lostWrites
    this.#lostWrites = new AbortController()
    told.abort(error)
    this.#events.onLost('lost-writes', this.epoch, error)
  }

  onEnded(error: CheckpointError): void {
    this.#ended.abort(error)
    failLogs(this, error)
    if (error.code !== 'FENCED' || !this.#writable) return
    this.#fenced.abort(error)
    if (this.id !== '') this.#events.onLost('fenced', this.epoch, error)
  }

  // Its end

  /** @throws CheckpointError what calls are refused with, if they are */
  requireOpen(): void {
    const ended = this.connection.failure ?? this.#closing.reason
    if (ended !== undefined) throw ended.withOutcome('none')
  }

  /**
   * Takes no more calls, waits, at most so long, for those that the unit can answer, and closes the handle. Idempotent; never
   * rejects.
   * @param reason what later calls reject with
   * @returns why the release of it is not on record, if the unit said so
   */
  close(
    timeoutMs: number = closeTimeoutMs,
    reason: CheckpointError = this.closedError(),
  ): Promise<CheckpointError | undefined> {
    return this.#closing.close(timeoutMs, reason)
  }
}

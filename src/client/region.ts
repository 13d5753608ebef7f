/** An open region: what a reader can do, and what its writer can do besides. */
import { unwatchAbort, watchAbort } from '../abort-watch.js'
import {
  checkBytes,
  checkRange,
  invalid,
  kindOf,
  mustBeCopied,
  requireNotAborted,
  timeoutOf,
  toSize,
} from '../call/check.js'
import { holdsProcess } from '../call/hold.js'
import { takeCall, takeWrite } from '../call/options.js'
import { loggable, printsAs } from '../call/printed.js'
import { asList, isList } from '../call/shape.js'
import { deadlineTimer } from '../call/timer.js'
import type { Codec } from '../checkpoint/codec.js'
import type { LogFinding, LogOptions } from '../checkpoint/index.js'
import { type CheckpointLog, closeLogs, failLogs, noteBroken, openLog } from '../checkpoint/log.js'
import { type CheckpointReader, openReader } from '../checkpoint/reader.js'
import { CheckpointError } from '../errors.js'
import { operationKind, operationUntil } from '../native.js'
import type {
  Ack,
  AddressContext,
  CallOptions,
  Durability,
  DurableMethod,
  Range,
  RegionInfo,
  Size,
  Transport,
  WriteOptions,
} from '../types.js'
import { type PortParts, RegionReadPort, RegionWritePort } from './checkpoint-port.js'
import type { ClientCore } from './client-core.js'
import type { DataLink } from './data-link.js'
import type { Interval } from './dirty-ranges.js'
import { retold } from './link-errors.js'
import type { OpenedRegion, RegionOpener } from './region-link.js'
import { Transfer, type TransferUse } from './transfer.js'

const methods: readonly DurableMethod[] = ['none', 'flush-verb', 'unit-flush', 'read-after-write']
const nothing: readonly never[] = []

/** What a handle is made of; only a Client makes one. @internal */
export interface RegionParts {
  core: ClientCore
  link: DataLink<OpenedRegion>
  opener: RegionOpener
  durability: Durability | undefined
  onClosed(region: RegionReader): void
  onEvent(type: 'lost-writes' | 'fenced', epoch: bigint, error: CheckpointError): void
  onFinding(finding: LogFinding, epoch: bigint): void
}

/**
 * A region opened for reading. Reads see what is visible, also while its owner writes: a read of a range that is being
 * written may be torn at any byte. Checkpoints tell by their checksums; raw bytes do not.
 */
export class RegionReader implements AsyncDisposable {
  // Out of sight of whoever prints a region: they lead to its owner's secret.
  readonly #core: ClientCore
  readonly #link: DataLink<OpenedRegion>
  readonly #bytes: number
  #info: RegionInfo
  #onClosed: (region: RegionReader) => void
  #closing: Promise<void> | undefined
  /** Why it is being closed. */
  #reason: CheckpointError | undefined
  /** What waits, and not for the unit, ends with that. */
  #ended = new AbortController()
  /** Control calls of this handle that a close waits for. */
  #calls = new Set<Promise<unknown>>()
  #givenUp = new AbortController()

  /** @internal Use {@link Client.openRegion}. */
  constructor(parts: RegionParts) {
    this.#core = parts.core
    this.#link = parts.link
    this.#onClosed = parts.onClosed
    this.#info = this.opened.info
    this.#bytes = Number(this.#info.bytes)
    parts.opener.tell({
      onFailed: (error) => this.onFailed(error),
      onWritesLost: (error) => this.onWritesLost(error),
      onOpened: () => undefined,
      onBroken: () => this.onBroken(),
      onFenced: (epoch) => this.link.fence(epoch),
    })
  }

  /** Aborts when the handle takes no more calls: it is being closed, was fenced, its region is gone. @internal */
  get ended(): AbortSignal {
    return this.#ended.signal
  }

  /** The link has ended for good. @internal */
  protected onFailed(error: CheckpointError): void {
    this.#ended.abort(error)
  }

  /** The connection has broken, and is to be made again. @internal */
  protected onBroken(): void {}

  /** @internal */
  protected onWritesLost(_error: CheckpointError): void {}

  /** Takes no new calls of its logs any more, and waits, at most so long, for those that can be answered. @internal */
  protected closeLogs(_reason: CheckpointError, _timeoutMs: number): Promise<void> {
    return Promise.resolve()
  }

  get name(): string {
    return this.#info.name
  }

  /** Bytes of the region; valid offsets are 0 to size - 1. */
  get size(): bigint {
    return this.#info.bytes
  }

  /** UUID of this instance of the name; a region made again under the same name has another. */
  get id(): string {
    return this.#info.id
  }

  /** The region's ownership number when this handle was opened, or opened again. */
  get epoch(): bigint {
    return this.opened.epoch
  }

  /** The number of the unit's start, as of the latest connection. @internal */
  get unitStart(): bigint | undefined {
    return this.link.grant?.unitGeneration
  }

  /** What the data connection runs on. */
  get transport(): Exclude<Transport, 'auto'> {
    return this.link.endpoint?.transport ?? 'iwarp'
  }

  /**
   * Reads `length` bytes from `offset` on into new memory.
   * @throws CheckpointError `INVALID_ARGUMENT`, `OUT_OF_BOUNDS` (nothing was sent); `ABORTED`, `TIMEOUT`,
   * `CONNECTION_LOST`, `REGION_NOT_FOUND`, `FENCED`, `CLOSED`
   */
  read(offset: Size, length: number, options?: CallOptions): Promise<Uint8Array<ArrayBuffer>> {
    try {
      const from = toSize(offset, 'offset')
      const count = toSize(length, 'length')
      checkRange(from, count, this.bytes, this.name)
      const call = takeCall(options)
      const bytes = newBytes(count)
      return this.#read([from], [bytes], call, () => bytes, 'call', true) as Promise<Uint8Array<ArrayBuffer>>
    } catch (error) {
      return Promise.reject(error)
    }
  }

  /**
   * Reads one range, or several in one batch, into the caller's memory: without a copy in between where it is that of
   * {@link Client.allocate}, and by a copy at the end elsewhere. When it rejects, the memory may hold anything; after an abort that of
   * `allocate` may still change until the region has been closed. Memory that was transferred elsewhere meanwhile is not touched, and
   * the call rejects with `INVALID_ARGUMENT`.
   * @throws CheckpointError as {@link read}
   */
  readInto(ranges: Range | readonly Range[], options?: CallOptions): Promise<void> {
    return this.#readInto(ranges, options, 'call')
  }

  #readInto(ranges: Range | readonly Range[], options: CallOptions | undefined, use: TransferUse): Promise<void> {
    try {
      const call = takeCall(options)
      const { offsets, buffers, copies } = this.check(oneOrMore(ranges), 'read')
      if (copies === undefined) return this.#read(offsets, buffers, call, () => undefined, use) as Promise<void>
      const fill = () => {
        for (const { target, copy } of copies) {
          if (target.byteLength !== copy.byteLength) {
            throw invalid('The memory to read into changed its size during the read.')
          }
          target.set(copy)
        }
      }
      return this.#read(offsets, buffers, call, fill, use) as Promise<void>
    } catch (error) {
      return Promise.reject(error)
    }
  }

  /**
   * What the pool's tables say of the region now: epoch, owner, labels, saved cursors. Read by RDMA, so that it needs
   * nothing of the unit's CPU once the client's connection to the tables stands (made at the first call).
   * @throws CheckpointError `REGION_NOT_FOUND` once the region has been deleted; `POOL_DAMAGED`, `ABORTED`, `TIMEOUT`,
   * `CONNECTION_LOST`, `CLOSED`
   */
  async metadata(options?: CallOptions): Promise<RegionInfo> {
    const call = takeCall(options)
    this.#requireOpen()
    return await unlessEnded(this.#ended.signal, this.#metadata(call))
  }

  #metadata(call: CallOptions): Promise<RegionInfo> {
    const deadline = performance.now() + timeoutOf(call)
    const { slot, info } = this.opened
    return this.core.tables.read(slot, { name: this.name, id: info.id }, call.signal, deadline)
  }

  /** Where the region lies for the data plane, on the connection that stands now. */
  async addressContext(options?: CallOptions): Promise<AddressContext> {
    // A read of nothing has the connection made again, if it is broken.
    await this.#settled(takeCall(options))
    const { grant, endpoint } = this.link
    if (grant === undefined || endpoint === undefined) throw this.closedError()
    const { transport, host, port } = endpoint
    return loggable({
      base: grant.base,
      length: BigInt(grant.length),
      transport,
      endpoint: `${host.includes(':') ? `[${host}]` : host}:${port}`,
    })
  }

  /**
   * The checkpoints in the region.
   * @throws CheckpointError `REGION_MODE` when the region is raw
   */
  checkpoints<T = Uint8Array>(options?: { codec?: Codec<T> }): CheckpointReader<T> {
    return openReader<T>(new RegionReadPort(this.port()), options)
  }

  /**
   * Closes the connection. Idempotent; never rejects. Waits, 30 s at most, for pending calls that the unit can answer, appends
   * among them. What waits for something else rejects with `CLOSED` at once, as later calls do: an append for space in the
   * region, a streamed one for a source that yields nothing for 200 ms, a reader for the next checkpoint. A unit that does not answer
   * delays it by 2 s at most.
   */
  close(): Promise<void> {
    return this.closeWithin(closeTimeoutMs)
  }

  /** @internal Waits for pending calls at most so long. @param reason what later calls reject with */
  closeWithin(timeoutMs: number, reason: CheckpointError = this.closedError()): Promise<void> {
    if (this.#closing === undefined) {
      this.#closing = this.#close(timeoutMs, reason)
      return this.#closing
    }
    // One that has more patience is under way.
    const timer = deadlineTimer(timeoutMs, () => this.#giveUp())
    return this.#closing.finally(() => timer?.cancel())
  }

  async #close(timeoutMs: number, reason: CheckpointError): Promise<void> {
    const end = performance.now() + timeoutMs
    this.#reason = reason
    this.link.refuse(reason)
    this.#ended.abort(reason)
    const timer = deadlineTimer(timeoutMs, () => this.#giveUp())
    try {
      await Promise.all([this.closeLogs(reason, timeoutMs), Promise.allSettled(this.#calls)])
      await this.link.close(Math.max(1, end - performance.now()))
    } finally {
      timer?.cancel()
      this.#onClosed(this)
    }
  }

  /** Of a close: what has no answer by now gets none. */
  #giveUp(): void {
    const reason = this.#reason ?? this.closedError()
    this.#givenUp.abort(reason)
    this.failLogs(reason)
    this.link.abandon(reason)
  }

  /** @internal */
  protected failLogs(_error: CheckpointError): void {}

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** @internal */
  protected get core(): ClientCore {
    return this.#core
  }

  /** @internal */
  protected get link(): DataLink<OpenedRegion> {
    return this.#link
  }

  /** Bytes of the region, as a number. @internal */
  protected get bytes(): number {
    return this.#bytes
  }

  /** @internal */
  protected get opened(): OpenedRegion {
    if (this.link.opened === undefined) throw new CheckpointError('INTERNAL', 'A region without an open.')
    return this.link.opened
  }

  /** @internal */
  protected closedError(): CheckpointError {
    return new CheckpointError('CLOSED', `Region '${this.name}' has been closed.`)
  }

  /** What the checkpoint formats are given. @internal */
  protected port(): PortParts {
    return {
      region: this,
      info: this.#info,
      core: this.core,
      saveCursor: this.#saveCursor,
      ended: this.#ended.signal,
      look: (ranges, options, use) => this.#readInto(ranges, options, use),
      metadata: (options, use) => {
        const reading = this.#metadata(takeCall(options))
        return use === 'log' ? reading : unlessEnded(this.#ended.signal, reading)
      },
    }
  }

  #saveCursor = async (
    cursor: { name: string; epoch: bigint; sequence: bigint },
    options?: CallOptions,
  ): Promise<void> => {
    this.#requireOpen()
    const { name, epoch, sequence } = cursor
    const request = {
      region: this.name,
      regionId: this.id,
      cursor: { name, epoch, sequence },
    }
    const saving = this.core.session.call('SaveCursor', request, options)
    const call = unlessEnded(this.#givenUp.signal, saving)
    this.#calls.add(call)
    try {
      await call
    } finally {
      this.#calls.delete(call)
    }
  }

  /** @throws CheckpointError what calls are refused with, if they are */
  #requireOpen(): void {
    const ended = this.link.failure ?? this.#reason
    if (ended !== undefined) throw retold(ended, 'none')
  }

  /** Offsets and memory of a vectored call, checked; empty ranges are left out. @internal */
  protected check(ranges: readonly unknown[], doing: 'read' | 'write'): Checked {
    const offsets: number[] = []
    const buffers: Uint8Array[] = []
    let copies: { target: Uint8Array; copy: Uint8Array }[] | undefined
    for (const range of ranges) {
      const { bytes, offset: at } = fieldsOf(range, 'bytes')
      checkBytes(bytes, 'bytes')
      const offset = toSize(at, 'offset')
      checkRange(offset, bytes.byteLength, this.bytes, this.name)
      if (bytes.byteLength === 0) continue
      offsets.push(offset)
      if (!mustBeCopied(bytes)) {
        buffers.push(bytes)
        continue
      }
      const copy = new Uint8Array(bytes.byteLength)
      if (doing === 'write') copy.set(bytes)
      copies ??= []
      copies.push({ target: bytes, copy })
      buffers.push(copy)
    }
    return { offsets, buffers, copies }
  }

  async #settled(options: CallOptions): Promise<void> {
    if (this.link.endpoint !== undefined && this.link.failure === undefined) return
    await this.#read([], [], options, () => undefined)
  }

  #read(
    offsets: readonly number[],
    buffers: readonly Uint8Array[],
    options: CallOptions,
    result: () => unknown,
    use: TransferUse = 'call',
    // What is not the user's own is read into memory of the package's, which nobody else has before the answer.
    ours = use !== 'call',
  ): Promise<unknown> {
    const now = performance.now()
    const transfer = new Transfer(this.link, {
      what: `A read of region '${this.name}'`,
      kind: operationKind.read,
      offsets,
      buffers,
      startedAt: now,
      deadline: now + timeoutOf(options),
      signal: options.signal,
      result,
      use,
      ours,
    })
    submit(this.link, transfer)
    return transfer.promise
  }
}

// A reader's type has no write methods; JavaScript that calls them all the same learns why by a code.
for (const method of ['write', 'writeAll', 'flush', 'log']) {
  Object.defineProperty(RegionReader.prototype, method, {
    configurable: true,
    value(this: RegionReader) {
      const error = new CheckpointError(
        'READ_ONLY',
        `Region '${this.name}' was opened for reading: it has no ${method}().`,
        {
          help: "Open it with { mode: 'write' }.",
        },
      )
      if (method === 'log') throw error
      return Promise.reject(error)
    },
  })
}

/**
 * A region opened for writing: its one owner's handle. Calls go out in the order in which they were made, and after a
 * broken connection or a restart of the unit those without an answer are repeated in that order.
 */
export class Region extends RegionReader {
  /**
   * Aborts when a later epoch owns the region; the reason is a CheckpointError `FENCED` whose details name that epoch.
   * Nothing that this handle writes lands after that. A process that was stopped learns it late: what it does outside of
   * the region needs the epoch as a fencing token of its own.
   */
  readonly fenced: AbortSignal
  #fenced = new AbortController()
  #lostWrites = new AbortController()
  #durability: Durability | undefined
  #onEvent: RegionParts['onEvent']
  #logAccess: RegionWritePort | undefined
  #onFinding: RegionParts['onFinding']

  /** @internal Use {@link Client.createRegion} or {@link Client.openRegion}. */
  constructor(parts: RegionParts) {
    super(parts)
    this.fenced = this.#fenced.signal
    this.#durability = parts.durability
    this.#onEvent = parts.onEvent
    this.#onFinding = parts.onFinding
    const { failure } = this.link
    if (failure !== undefined) this.onFailed(failure)
  }

  protected override onFailed(error: CheckpointError): void {
    super.onFailed(error)
    this.failLogs(error)
    if (error.code !== 'FENCED' || this.#fenced.signal.aborted) return
    this.#fenced.abort(error)
    this.#onEvent('fenced', this.epoch, error)
  }

  protected override onBroken(): void {
    if (this.#logAccess !== undefined) noteBroken(this.#logAccess)
  }

  protected override onWritesLost(error: CheckpointError): void {
    const told = this.#lostWrites
    this.#lostWrites = new AbortController()
    told.abort(error)
    this.#onEvent('lost-writes', this.epoch, error)
  }

  protected override async closeLogs(reason: CheckpointError, timeoutMs: number): Promise<void> {
    if (this.#logAccess !== undefined) await closeLogs(this.#logAccess, reason, timeoutMs)
  }

  protected override failLogs(error: CheckpointError): void {
    if (this.#logAccess !== undefined) failLogs(this.#logAccess, error)
  }

  /**
   * Aborts when the unit came back from a restart and writes of this handle that had been answered as visible, and not
   * flushed since, may be gone; the reason is a CheckpointError `WRITES_LOST`. After that the property holds a new signal,
   * for the next time.
   */
  get lostWrites(): AbortSignal {
    return this.#lostWrites.signal
  }

  /** How often {@link lostWrites} has aborted. */
  get rollbacks(): number {
    return this.link.rollbacks
  }

  /** The strongest that the pool promises. */
  get strongest(): Durability {
    return this.link.durablePromised ? 'durable' : 'visible'
  }

  /**
   * Writes all of `bytes` at `offset`. The bytes must stay as they are until the promise settles; those of
   * {@link Client.allocate}, which are sent from where they lie, after an abort or a timeout until the region has been closed. Shared and
   * resizable memory is copied before the call returns. Memory that is transferred elsewhere before it could be sent rejects the
   * call with `INVALID_ARGUMENT`.
   * @param options durability: default that of the open, and without one the strongest the pool promises
   * @throws CheckpointError `INVALID_ARGUMENT`, `OUT_OF_BOUNDS`, `NOT_DURABLE` (nothing was sent); `FENCED`, `ABORTED`,
   * `TIMEOUT`, `CONNECTION_LOST`, `MEDIUM_FAILED`, `REGION_NOT_FOUND`, `CLOSED`: see `outcome`
   */
  write(offset: Size, bytes: Uint8Array, options?: WriteOptions): Promise<Ack> {
    try {
      checkBytes(bytes, 'bytes')
      const at = toSize(offset, 'offset')
      checkRange(at, bytes.byteLength, this.bytes, this.name)
      const call = takeWrite(options)
      if (bytes.byteLength === 0) return this.#write([], [], nothing, call)
      return this.#write([at], [mustBeCopied(bytes) ? Uint8Array.from(bytes) : bytes], nothing, call)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  /**
   * Writes several ranges in one batch, with one answer for all. Not atomic: a reader, or a crash, may see some without
   * the others.
   * @throws CheckpointError as {@link write}
   */
  writeAll(ranges: readonly Range[], options?: WriteOptions): Promise<Ack> {
    try {
      return this.#writeRanges(asList(ranges, 'ranges'), nothing, takeWrite(options), 'call')
    } catch (error) {
      return Promise.reject(error)
    }
  }

  /**
   * Makes ranges durable: those given, and without any all that this handle has written visibly and not flushed,
   * writes without an answer yet included.
   * @throws CheckpointError `NOT_DURABLE` on a pool that cannot; `WRITES_LOST` when the unit came back without them;
   * otherwise as {@link write}
   */
  flush(ranges?: readonly { offset: Size; length: Size }[], options?: CallOptions): Promise<Ack> {
    return this.#flush(ranges, options, 'call')
  }

  #flush(
    ranges: readonly { offset: Size; length: Size }[] | undefined,
    options: CallOptions | undefined,
    use: TransferUse,
  ): Promise<Ack> {
    try {
      const call = takeCall(options)
      const intervals = ranges === undefined ? undefined : this.#intervals(asList(ranges, 'ranges'))
      const now = performance.now()
      this.#requireDurable()
      const make = (flushRanges: number[]) =>
        new Transfer(this.link, {
          what: `A flush of region '${this.name}'`,
          kind: operationKind.flush,
          offsets: nothing,
          buffers: nothing,
          flushRanges,
          startedAt: now,
          deadline: now + timeoutOf(call),
          signal: call.signal,
          result: (method) => this.#ack('durable', method),
          use,
        })
      let transfer: Transfer
      if (intervals === undefined) transfer = this.link.coverPending(make)
      else {
        transfer = make(flatten(intervals))
        this.link.cover(transfer, nothing, intervals)
      }
      submit(this.link, transfer, transfer.flushRanges?.length === 0)
      return transfer.promise as Promise<Ack>
    } catch (error) {
      return Promise.reject(error)
    }
  }

  /**
   * The log of checkpoints in the region, to append to.
   * @throws CheckpointError `REGION_MODE` when the region is raw
   */
  log<T = Uint8Array>(options?: LogOptions<T>): CheckpointLog<T> {
    // One for all, since logs of one access share their writer.
    this.#logAccess ??= new RegionWritePort(this.port(), {
      region: this,
      writeRanges: (ranges, alsoFlush, call) => this.#writeRanges(ranges, alsoFlush, call, 'log'),
      flush: (ranges, call) => this.#flush(ranges, call, 'log'),
      retryMs: this.core.links.retryMs,
      brokenAt: () => this.link.brokenAt,
      lost: (call, outcome) => this.link.lost(call, outcome),
      foundFenced: (epoch) => this.link.fence(epoch),
    })
    return openLog<T>(this.#logAccess, options)
  }

  /** @internal */
  noteFinding(finding: LogFinding): void {
    this.#onFinding(finding, this.epoch)
  }

  /** @internal */
  noteCleared(): void {
    const { session, handle } = this.opened
    // Nothing depends on it; a unit of an earlier release does not know the call.
    this.core.session.callAs(session, 'NoteCleared', { handle }).catch(() => undefined)
  }

  /** @param options checked ones */
  #writeRanges = (
    ranges: readonly unknown[],
    alsoFlush: readonly { offset: Size; length: Size }[],
    options: WriteOptions,
    use: TransferUse,
  ): Promise<Ack> => {
    try {
      requireNotAborted(options)
      const { offsets, buffers } = this.check(ranges, 'write')
      const flushed = alsoFlush.length === 0 ? nothing : this.#intervals(alsoFlush)
      return this.#write(offsets, buffers, flushed, options, use)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  #write(
    offsets: readonly number[],
    buffers: readonly Uint8Array[],
    alsoFlush: readonly Interval[],
    options: WriteOptions,
    use: TransferUse = 'call',
  ): Promise<Ack> {
    const durability = options.durability ?? this.#durability ?? this.strongest
    const durable = durability === 'durable'
    if (durable) this.#requireDurable()
    const kind = buffers.length === 0 && durable && alsoFlush.length > 0 ? operationKind.flush : operationKind.write
    const now = performance.now()
    const transfer = new Transfer(this.link, {
      what: `A write to region '${this.name}'`,
      kind,
      until: durable ? operationUntil.durable : operationUntil.visible,
      offsets,
      buffers,
      flushRanges: durable && alsoFlush.length > 0 ? flatten(alsoFlush) : undefined,
      startedAt: now,
      deadline: now + timeoutOf(options),
      signal: options.signal,
      result: (method) => this.#ack(durability, method),
      use,
    })
    if (durable && !this.link.dirty.empty) this.link.cover(transfer, ownIntervals(offsets, buffers), alsoFlush)
    submit(this.link, transfer)
    return transfer.promise as Promise<Ack>
  }

  #ack(durability: Durability, method: number): Ack {
    return loggable({ durability, method: methods[method] ?? 'none', epoch: this.epoch })
  }

  #requireDurable(): void {
    if (this.link.durablePromised) return
    throw new CheckpointError(
      'NOT_DURABLE',
      `Durable was asked of region '${this.name}', and its pool promises visible at most.`,
      { help: "Use durability 'visible', or a unit whose pool is a file." },
    )
  }

  #intervals(ranges: readonly unknown[]): Interval[] {
    const intervals: Interval[] = []
    for (const range of ranges) {
      const given = fieldsOf(range, 'length')
      const offset = toSize(given.offset, 'offset')
      const length = toSize(given.length, 'length')
      checkRange(offset, length, this.bytes, this.name)
      if (length > 0) intervals.push({ offset, length })
    }
    return intervals
  }
}

// A transfer holds by itself, see transfer.ts.
printsAs(RegionReader, ({ name, id, size, epoch, transport }) => ({ name, id, size, epoch, transport }))
holdsProcess(RegionReader, ['read', 'readInto', 'check', 'closedError', 'port'])
printsAs(Region, ({ name, id, size, epoch, transport, fenced, strongest }) => ({
  name,
  id,
  size,
  epoch,
  transport,
  strongest,
  fenced: fenced.aborted,
}))
holdsProcess(Region, ['write', 'writeAll', 'flush', 'log', 'noteCleared'])

interface Checked {
  offsets: number[]
  buffers: Uint8Array[]
  copies: { target: Uint8Array; copy: Uint8Array }[] | undefined
}

const closeTimeoutMs = 30_000

/** The same, unless the signal aborts first: then the reason of that. */
function unlessEnded<T>(ended: AbortSignal, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const call = { onAbort: () => reject(ended.reason) }
    if (ended.aborted) call.onAbort()
    else watchAbort(ended, call)
    promise.then(resolve, reject).finally(() => unwatchAbort(ended, call))
  })
}

/** A call that moves nothing is answered without the unit, unless the handle has ended. */
function submit(link: DataLink<OpenedRegion>, transfer: Transfer, nothingToDo = isEmpty(transfer)): void {
  if (nothingToDo && link.refusalOf(transfer.use) === undefined) transfer.succeed()
  else link.submit(transfer)
}

function isEmpty(transfer: Transfer): boolean {
  return transfer.kind !== operationKind.flush && transfer.buffers.length === 0
}

/** One range, or a list of them. */
function oneOrMore(ranges: unknown): readonly unknown[] {
  return typeof ranges === 'object' && ranges !== null && !isList(ranges) ? [ranges] : asList(ranges, 'ranges')
}

/** The fields of a range as they are, each read once. */
function fieldsOf<K extends string>(range: unknown, other: K): Record<'offset' | K, unknown> {
  if (typeof range !== 'object' || range === null) {
    throw invalid(`A range must be an object with offset and ${other}; it is ${kindOf(range)}.`)
  }
  try {
    const given = range as Record<string, unknown>
    return { offset: given.offset, [other]: given[other] } as Record<'offset' | K, unknown>
  } catch (error) {
    throw invalid('A range cannot be read.', undefined, error)
  }
}

/** @throws CheckpointError `OUT_OF_MEMORY` */
function newBytes(length: number): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(length)
  } catch (cause) {
    throw new CheckpointError('OUT_OF_MEMORY', `There is no memory for ${length} bytes to read into.`, {
      cause,
      help: 'Read in parts, with readInto().',
    })
  }
}

function flatten(intervals: readonly Interval[]): number[] {
  const flat: number[] = []
  for (const { offset, length } of intervals) flat.push(offset, length)
  return flat
}

function ownIntervals(offsets: readonly number[], buffers: readonly Uint8Array[]): Interval[] {
  return buffers.map((buffer, index) => ({ offset: offsets[index] as number, length: buffer.byteLength }))
}

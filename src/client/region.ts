/** The user's face of an open region: it checks arguments, and {@link OpenRegion} does the rest. */
import { unlessAborted } from '../call/call.js'
import { checkBytes, checkRange, invalid, mustBeCopied, toSize } from '../call/check.js'
import { holdsProcess } from '../call/hold.js'
import { copyOf, newBytes } from '../call/new-bytes.js'
import { takeCall, takeWrite } from '../call/options.js'
import { loggable, printsAs } from '../call/printed.js'
import { promised } from '../call/promised.js'
import { asList } from '../call/shape.js'
import type { Codec } from '../checkpoint/codec.js'
import type { LogOptions } from '../checkpoint/index.js'
import { type CheckpointLog, openLog } from '../checkpoint/log.js'
import { type CheckpointReader, openReader } from '../checkpoint/reader.js'
import { CheckpointError } from '../errors.js'
import type {
  Ack,
  AddressContext,
  CallOptions,
  Durability,
  Range,
  RegionInfo,
  Size,
  Transport,
  WriteOptions,
} from '../types.js'
import type { OpenRegion } from './open-region.js'
import { oneOrMore, takeRanges, takeVector } from './ranges.js'

const nothing: readonly never[] = []

/**
 * A region opened for reading. Reads see what is visible, also while its owner writes: a read of a range that is being
 * written may be torn at any byte. Checkpoints tell by their checksums; raw bytes do not.
 */
export class RegionReader implements AsyncDisposable {
  // Out of sight of whoever prints a region: it leads to its owner's secret.
  readonly #open: OpenRegion

  /** @internal Use {@link Client.openRegion}. */
  constructor(open: OpenRegion) {
    this.#open = open
  }

  /** @internal */
  protected get open(): OpenRegion {
    return this.#open
  }

  /** Aborts when the handle takes no more calls: it is being closed, was fenced, its region is gone. @internal */
  get ended(): AbortSignal {
    return this.#open.ended
  }

  get name(): string {
    return this.#open.name
  }

  /** Bytes of the region; valid offsets are 0 to size - 1. */
  get size(): bigint {
    return BigInt(this.#open.bytes)
  }

  /** UUID of this instance of the name; a region made again under the same name has another. */
  get id(): string {
    return this.#open.id
  }

  /** The region's ownership number when this handle was opened, or opened again. */
  get epoch(): bigint {
    return this.#open.epoch
  }

  /** What the data connection runs on. */
  get transport(): Exclude<Transport, 'auto'> {
    return this.#open.connection.endpoint?.transport ?? 'iwarp'
  }

  /**
   * Reads `length` bytes from `offset` on into new memory.
   * @throws CheckpointError `INVALID_ARGUMENT`, `OUT_OF_BOUNDS` (nothing was sent); `ABORTED`, `TIMEOUT`,
   * `CONNECTION_LOST`, `REGION_NOT_FOUND`, `FENCED`, `CLOSED`
   */
  read(offset: Size, length: number, options?: CallOptions): Promise<Uint8Array<ArrayBuffer>> {
    return promised(() => {
      const at = toSize(offset, 'offset')
      const count = toSize(length, 'length')
      checkRange(at, count, this.#open.bytes, this.name)
      const call = takeCall(options)
      const bytes = newBytes(count, 'Read in parts, with readInto().')
      return this.#open.read({
        offsets: [at],
        buffers: [bytes],
        options: call,
        use: 'call',
        ours: true,
        result: () => bytes,
      }) as Promise<Uint8Array<ArrayBuffer>>
    })
  }

  /**
   * Reads one range, or several in one batch, into the caller's memory: without a copy in between where it is that of
   * {@link Client.allocate}, and by a copy at the end elsewhere. When it rejects, the memory may hold anything; after an abort that of
   * `allocate` may still change until the region has been closed. Memory that was transferred elsewhere meanwhile is not touched, and
   * the call rejects with `INVALID_ARGUMENT`.
   * @throws CheckpointError as {@link read}
   */
  readInto(ranges: Range | readonly Range[], options?: CallOptions): Promise<void> {
    return promised(() => {
      const call = takeCall(options)
      const { offsets, buffers, copies } = takeVector(oneOrMore(ranges), this.#open, 'read')
      const fill = () => {
        for (const { target, copy } of copies) {
          if (target.byteLength !== copy.byteLength) {
            throw invalid('The memory to read into changed its size during the read.')
          }
          target.set(copy)
        }
      }
      const read = { offsets, buffers, options: call, use: 'call', ours: false, result: fill } as const
      return this.#open.read(read) as Promise<void>
    })
  }

  /**
   * What the pool's tables say of the region now: epoch, owner, labels, saved cursors. Read by RDMA, so that it needs
   * nothing of the unit's CPU once the client's connection to the tables stands (made at the first call).
   * @throws CheckpointError `REGION_NOT_FOUND` once the region has been deleted; `POOL_DAMAGED`, `ABORTED`, `TIMEOUT`,
   * `CONNECTION_LOST`, `CLOSED`
   */
  async metadata(options?: CallOptions): Promise<RegionInfo> {
    const call = takeCall(options)
    this.#open.requireOpen()
    return await unlessAborted(this.#open.ended, this.#open.metadata(call))
  }

  /** Where the region lies for the data plane, on the connection that stands now. */
  async addressContext(options?: CallOptions): Promise<AddressContext> {
    takeCall(options)
    this.#open.requireOpen()
    const { grant, endpoint } = this.#open.connection
    if (grant === undefined || endpoint === undefined) throw this.#open.closedError()
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
    return openReader<T>(this.#open.forReaders, options)
  }

  /**
   * Closes the connection. Idempotent. Waits, 30 s at most, for pending calls that the unit can answer, appends
   * among them. What waits for something else rejects with `CLOSED` at once, as later calls do: an append for space in the
   * region, a streamed one for a source that yields nothing for 200 ms, a reader for the next checkpoint. A
   * unit that does not answer delays it by 2 s at most.
   * @throws CheckpointError `MEDIUM_FAILED`, `POOL_READ_ONLY`: it has been closed, and the unit could not record that its owner
   * has released it, so that after a restart of the unit it counts as owned for its lease. The event `release-failed` says so, too,
   * also of a region that its client or its disposal closes: those do not reject; and of one whose unit gave no answer, once it is
   * known or the client is closed.
   */
  async close(): Promise<void> {
    const unreleased = await this.#open.close()
    if (unreleased !== undefined) throw unreleased
  }

  /**
   * @internal Waits for pending calls at most so long; never rejects.
   * @param reason what later calls reject with
   * @returns what {@link close} throws
   */
  closeWithin(timeoutMs: number, reason?: CheckpointError): Promise<CheckpointError | undefined> {
    return this.#open.close(timeoutMs, reason)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#open.close()
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
  get fenced(): AbortSignal {
    return this.open.fenced
  }

  /**
   * Aborts when the unit came back from a restart and writes of this handle that had been answered as visible, and not
   * flushed since, may be gone; the reason is a CheckpointError `WRITES_LOST`. After that the property holds a new signal,
   * for the next time.
   */
  get lostWrites(): AbortSignal {
    return this.open.lostWrites
  }

  /** How often {@link lostWrites} has aborted. */
  get rollbacks(): number {
    return this.open.toldRollbacks
  }

  /** The strongest that the pool promises. */
  get strongest(): Durability {
    return this.open.strongest
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
    return promised(() => {
      checkBytes(bytes, 'bytes')
      const at = toSize(offset, 'offset')
      checkRange(at, bytes.byteLength, this.open.bytes, this.name)
      const call = takeWrite(options)
      const [offsets, buffers] =
        bytes.byteLength === 0 ? [nothing, nothing] : [[at], [mustBeCopied(bytes) ? copyOf(bytes) : bytes]]
      return this.open.write({ offsets, buffers, options: call, use: 'call', alsoFlush: nothing })
    })
  }

  /**
   * Writes several ranges in one batch, with one answer for all. Not atomic: a reader, or a crash, may see some without
   * the others.
   * @throws CheckpointError as {@link write}
   */
  writeAll(ranges: readonly Range[], options?: WriteOptions): Promise<Ack> {
    return promised(() => {
      const list = asList(ranges, 'ranges')
      const call = takeWrite(options)
      const { offsets, buffers } = takeVector(list, this.open, 'write')
      return this.open.write({ offsets, buffers, options: call, use: 'call', alsoFlush: nothing })
    })
  }

  /**
   * Makes ranges durable: those given, and without any all that this handle has written visibly and not flushed,
   * writes without an answer yet included.
   * @throws CheckpointError `NOT_DURABLE` on a pool that cannot; `WRITES_LOST` when the unit came back without them;
   * otherwise as {@link write}
   */
  flush(ranges?: readonly { offset: Size; length: Size }[], options?: CallOptions): Promise<Ack> {
    return promised(() => {
      const call = takeCall(options)
      const intervals = ranges === undefined ? undefined : takeRanges(asList(ranges, 'ranges'), this.open)
      return this.open.flushRanges(intervals, call)
    })
  }

  /**
   * The log of checkpoints in the region, to append to.
   * @throws CheckpointError `REGION_MODE` when the region is raw
   */
  log<T = Uint8Array>(options?: LogOptions<T>): CheckpointLog<T> {
    return openLog<T>(this.open, options)
  }
}

// A transfer holds by itself, see transfer.ts.
printsAs(RegionReader, ({ name, id, size, epoch, transport }) => ({ name, id, size, epoch, transport }))
holdsProcess(RegionReader, ['read', 'readInto'])
printsAs(Region, ({ name, id, size, epoch, transport, fenced, strongest }) => ({
  name,
  id,
  size,
  epoch,
  transport,
  strongest,
  fenced: fenced.aborted,
}))
holdsProcess(Region, ['write', 'writeAll', 'flush', 'log'])

/** Writing checkpoints to a region that this process owns. */

import { invalid, mustBeCopied, requireNotAborted, show } from '../call/check.js'
import { holdsProcess } from '../call/hold.js'
import { copyOf } from '../call/new-bytes.js'
import { takeWrite } from '../call/options.js'
import { take } from '../call/shape.js'
import { CheckpointError } from '../errors.js'
import type { Ack, CallOptions, Size, WriteOptions } from '../types.js'
import { type Codec, encodeWith, isAsyncIterable, raw } from './codec.js'
import { DeltaChain } from './delta/chain.js'
import { clearOptions, type LogOptions, logOptions, streamOptions } from './options.js'
import { CheckpointReader } from './reader.js'
import { greater } from './record/order.js'
import type { RegionWriteAccess } from './region-access.js'
import type { Appended } from './writer/jobs.js'
import { streamCells } from './writer/stream-spool.js'
import { LogWriter } from './writer/writer.js'

/** All logs of one region handle share its writer, so that they do not write over each other. */
const writers = new WeakMap<RegionWriteAccess, LogWriter>()

/**
 * The checkpoints of a region, for its owner. Calls need not wait for each other: appends are written and acknowledged in
 * the order of the calls.
 *
 * Errors of all three methods: `INVALID_ARGUMENT`, `NOT_DURABLE`, `ABORTED`, `TIMEOUT`, `CONNECTION_LOST`, `FENCED`,
 * `CLOSED`, `WRITES_LOST`, `MEDIUM_FAILED`; `outcome` tells whether the checkpoint may be in the log. An aborted append
 * whose write is on its way may still take effect; it never disturbs others.
 */
export class CheckpointLog<T> extends CheckpointReader<T> {
  readonly #access: RegionWriteAccess
  readonly #writer: LogWriter
  readonly #schema: number
  readonly #chain: DeltaChain | undefined

  /** @internal Use `region.log()`. */
  constructor(access: RegionWriteAccess, codec: Codec<T>, schema: number, delta?: { readonly fullEvery: number }) {
    super(access.forReaders ?? access, codec)
    let writer = writers.get(access)
    if (writer === undefined) {
      writer = new LogWriter(access)
      writers.set(access, writer)
    }
    this.#access = access
    this.#writer = writer
    this.view.relyOn(() => writer.durableSequence)
    this.#schema = schema
    this.#chain = delta === undefined ? undefined : openChain(access, delta.fullEvery)
  }

  /**
   * Saves a checkpoint. The value is encoded and copied before this returns its promise: what is changed afterwards is
   * not in it. (A codec that encodes to an async iterable is read later, as by {@link appendStream}.) Resolves once it
   * and every earlier one is as durable as asked (default: the strongest that the pool promises).
   * @throws CheckpointError `REGION_TOO_SMALL` for a checkpoint larger than about half the region; `REGION_FULL` under
   * `onFull: 'fail'`; under `'wait'` it waits for space until the timeout or the signal
   */
  async append(value: T, options: WriteOptions = {}): Promise<Appended> {
    const call = takeWrite(options)
    const encoded = encodeWith(this.codec, value)
    if (!(encoded instanceof Uint8Array)) {
      return this.#writer.appendStream(encoded, undefined, this.codec.id, this.#schema, call)
    }
    // Another thread may change shared memory between its copy and its checksum.
    const bytes = mustBeCopied(encoded) ? copyOf(encoded) : encoded
    return this.#writer.append(bytes, this.codec.id, this.#schema, call, this.#chain)
  }

  /**
   * Saves a checkpoint larger than memory, of exactly `bytes` encoded bytes, in parts of 1 MiB. Appends called later wait
   * until the stream has ended. If the source fails or has another length, nothing of it is in the log.
   * @throws CheckpointError as of {@link append}; what the source throws is passed on
   */
  async appendStream(chunks: AsyncIterable<Uint8Array>, options: WriteOptions & { bytes: Size }): Promise<Appended> {
    const { bytes: size, ...call } = take(streamOptions, options)
    requireNotAborted(call)
    const bytes = Number(size)
    requireIterable(chunks)
    this.#writer.requireFits(streamCells(bytes), bytes)
    return this.#writer.appendStream(chunks, bytes, this.codec.id, this.#schema, call)
  }

  /**
   * Takes everything that was appended before this call out of the log, or what has a sequence number below `before`.
   * Numbers go on; they are never used again. Always as durable as the pool can.
   */
  async clear(options: WriteOptions & { before?: bigint } = {}): Promise<Ack> {
    const { before, durability, ...call } = take(clearOptions, options)
    requireNotAborted(call)
    this.#writer.requireDurability(durability)
    const ack = await this.#writer.clear(before, call)
    this.#access.noteCleared?.()
    return ack
  }

  /**
   * The newest checkpoint when this owner found the end of the log, to append behind it. Undefined in a log that was empty
   * or cleared.
   * @internal
   */
  async end(): Promise<{ epoch: bigint; sequence: bigint } | undefined> {
    return await this.#writer.end()
  }

  /** As of the reader, and what this process knows to have made durable itself. */
  override async durableSequence(options?: CallOptions): Promise<bigint> {
    return greater(await super.durableSequence(options), this.#writer.durableSequence)
  }
}

// An append holds by itself, see jobs.ts.
holdsProcess(CheckpointLog, ['append', 'appendStream'])

/** A log over a region's access. Logs of one access share their writer. */
export function openLog<T = Uint8Array>(access: RegionWriteAccess, options: LogOptions<T> = {}): CheckpointLog<T> {
  const { codec = raw, schema = 0, delta } = take(logOptions, options)
  return new CheckpointLog(access, codec as Codec<T>, schema, delta)
}

function requireIterable(chunks: unknown): void {
  let iterable = false
  try {
    iterable = isAsyncIterable(chunks)
  } catch (error) {
    throw invalid('The chunks of a streamed checkpoint cannot be read.', undefined, error)
  }
  if (!iterable)
    throw invalid(`The chunks of a streamed checkpoint must be an async iterable; they are ${show(chunks)}.`)
}

/**
 * Takes no more calls on the access's logs, and waits, at most so long, for those that can still be answered; the others reject
 * with the reason. Never rejects.
 */
export async function closeLogs(access: RegionWriteAccess, reason: CheckpointError, timeoutMs: number): Promise<void> {
  await writers.get(access)?.close(reason, timeoutMs)
}

/** The region has ended: every call on its logs that has no answer rejects with that. */
export function failLogs(access: RegionWriteAccess, error: CheckpointError): void {
  writers.get(access)?.fail(error)
}

/** The connection of the access has broken: its `brokenAt` says when. */
export function noteBroken(access: RegionWriteAccess): void {
  writers.get(access)?.noteBroken()
}

function openChain({ mode, onFull, name }: RegionWriteAccess, fullEvery: number): DeltaChain {
  // Elsewhere a base could be released, or overwritten, before what builds on it.
  if (mode === 'append' && onFull === 'drop-oldest') return new DeltaChain(fullEvery)
  throw new CheckpointError('REGION_MODE', `Region ${JSON.stringify(name)} (${mode}, ${onFull}) takes no deltas.`, {
    help: 'Create it with mode append and onFull drop-oldest, or write full checkpoints.',
  })
}

/**
 * The one writer behind all logs of a region: a queue of appends, written in order and several at a time, acknowledged in
 * order. When a write fails, or the unit came back without some, it looks for the end of the log again before it goes on.
 */
import { defaultTimeoutMs } from '../../call/check.js'
import { loggable } from '../../call/printed.js'
import { deadlineTimer, longestTimerMs, type Timer } from '../../call/timer.js'
import { CheckpointError } from '../../errors.js'
import { withOutcome } from '../../outcome.js'
import type { Ack, CallOptions, Durability, WriteOptions } from '../../types.js'
import { AppendPlacement } from '../append/placement.js'
import { AppendView } from '../append/view.js'
import { Deadline } from '../deadline.js'
import { type ChainLink, type DeltaChain, makeLink } from '../delta/chain.js'
import { deltaHeaderBytes, writeDeltaHeader } from '../delta/payload.js'
import { isBase } from '../delta/restore.js'
import type { SequenceRange } from '../findings.js'
import { cellBytes, cellsOf, type Geometry, geometryOf, recordHeaderBytes } from '../geometry.js'
import type { LogView } from '../log-view.js'
import { type LogHeader, logHeaderUsedBytes, writeLogHeader } from '../metadata/log-header.js'
import { damaged } from '../missing.js'
import { OverwritePlacement } from '../overwrite/placement.js'
import { OverwriteView } from '../overwrite/view.js'
import type { Placement } from '../placement.js'
import {
  type Crc32c,
  instanceBytes,
  lastPartFlag,
  type RecordFields,
  type RecordHeader,
  recordKind,
  writeRecordHeader,
} from '../record/header.js'
import { compareOrder, greater, type LogOrder } from '../record/order.js'
import { largestAssembledBytes } from '../record/stored.js'
import type { RegionWriteAccess } from '../region-access.js'
import {
  Answer,
  type Appended,
  Clearing,
  type Job,
  type RecordContent,
  type RecordJob,
  type Staging,
  type StreamJob,
  type Unanswered,
  Waiting,
} from './jobs.js'
import { StreamSpool } from './stream-spool.js'

/** A record on its way. */
interface Flight {
  readonly header: RecordHeader
  /** Position of the first record that its checkpoint needs. */
  readonly start: number
  readonly ends: boolean
  readonly answer: Answer
  /** To write it once more; a part of a stream has none. */
  readonly job: RecordJob | undefined
  readonly staging: Staging
  readonly rollbacks: number
  ack?: Ack
  error?: unknown
  done: boolean
}

const longestPollMs = 50
/**
 * Of a close: a stream whose source yields nothing at so many looks in a row is not waited for. Looks, not time: an event loop that
 * was blocked has kept the source from it, too.
 */
const mostIdleLooks = 8
const lookMs = 25
/** For a look at the saved cursors while the region is being closed. */
const lastLookMs = 1_000
/** A log that nothing was appended to for so long is at rest. */
const restMs = 25
const longestRestMs = 1_000

export class LogWriter {
  readonly access: RegionWriteAccess
  readonly maximumCells: number
  readonly #geometry: Geometry
  readonly #instance: Uint8Array
  readonly #crc32c: Crc32c
  readonly #view: LogView
  readonly #placement: Placement
  #queue: Job[] = []
  #flights: Flight[] = []
  #pumping = false
  /** The end of the log is known. */
  #loaded = false
  #rollbacks = 0
  /** Something was sent since the region was opened. */
  #wrote = false
  /** Counts looks at the log's end: what was sent before the last is not known to be there. */
  #recoveries = 0
  #header: LogHeader = { generation: 0n, firstSequence: 1n, position: 0 }
  #newestAtStart: LogOrder | undefined
  #nextSequence = 1n
  #newestAcknowledged = 0n
  #durableSequence = 0n
  #unbrokenFrom = 0n
  /** What was damaged behind the newest when the end of the log was last looked for. */
  #damaged: SequenceRange | undefined
  #resting: NodeJS.Timeout | undefined
  #cursors: readonly LogOrder[] = []
  #waiters: (() => void)[] = []
  #clearing: Promise<unknown> = Promise.resolve()
  /** Those whose turn it was: they write the log header, one after the other. */
  readonly #clears = new Set<Clearing>()
  /** What was in flight when a write failed, while it is found out what became of it. */
  #suspects: readonly Flight[] = []
  #streaming: { job: StreamJob; spool: StreamSpool } | undefined
  /** Nothing new is taken; what can still be done is. */
  #closing: CheckpointError | undefined
  /** The region has ended: nothing is done any more. */
  #failure: CheckpointError | undefined
  /** Since the failure something was not acknowledged, and so nothing behind it is. */
  #broken = false
  /** Calls without an answer. */
  #pending = 0
  #timer: Timer | undefined
  #due = Number.POSITIVE_INFINITY

  constructor(access: RegionWriteAccess) {
    if (access.mode === 'raw') {
      throw new CheckpointError('REGION_MODE', `Region ${JSON.stringify(access.name)} is raw: it takes no checkpoints.`)
    }
    this.access = access
    this.#geometry = geometryOf(access.mode, access.bytes)
    this.#instance = instanceBytes(access.id)
    this.#crc32c = (bytes, seed) => access.crc32c(bytes, seed)
    if (this.#geometry.mode === 'append') {
      const view = new AppendView(access, this.#geometry, this.#instance)
      this.#view = view
      this.#placement = new AppendPlacement(access, this.#geometry, view, this.#instance)
    } else {
      const view = new OverwriteView(access, this.#geometry, this.#instance)
      this.#view = view
      this.#placement = new OverwritePlacement(access, this.#geometry, view, this.#instance)
    }
    this.maximumCells = this.#placement.maximumCells
  }

  /** Greatest sequence this writer knows to be durable. */
  get durableSequence(): bigint {
    return this.#durableSequence
  }

  /** Takes the snapshot before it returns. */
  append(
    payload: Uint8Array,
    codec: number,
    schema: number,
    options: WriteOptions,
    chain?: DeltaChain,
  ): Promise<Appended> {
    const payloadBytes = payload.byteLength
    const cells = cellsOf(payloadBytes)
    this.requireFits(cells, payloadBytes)
    if (payloadBytes > largestAssembledBytes) {
      throw new CheckpointError('LIMIT_REACHED', `append() takes at most 2 GiB, and this has ${payloadBytes} bytes.`, {
        help: 'Use appendStream().',
      })
    }
    const answer = this.answer(options)
    if (chain !== undefined && this.#appendDelta(payload, codec, schema, answer, chain)) return answer.promise
    const staging = this.access.staging(recordHeaderBytes + payloadBytes)
    const payloadCrc = this.access.copyCrc32c(staging.bytes, recordHeaderBytes, payload)
    const job = { kind: 'record', answer, staging, payloadBytes, payloadCrc, codec, schema, cells } as const
    if (chain === undefined) this.#enqueue(job)
    else {
      const link = makeLink(payloadBytes, undefined)
      chain.remember(staging.bytes.subarray(recordHeaderBytes, recordHeaderBytes + payloadBytes))
      chain.newest = link
      this.#enqueue({ ...job, link })
    }
    return answer.promise
  }

  /** True when what changed since the chain's newest checkpoint goes to the log instead of all. */
  #appendDelta(payload: Uint8Array, codec: number, schema: number, answer: Answer, chain: DeltaChain): boolean {
    const { access } = this
    const base = chain.open ? chain.newest : undefined
    chain.newest = undefined
    // The record goes out next or never, so that its place is known and nothing that it builds on is dropped before.
    const next = this.#loaded && !this.#pumping && this.#queue.length === 0 && access.rollbacks === this.#rollbacks
    if (!next || this.#troubled() || base?.header === undefined || base.recovery !== this.#recoveries) return false
    if (base.header.sequence < this.#header.firstSequence) return false
    const runs = chain.changes(access, payload)
    if (runs === undefined) return false
    const payloadBytes = deltaHeaderBytes + runs.length
    const link = makeLink(payload.byteLength, base)
    if (!this.#chainFits(link, cellsOf(payloadBytes))) return false
    const staging = access.staging(recordHeaderBytes + payloadBytes)
    staging.bytes.set(runs, recordHeaderBytes + deltaHeaderBytes)
    chain.newest = link
    const cells = cellsOf(payloadBytes)
    this.#enqueue({ kind: 'record', answer, staging, payloadBytes, payloadCrc: 0, codec, schema, cells, link })
    return true
  }

  /**
   * A chain is no longer than the largest checkpoint: then the next full one always fits beside it, and the ring never has to
   * drop the beginning of a chain that is still the newest.
   */
  #chainFits({ root }: ChainLink, cells: number): boolean {
    if (root.header === undefined) return false
    return this.#placement.next(true).position + cells - root.header.position <= this.maximumCells
  }

  appendStream(
    chunks: AsyncIterable<Uint8Array>,
    totalBytes: number | undefined,
    codec: number,
    schema: number,
    options: WriteOptions,
  ): Promise<Appended> {
    const answer = this.answer(options)
    const patienceMs = options.timeoutMs === undefined ? defaultTimeoutMs : undefined
    this.#enqueue({ kind: 'stream', answer, patienceMs, chunks, totalBytes, codec, schema })
    return answer.promise
  }

  /**
   * The newest checkpoint that the log had when its end was last looked for.
   * @throws CheckpointError `CHECKPOINT_DAMAGED` when there had been newer ones
   */
  async end(): Promise<LogOrder | undefined> {
    this.#requireOpen()
    await this.#barrier()
    const newest = this.#newestAtStart
    if (this.#damaged !== undefined) throw damaged(this.#damaged, { region: this.access.id, newest })
    return newest === undefined || newest.sequence < this.#header.firstSequence ? undefined : newest
  }

  /** Records below `before`, or all appended so far, are gone when this resolves. */
  clear(before: bigint | undefined, options: CallOptions): Promise<Ack> {
    this.#requireOpen()
    const deadline = new Deadline(options)
    const answer = this.#expect(new Clearing(options, () => this.#onSettled()))
    const reached = () => {
      const firstSequence = before === undefined || before > this.#nextSequence ? this.#nextSequence : before
      this.#clears.add(answer)
      this.#clearing = this.#clearing.then(async () => {
        try {
          if (!answer.settled) answer.resolve(await this.#writeHeader(firstSequence, deadline, answer))
        } catch (error) {
          answer.reject(error)
        } finally {
          this.#clears.delete(answer)
          this.#wake()
        }
      })
    }
    this.#enqueue({ kind: 'barrier', answer, reached })
    return answer.promise
  }

  /**
   * Takes nothing new, and waits, at most so long, for what can still be done. What waits for space, or for a source that
   * yields nothing, ends at once; then everything does.
   */
  async close(reason: CheckpointError, timeoutMs: number): Promise<void> {
    this.#closing ??= reason
    this.#wake()
    const end = performance.now() + timeoutMs
    let [asked, looks, looked] = [0, 0, 0]
    for (;;) {
      const now = performance.now()
      if (this.#failure !== undefined || !this.#isBusy() || now >= end) break
      const askedAt = this.#streaming?.spool.askedAt
      if (askedAt === undefined || askedAt !== asked) [asked, looks, looked] = [askedAt ?? 0, 0, now]
      else if (now - looked >= lookMs) [looks, looked] = [looks + 1, now]
      if (looks >= mostIdleLooks) this.#streaming?.job.answer.reject(withOutcome(this.#closing, 'none'))
      await this.#change(Math.min(end - now, this.#streaming === undefined ? longestTimerMs : lookMs))
    }
    if (this.#failure === undefined && end > performance.now()) {
      await this.rest(Math.min(end - performance.now(), longestRestMs))
    }
    this.fail(this.#closing)
  }

  /** The region has ended, as the error says: so does every call that has no answer, now. */
  fail(error: CheckpointError): void {
    if (this.#failure !== undefined) return
    this.#failure = error
    clearTimeout(this.#resting)
    // What is in flight is told by its write, which ends now, too.
    for (const { answer } of this.#suspects) answer.reject(withOutcome(error, 'unknown'))
    this.#streaming?.job.answer.reject(withOutcome(error, 'none'))
    for (const clear of [...this.#clears]) if (!clear.sent) clear.reject(withOutcome(error, 'none'))
    this.#rejectQueue(error)
    this.#wake()
  }

  #barrier(): Promise<void> {
    const answer = this.#expect(new Waiting<void>('The call', undefined, defaultTimeoutMs, () => this.#onSettled()))
    this.#enqueue({ kind: 'barrier', answer, reached: () => answer.resolve() })
    return answer.promise
  }

  #requireOpen(): void {
    const ended = this.#failure ?? this.#closing
    if (ended !== undefined) throw withOutcome(ended, 'none')
  }

  #isBusy(): boolean {
    return this.#pumping || this.#queue.length > 0 || this.#flights.length > 0 || this.#clears.size > 0
  }

  answer(options: WriteOptions): Answer {
    const durability = options.durability ?? this.access.strongest
    this.requireDurability(durability)
    this.#requireOpen()
    return this.#expect(new Answer(options, durability, () => this.#onSettled()))
  }

  /** @throws CheckpointError `NOT_DURABLE` */
  requireDurability(durability: Durability | undefined): void {
    if (durability !== 'durable' || this.access.strongest === 'durable') return
    throw new CheckpointError('NOT_DURABLE', 'The pool of this region keeps nothing durable.', {
      help: "Append with durability 'visible', or put the region in a pool on a file or on persistent memory.",
    })
  }

  requireFits(cells: number, bytes: number): void {
    if (cells <= this.maximumCells) return
    throw new CheckpointError(
      'REGION_TOO_SMALL',
      `A checkpoint of ${bytes} bytes does not fit: region ${JSON.stringify(this.access.name)} of ` +
        `${this.access.bytes} bytes takes at most ${(this.maximumCells - 1) * cellBytes}.`,
      { help: 'The newest checkpoint is never overwritten by the next one, so a region holds at least two.' },
    )
  }

  /** Has the time of a call that has just come kept. */
  #expect<W extends Unanswered>(waiting: W): W {
    this.#pending++
    const end = this.#endOf(waiting)
    if (end < this.#due) this.#setTimer(end)
    return waiting
  }

  #onSettled(): void {
    this.#pending--
    this.#wake()
  }

  /** As of calls on the region: without a connection none waits for longer than it takes to give one up. */
  #endOf({ expires, calledAt }: Unanswered): number {
    const { brokenAt, retryMs } = this.access
    return brokenAt === undefined || retryMs === undefined
      ? expires
      : Math.min(expires, Math.max(brokenAt, calledAt) + retryMs)
  }

  /** The connection has broken. */
  noteBroken(): void {
    if (this.#pending > 0) this.#sweep()
  }

  #setTimer(due: number): void {
    this.#timer?.cancel()
    this.#due = due
    this.#timer = deadlineTimer(due - performance.now(), () => this.#sweep())?.unref()
  }

  /** Ends the calls whose time is over. */
  #sweep(): void {
    const now = performance.now()
    let next = Number.POSITIVE_INFINITY
    for (const waiting of this.#unanswered()) {
      if (waiting.settled) continue
      const end = this.#endOf(waiting)
      if (end > now) next = Math.min(next, end)
      else waiting.expire((call, outcome) => this.access.lost?.(call, outcome))
    }
    this.#setTimer(next)
  }

  /** One may turn up more than once. */
  *#unanswered(): Iterable<Unanswered> {
    for (const { answer } of this.#queue.slice()) yield answer
    for (const { answer } of [...this.#flights, ...this.#suspects]) yield answer
    if (this.#streaming !== undefined) yield this.#streaming.job.answer
    yield* [...this.#clears]
  }

  #enqueue(job: Job): void {
    this.#queue.push(job)
    this.#kick()
  }

  #rejectQueue(error: unknown): void {
    for (const job of this.#queue.splice(0)) {
      job.answer.reject(withOutcome(error, 'none'))
      if (job.kind === 'record') job.staging.release()
    }
  }

  #kick(): void {
    if (this.#pumping) return
    this.#pumping = true
    void this.#pump()
  }

  /** Runs to its first wait at once, so that an append that nothing holds up is sent before its promise is returned. */
  async #pump(): Promise<void> {
    try {
      while (this.#failure === undefined && (this.#queue.length > 0 || this.#troubled())) {
        if (this.#troubled() || !this.#loaded || this.access.rollbacks !== this.#rollbacks) {
          await this.#recover()
          continue
        }
        const job = this.#queue[0] as Job
        if (job.answer.settled) {
          this.#queue.shift()
          if (job.kind === 'record') job.staging.release()
        } else if (job.kind === 'barrier') {
          this.#queue.shift()
          job.reached()
        } else if (job.kind === 'stream') {
          this.#queue.shift()
          await this.#runStream(job)
        } else if (this.#hasRoom(job.cells, true)) {
          this.#queue.shift()
          this.#sendRecord(job)
        } else {
          await this.#makeRoom(job.answer, job.cells, true)
        }
      }
    } finally {
      this.#pumping = false
      if (this.#failure !== undefined) this.#rejectQueue(this.#failure)
      this.#wake()
    }
  }

  #troubled(): boolean {
    return this.#flights.some(
      ({ done, error, rollbacks }) => done && (error !== undefined || rollbacks !== this.access.rollbacks),
    )
  }

  #hasRoom(cells: number, first: boolean): boolean {
    return (
      !this.#overwritesKept(cells) &&
      !this.#placement.overwritesNewest(cells, first) &&
      !this.#placement.unreserved(cells)
    )
  }

  #overwritesKept(cells: number): boolean {
    if (this.access.onFull === 'drop-oldest') return false
    const released = (last: LogOrder) =>
      last.sequence < this.#header.firstSequence ||
      (this.#cursors.length > 0 && this.#cursors.every((cursor) => compareOrder(cursor, last) >= 0))
    return this.#placement.overwritesKept(cells, released)
  }

  #sendRecord(job: RecordJob): void {
    const { answer, staging, payloadBytes, payloadCrc, codec, schema, link } = job
    const content = { kind: recordKind.full, flags: lastPartFlag, codec, schema, part: 0, offset: 0 }
    if (link?.base !== undefined) {
      this.#sendDelta(job, link, content)
      return
    }
    const sequence = this.#nextSequence++
    const whole = { ...content, payloadBytes, totalBytes: payloadBytes, payloadCrc }
    const header = this.send(whole, sequence, answer, staging, job)
    if (link !== undefined) Object.assign(link, { header, recovery: this.#recoveries })
  }

  #sendDelta(
    job: RecordJob,
    link: ChainLink,
    content: Pick<RecordContent, 'kind' | 'flags' | 'codec' | 'schema' | 'part' | 'offset'>,
  ): void {
    const { answer, staging, payloadBytes, cells } = job
    const { base, root, depth, bytes: totalBytes } = link
    if (
      base?.header === undefined ||
      base.recovery !== this.#recoveries ||
      root.header === undefined ||
      !this.#chainFits(link, cells)
    ) {
      answer.reject(
        new CheckpointError('WRITES_LOST', 'The checkpoint that this delta builds on is not in the log.', {
          retryable: true,
          help: 'Append the state again: it is written in full.',
        }),
      )
      staging.release()
      return
    }
    const payload = staging.bytes.subarray(recordHeaderBytes, recordHeaderBytes + payloadBytes)
    const { epoch, sequence: baseOf, headerCrc } = base.header
    writeDeltaHeader(payload, { depth, epoch, sequence: baseOf, headerCrc, baseBytes: base.bytes, totalBytes })
    const delta = { ...content, kind: recordKind.delta, payloadBytes, totalBytes, baseSequence: root.header.sequence }
    const sequence = this.#nextSequence++
    const start = root.header.position
    const header = this.send({ ...delta, payloadCrc: this.#crc32c(payload) }, sequence, answer, staging, job, start)
    Object.assign(link, { header, recovery: this.#recoveries })
  }

  /** After a look at the log's end: whether what waiting deltas build on is there. */
  async #confirmBases(): Promise<void> {
    for (const job of this.#queue) {
      const base = job.kind === 'record' ? job.link?.base : undefined
      if (base?.header === undefined || base.recovery === this.#recoveries) continue
      const item = await this.#view.find(base.header.sequence, new Deadline())
      if (item === undefined || !isBase(item.stored, base.header)) continue
      if (await this.#view.isWhole(item.stored, item.window, new Deadline())) base.recovery = this.#recoveries
    }
  }

  /** Writes the header in front of the payload in staging, and posts the record where the log ends. */
  private send(
    content: RecordContent,
    sequence: bigint,
    answer: Answer,
    staging: Staging,
    job: RecordJob | undefined,
    start?: number,
  ): RecordHeader {
    const { access } = this
    const ends = (content.flags & lastPartFlag) !== 0
    const durability: Durability = ends ? answer.durability : 'visible'
    const alsoFlush = durability === 'durable' ? this.#placement.takePending() : []
    const fields: RecordFields = {
      ...content,
      ...this.#placement.next(content.part === 0),
      unbrokenFrom: this.#unbrokenFrom,
      epoch: access.epoch,
      sequence,
      baseSequence: content.baseSequence ?? 0n,
      timeMs: Date.now(),
      durableSequence: this.#durableSequence,
    }
    const headerCrc = writeRecordHeader(staging.bytes, fields, this.#instance, this.#crc32c)
    const header: RecordHeader = { ...fields, cells: cellsOf(fields.payloadBytes), headerCrc }
    const companions = this.#placement.advance(header, durability === 'durable')
    // What a durable write covers is not pending any more.
    if (durability === 'durable') this.#placement.takePending()

    this.#wrote = true
    const { rollbacks } = access
    const flight: Flight = {
      header,
      start: start ?? header.position,
      ends,
      answer,
      job,
      staging,
      rollbacks,
      done: false,
    }
    this.#flights.push(flight)
    // Of a stream that has no end nothing is in the log.
    if (ends) answer.sent = true
    const record = staging.bytes.subarray(0, recordHeaderBytes + fields.payloadBytes)
    const ranges = [...this.#split(header.position, record), ...companions]
    const options: Parameters<RegionWriteAccess['writeAll']>[1] = { durability, timeoutMs: answer.writeTimeoutMs }
    if (alsoFlush.length > 0) options.alsoFlush = alsoFlush
    post(() => access.writeAll(ranges, options)).then(
      (ack) => this.#land(flight, { ack }),
      (error: unknown) => this.#land(flight, { error: error ?? new Error('write failed') }),
    )
    return header
  }

  #split(position: number, bytes: Uint8Array): { offset: number; bytes: Uint8Array }[] {
    const { offset, cells } = this.#geometry.area
    const start = (position % cells) * cellBytes
    const first = Math.min(bytes.length, cells * cellBytes - start)
    const ranges = [{ offset: offset + start, bytes: bytes.subarray(0, first) }]
    if (first < bytes.length) ranges.push({ offset, bytes: bytes.subarray(first) })
    return ranges
  }

  #land(flight: Flight, result: { ack?: Ack; error?: unknown }): void {
    flight.done = true
    Object.assign(flight, result)
    this.#renew(flight.answer)
    if (this.#failure !== undefined) this.#settleAtTheEnd(this.#failure)
    else if (this.#troubled()) this.#kick()
    else while (this.#flights[0]?.done) this.#acknowledge(this.#flights.shift() as Flight)
    this.#wake()
  }

  /** Without another look at the log: what was answered before the first failure is acknowledged. */
  #settleAtTheEnd(failure: CheckpointError): void {
    for (let flight = this.#flights[0]; flight?.done; flight = this.#flights[0]) {
      this.#flights.shift()
      const { error, answer, rollbacks, staging } = flight
      this.#broken ||= error !== undefined || rollbacks !== this.access.rollbacks
      if (!this.#broken) this.#acknowledge(flight)
      else {
        answer.reject(withOutcome(error ?? failure, flight.ends ? 'unknown' : 'none'))
        if (error === undefined) staging.release()
      }
    }
  }

  #acknowledge(flight: Flight): void {
    flight.staging.release()
    if (!flight.ends || flight.ack === undefined) return
    const { sequence } = flight.header
    const durable = flight.answer.durability === 'durable'
    this.#placement.settled(flight.start, sequence, durable)
    this.#newestAcknowledged = sequence
    if (durable) this.#durableSequence = sequence
    this.#damaged = undefined
    this.#restSoon()
    flight.answer.resolve(loggable({ ...flight.ack, sequence }))
  }

  /** Waits until nothing is in flight, reads the end of the log, and decides what became of what was in flight. */
  async #recover(): Promise<void> {
    while (this.#flights.some(({ done }) => !done)) await this.#change()
    const suspects = this.#flights
    this.#flights = []
    this.#loaded = false
    this.#recoveries++
    for (const { error, answer } of suspects) if (error !== undefined) answer.reject(withOutcome(error, 'unknown'))
    this.#suspects = suspects
    try {
      await this.#load()
      // The unit may go again meanwhile.
      while (!(await this.#sort(suspects))) await this.#load()
      await this.#confirmBases()
    } catch (error) {
      this.#loaded = false
      for (const { answer, staging, error: failed } of suspects) {
        answer.reject(withOutcome(error, 'unknown'))
        if (failed === undefined) staging.release()
      }
      this.#rejectQueue(error)
    } finally {
      this.#suspects = []
    }
    this.#wake()
  }

  async #load(): Promise<void> {
    const { access } = this
    const { rollbacks } = access
    const durableWhenOpened = !this.#wrote && access.durableWhenOpened === true
    const loaded = await this.#placement.load(new Deadline(), durableWhenOpened)
    const { header, newest, greatestSequence } = loaded
    if (newest !== undefined && newest.epoch > access.epoch) {
      access.foundFenced?.(newest.epoch)
      throw new CheckpointError(
        'FENCED',
        `Epoch ${newest.epoch} writes this log, and this owner has ${access.epoch}.`,
        {
          details: { epoch: newest.epoch },
        },
      )
    }
    this.#header = header
    this.#newestAtStart = newest
    for (const least of [greatestSequence + 1n, header.firstSequence]) {
      if (least > this.#nextSequence) this.#nextSequence = least
    }
    this.#newestAcknowledged = newest?.sequence ?? 0n
    // What the one before had acknowledged last may not be written down anywhere yet.
    const foundDurable = durableWhenOpened && access.strongest === 'durable' ? newest?.sequence : undefined
    const known = greater(loaded.durableSequence, foundDurable ?? newest?.last.durableSequence ?? 0n)
    this.#durableSequence = greater(this.#durableSequence, known)
    this.#unbrokenFrom = loaded.unbrokenFrom
    this.#damaged = loaded.damaged
    this.#rollbacks = rollbacks
    if (loaded.mended !== undefined) access.noteFinding?.({ kind: 'mended', ...loaded.mended })
    if (loaded.damaged !== undefined) access.noteFinding?.({ kind: 'damaged', ...loaded.damaged })
    if (loaded.missing !== undefined) access.noteFinding?.({ kind: 'missing', ...loaded.missing })
    this.#loaded = true
  }

  /**
   * What was in flight when another write failed is in the log after all, or is written again; it is given up only when
   * something later is in the log already, since the order of appends is kept.
   */
  async #sort(suspects: readonly Flight[]): Promise<boolean> {
    const open = suspects.filter(({ ends, error }) => ends && error === undefined)
    const there = new Set<Flight>()
    for (const flight of open) {
      const item = await this.#view.find(flight.header.sequence, new Deadline())
      if (item?.stored.last.headerCrc !== flight.header.headerCrc) continue
      if (flight.header.kind !== recordKind.delta) there.add(flight)
      else if (await this.#view.isWhole(item.stored, item.window, new Deadline())) there.add(flight)
    }
    if ([...there].some(({ answer }) => answer.durability === 'durable')) await this.#flush()
    if (this.access.rollbacks !== this.#rollbacks) return false
    const again: RecordJob[] = []
    for (const [index, flight] of open.entries()) {
      const { answer, job, ack, header } = flight
      if (there.has(flight) && ack !== undefined) {
        answer.resolve(loggable({ ...ack, sequence: header.sequence }))
      } else if (job !== undefined && !open.slice(index).some((later) => there.has(later))) {
        again.push(job)
      } else {
        answer.reject(
          new CheckpointError('WRITES_LOST', `Checkpoint ${header.sequence} was lost when an earlier write failed.`, {
            retryable: true,
            cause: suspects.find(({ error }) => error !== undefined)?.error,
          }),
        )
      }
    }
    const kept = new Set(again.map(({ staging }) => staging))
    // What was given up may still be sent from where it lies: that memory is not used again.
    for (const { staging, error } of suspects) if (error === undefined && !kept.has(staging)) staging.release()
    for (const job of again) job.answer.sent = false
    this.#queue.unshift(...again)
    return true
  }

  /** Makes durable what is pending, unless the unit went: then the end of the log has to be found again. */
  async #flush(): Promise<void> {
    const { access } = this
    const newest = this.#newestAcknowledged
    const ranges = this.#placement.takePending()
    if (ranges.length > 0) await access.flush(ranges)
    if (access.rollbacks !== this.#rollbacks) return
    this.#placement.flushed()
    if (newest > this.#durableSequence) this.#durableSequence = newest
  }

  /** One step towards room for so many cells: waits, or flushes, or rejects the answer. The caller looks again. */
  async #makeRoom(answer: Answer, cells: number, first: boolean): Promise<void> {
    if (this.#overwritesKept(cells)) {
      await this.#awaitSpace(answer, cells)
    } else if (!this.#placement.overwritesNewest(cells, first)) {
      await this.#reserve(answer, cells)
    } else if (this.#flights.length > 0) {
      await this.#change()
    } else {
      try {
        await this.#flush()
        if (this.access.rollbacks === this.#rollbacks && this.#placement.overwritesNewest(cells, first)) {
          throw new CheckpointError('INTERNAL', 'The newest checkpoint leaves no room for the next.')
        }
      } catch (error) {
        this.#loaded = false
        answer.reject(withOutcome(error, 'none'))
      }
    }
  }

  /** Says durably how far what is in the ring may be overwritten, before it is. */
  async #reserve(answer: Answer, cells: number): Promise<void> {
    const { access } = this
    const { writes, reserved } = this.#placement.reservation(cells)
    try {
      if (writes.length > 0) {
        await access.writeAll(writes, { durability: 'durable', timeoutMs: answer.writeTimeoutMs })
      }
      if (access.rollbacks === this.#rollbacks) reserved()
    } catch (error) {
      this.#loaded = false
      answer.reject(withOutcome(error, 'none'))
    }
  }

  #restSoon(): void {
    if (this.#resting !== undefined) return
    this.#resting = setTimeout(() => {
      this.#resting = undefined
      if (this.#idle) void this.rest(longestRestMs)
      else this.#restSoon()
    }, restMs)
    this.#resting.unref()
  }

  get #idle(): boolean {
    return this.#flights.length === 0 && this.#queue.length === 0 && !this.#pumping
  }

  /**
   * Nothing comes for a while, or ever: the log says where it ends, and that this was acknowledged. Until then a reader could
   * not tell what has been damaged from what was never acknowledged. A write and no flush: what it says of is durable.
   */
  async rest(timeoutMs: number): Promise<void> {
    if (!this.#idle || !this.#loaded || this.access.rollbacks !== this.#rollbacks) return
    const writes = this.#placement.restingTip(this.#durableSequence)
    if (writes.length === 0) return
    // Whoever appends next says it again.
    await post(() => this.access.writeAll(writes, { durability: 'visible', timeoutMs })).catch(() => undefined)
  }

  async #awaitSpace(answer: Answer, cells: number): Promise<void> {
    if (this.#troubled()) return
    for (let delay = 1; !answer.settled; delay = Math.min(delay * 2, longestPollMs)) {
      const barriers = this.#queue.filter(({ kind }) => kind === 'barrier')
      this.#queue = this.#queue.filter(({ kind }) => kind !== 'barrier')
      for (const job of barriers) if (job.kind === 'barrier' && !job.answer.settled) job.reached()
      const closing = this.#closing
      try {
        this.#cursors = await this.#lookAtCursors(answer)
      } catch (error) {
        // It was in the middle of a look that it was told to hurry.
        if (closing === undefined && this.#closing !== undefined) continue
        answer.reject(withOutcome(closing ?? error, 'none'))
        return
      }
      if (answer.settled || !this.#overwritesKept(cells) || this.#troubled()) return
      if (closing !== undefined) {
        answer.reject(withOutcome(closing, 'none'))
        return
      }
      if (this.access.onFull === 'fail') {
        answer.reject(
          new CheckpointError(
            'REGION_FULL',
            `Region ${JSON.stringify(this.access.name)} is full, and keeps what is in it.`,
            {
              help: 'clear({ before }) releases what is not needed, as do saved cursors that have passed it.',
            },
          ),
        )
        return
      }
      if (this.#closing === undefined) await this.#change(delay)
    }
  }

  /** Given up when the answer is, or when the region begins to be closed. */
  async #lookAtCursors(answer: Answer): Promise<readonly LogOrder[]> {
    const over = new AbortController()
    const closing = this.#closing
    const waiter = () => {
      if (answer.settled || this.#closing !== closing) over.abort()
      else this.#waiters.push(waiter)
    }
    this.#waiters.push(waiter)
    try {
      const limit = closing === undefined ? {} : { timeoutMs: lastLookMs }
      return (await this.access.metadata({ signal: over.signal, ...limit })).cursors
    } finally {
      this.#waiters = this.#waiters.filter((other) => other !== waiter)
    }
  }

  async #runStream(job: Extract<Job, { kind: 'stream' }>): Promise<void> {
    const { answer, totalBytes } = job
    const sequence = this.#nextSequence++
    let start: number | undefined
    const spool = new StreamSpool(job, {
      maximumCells: this.maximumCells,
      requireFits: (cells, bytes) => this.requireFits(cells, bytes),
      staging: (bytes) => this.access.staging(bytes),
      copyCrc32c: (...copied) => this.access.copyCrc32c(...copied),
      room: async (cells) => {
        while (!answer.settled && !this.#interrupted() && !this.#hasRoom(cells, start === undefined)) {
          await this.#makeRoom(answer, cells, start === undefined)
        }
      },
      failure: () => {
        if (!this.#interrupted()) return undefined
        return this.#failure ?? this.#flights.find(({ error }) => error !== undefined)?.error ?? rolledBack()
      },
      send: (content, staging) => {
        const header = this.send(content, sequence, answer, staging, undefined, start)
        start ??= header.position
      },
      inFlight: () => this.#flights.reduce((sum, { header }) => sum + header.payloadBytes, 0),
      change: () => this.#change(),
      progress: () => this.#renew(answer),
    })
    this.#streaming = { job, spool }
    this.#renew(answer)
    try {
      const done = await spool.run(totalBytes)
      if (!done && start !== undefined) this.#loaded = false
    } catch (error) {
      // The parts written so far have no end, so that nobody takes them for a checkpoint; they are overwritten.
      if (start !== undefined) this.#loaded = false
      answer.reject(withOutcome(error, 'none'))
    } finally {
      this.#streaming = undefined
    }
  }

  /** A stream without a deadline of its own has the default from step to step. */
  #renew(answer: Answer): void {
    const patienceMs = this.#streaming?.job.answer === answer ? this.#streaming.job.patienceMs : undefined
    if (patienceMs !== undefined) answer.expires = performance.now() + patienceMs
  }

  #interrupted(): boolean {
    return this.#failure !== undefined || !this.#loaded || this.#troubled() || this.access.rollbacks !== this.#rollbacks
  }

  async #writeHeader(firstSequence: bigint, deadline: Deadline, answer: Clearing): Promise<Ack> {
    const { access } = this
    if (!this.#loaded) await this.#barrier()
    if (firstSequence <= this.#header.firstSequence) {
      return loggable({ durability: access.strongest, method: 'none', epoch: access.epoch })
    }
    const generation = this.#header.generation + 1n
    const { position } = this.#placement.next(true)
    const header: LogHeader = { generation, firstSequence, position }
    const bytes = new Uint8Array(logHeaderUsedBytes)
    writeLogHeader(bytes, header, this.#geometry, this.#instance, this.#crc32c)
    try {
      const options = { ...deadline.rest(), durability: access.strongest }
      answer.sent = true
      const ack = await access.writeAll(
        this.#geometry.metadata.offsets.map((offset) => ({ offset, bytes })),
        options,
      )
      this.#header = header
      return ack
    } catch (error) {
      this.#loaded = false
      throw error
    } finally {
      this.#wake()
    }
  }

  /** Resolves at the next landing, clear, abort or timeout, or after so many milliseconds. */
  #change(withinMs?: number): Promise<void> {
    return new Promise((resolve) => {
      const waiter = () => {
        clearTimeout(timer)
        resolve()
      }
      const giveUp = () => {
        this.#waiters.splice(this.#waiters.indexOf(waiter), 1)
        resolve()
      }
      const timer = withinMs === undefined ? undefined : setTimeout(giveUp, withinMs)
      this.#waiters.push(waiter)
    })
  }

  #wake(): void {
    for (const waiter of this.#waiters.splice(0)) waiter()
  }
}

/** What throws rejects. */
function post<R>(call: () => Promise<R>): Promise<R> {
  try {
    return call()
  } catch (error) {
    return Promise.reject(error)
  }
}

function rolledBack(): CheckpointError {
  return new CheckpointError('WRITES_LOST', 'The unit came back without what was being written.', { retryable: true })
}

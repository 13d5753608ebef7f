/**
 * The one writer behind all logs of a region: a queue of calls, which `#pump` takes in order.
 *
 * - Appends are written and acknowledged in the order of the calls, several at a time (flights.ts).
 * - Nothing is written before the end of the log is known (log-end.ts, recovery.ts) and there is room (room.ts).
 * - An append that nothing holds up is sent before its promise is returned.
 */
import { defaultTimeoutMs } from '../../call/check.js'
import { longestTimerMs } from '../../call/timer.js'
import { CheckpointError } from '../../errors.js'
import { withOutcome } from '../../outcome.js'
import type { Ack, CallOptions, WriteOptions } from '../../types.js'
import { Deadline } from '../deadline.js'
import { chainEntry, type DeltaChain } from '../delta/chain.js'
import { cellBytes, cellsOf, recordHeaderBytes } from '../geometry.js'
import { layoutForWriting } from '../layout.js'
import { damaged } from '../missing.js'
import { lastPartFlag, recordKind } from '../record/header.js'
import type { LogOrder } from '../record/order.js'
import { largestAssembledBytes } from '../record/stored.js'
import type { RegionWriteAccess } from '../region-access.js'
import { Calls } from './calls.js'
import { Changes } from './changes.js'
import { Clears } from './clears.js'
import { DeltaJobs } from './delta-jobs.js'
import { type Flight, Flights } from './flights.js'
import { JobQueue } from './job-queue.js'
import type { Answer, Appended, Job, RecordContent, RecordJob, StreamJob, Unanswered } from './jobs.js'
import { LogEnd } from './log-end.js'
import { Recovery } from './recovery.js'
import { Rest } from './rest.js'
import { Room } from './room.js'
import { StreamSpool } from './stream-spool.js'

/**
 * Of a close: a stream whose source yields nothing at so many looks in a row is not waited for. Looks, not time: an event loop that
 * was blocked has kept the source from it, too.
 */
const mostIdleLooks = 8
const lookMs = 25

export class LogWriter {
  readonly maximumCells: number
  readonly #access: RegionWriteAccess
  readonly #queue = new JobQueue()
  readonly #changes = new Changes()
  readonly #calls: Calls
  readonly #end: LogEnd
  readonly #flights: Flights
  readonly #deltas: DeltaJobs
  readonly #recovery: Recovery
  readonly #room: Room
  readonly #clears: Clears
  readonly #rest: Rest
  #pumping = false
  #streaming: { job: StreamJob; spool: StreamSpool } | undefined

  constructor(access: RegionWriteAccess) {
    const layout = layoutForWriting(access)
    const { view, placement } = layout
    this.#access = access
    this.maximumCells = placement.maximumCells
    const [queue, changes] = [this.#queue, this.#changes]
    const calls = new Calls(access, changes, () => this.#unanswered())
    const end = new LogEnd(access, placement)
    const flights = new Flights(access, layout, end, {
      landing: ({ answer }) => this.#onLanding(answer),
      acknowledged: () => this.#rest.soon(),
    })
    view.relyOn(() => end.durableSequence)
    this.#calls = calls
    this.#end = end
    this.#flights = flights
    this.#deltas = new DeltaJobs(access, view, placement, end)
    this.#recovery = new Recovery(view, end, flights, queue, this.#deltas, changes)
    this.#room = new Room(access, placement, { end, flights, queue, calls, changes })
    this.#clears = new Clears(access, layout, end, changes, () => this.#barrier())
    this.#rest = new Rest(access, placement, end, () => flights.length === 0 && queue.length === 0 && !this.#pumping)
  }

  /** Greatest sequence this writer knows to be durable. */
  get durableSequence(): bigint {
    return this.#end.durableSequence
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
    const answer = this.#calls.append(options)
    try {
      const delta = chain === undefined ? undefined : this.#deltaJob(payload, codec, schema, answer, chain)
      this.#enqueue(delta ?? this.#fullJob(payload, codec, schema, answer, chain))
    } catch (error) {
      // There is no memory for the snapshot. Nothing else would ever settle it.
      answer.reject(error)
    }
    return answer.promise
  }

  #fullJob(
    payload: Uint8Array,
    codec: number,
    schema: number,
    answer: Answer,
    chain: DeltaChain | undefined,
  ): RecordJob {
    const payloadBytes = payload.byteLength
    const staging = this.#access.staging(recordHeaderBytes + payloadBytes)
    try {
      const payloadCrc = this.#access.copyCrc32c(staging.bytes, recordHeaderBytes, payload)
      const cells = cellsOf(payloadBytes)
      const job = { kind: 'record', answer, staging, payloadBytes, payloadCrc, codec, schema, cells } as const
      if (chain === undefined) return job
      const entry = chainEntry(payloadBytes, undefined)
      chain.remember(staging.bytes.subarray(recordHeaderBytes, recordHeaderBytes + payloadBytes))
      chain.newest = entry
      return { ...job, entry }
    } catch (error) {
      staging.release()
      throw error
    }
  }

  #deltaJob(
    payload: Uint8Array,
    codec: number,
    schema: number,
    answer: Answer,
    chain: DeltaChain,
  ): RecordJob | undefined {
    const base = chain.open ? chain.newest : undefined
    chain.newest = undefined
    // The record goes out next or never, so that its place is known and nothing that it builds on is dropped before.
    const next = this.#end.known && !this.#pumping && this.#queue.length === 0 && !this.#flights.troubled
    return next ? this.#deltas.make(payload, codec, schema, answer, chain, base) : undefined
  }

  appendStream(
    chunks: AsyncIterable<Uint8Array>,
    totalBytes: number | undefined,
    codec: number,
    schema: number,
    options: WriteOptions,
  ): Promise<Appended> {
    const answer = this.#calls.append(options)
    const patienceMs = options.timeoutMs === undefined ? defaultTimeoutMs : undefined
    this.#enqueue({ kind: 'stream', answer, patienceMs, chunks, totalBytes, codec, schema })
    return answer.promise
  }

  /**
   * The newest checkpoint that the log had when its end was last looked for.
   * @throws CheckpointError `CHECKPOINT_DAMAGED` when there had been newer ones
   */
  async end(): Promise<LogOrder | undefined> {
    this.#calls.requireOpen()
    await this.#barrier()
    const { newest, damaged: range, header } = this.#end
    if (range !== undefined) throw damaged(range, { region: this.#access.id, newest })
    return newest === undefined || newest.sequence < header.firstSequence ? undefined : newest
  }

  /** Records below `before`, or all appended so far, are gone when this resolves. */
  clear(before: bigint | undefined, options: CallOptions): Promise<Ack> {
    this.#calls.requireOpen()
    const deadline = new Deadline(options)
    const answer = this.#calls.clearing(options)
    this.#enqueue({ kind: 'barrier', answer, reached: () => this.#clears.run(before, deadline, answer) })
    return answer.promise
  }

  /**
   * Takes nothing new, and waits, at most so long, for what can still be done. What waits for space, or for a source that
   * yields nothing, ends at once; then everything does.
   */
  async close(reason: CheckpointError, timeoutMs: number): Promise<void> {
    const calls = this.#calls
    calls.closing ??= reason
    const { closing } = calls
    this.#changes.wake()
    const end = performance.now() + timeoutMs
    let [asked, looks, looked] = [0, 0, 0]
    for (;;) {
      const now = performance.now()
      if (calls.failure !== undefined || !this.#isBusy() || now >= end) break
      const askedAt = this.#streaming?.spool.askedAt
      if (askedAt === undefined || askedAt !== asked) [asked, looks, looked] = [askedAt ?? 0, 0, now]
      else if (now - looked >= lookMs) [looks, looked] = [looks + 1, now]
      if (looks >= mostIdleLooks) this.#streaming?.job.answer.reject(withOutcome(closing, 'none'))
      await this.#changes.next(Math.min(end - now, this.#streaming === undefined ? longestTimerMs : lookMs))
    }
    if (calls.failure === undefined && end > performance.now()) await this.#rest.last(end - performance.now())
    this.fail(closing)
  }

  /** The region has ended, as the error says: so does every call that has no answer, now. */
  fail(error: CheckpointError): void {
    if (this.#calls.failure !== undefined) return
    this.#calls.failure = error
    this.#rest.cancel()
    // What is in flight is told by its write, which ends now, too.
    for (const { answer } of this.#recovery.suspects) answer.reject(withOutcome(error, 'unknown'))
    this.#streaming?.job.answer.reject(withOutcome(error, 'none'))
    this.#clears.fail(error)
    this.#queue.rejectAll(error)
    this.#changes.wake()
  }

  noteBroken(): void {
    this.#calls.noteBroken()
  }

  /** @throws CheckpointError `NOT_DURABLE` */
  requireDurability(durability: WriteOptions['durability']): void {
    this.#calls.requireDurability(durability)
  }

  /** @throws CheckpointError `REGION_TOO_SMALL` */
  requireFits(cells: number, bytes: number): void {
    if (cells <= this.maximumCells) return
    throw new CheckpointError(
      'REGION_TOO_SMALL',
      `A checkpoint of ${bytes} bytes does not fit: region ${JSON.stringify(this.#access.name)} of ` +
        `${this.#access.bytes} bytes takes at most ${(this.maximumCells - 1) * cellBytes}.`,
      { help: 'The newest checkpoint is never overwritten by the next one, so a region holds at least two.' },
    )
  }

  #barrier(): Promise<void> {
    const answer = this.#calls.barrier()
    this.#enqueue({ kind: 'barrier', answer, reached: () => answer.resolve() })
    return answer.promise
  }

  #isBusy(): boolean {
    return this.#pumping || this.#queue.length > 0 || this.#flights.length > 0 || this.#clears.size > 0
  }

  *#unanswered(): Iterable<Unanswered> {
    for (const { answer } of this.#queue) yield answer
    for (const { answer } of [...this.#flights, ...this.#recovery.suspects]) yield answer
    if (this.#streaming !== undefined) yield this.#streaming.job.answer
    yield* this.#clears
  }

  #enqueue(job: Job): void {
    this.#queue.push(job)
    this.#kick()
  }

  #kick(): void {
    if (this.#pumping) return
    this.#pumping = true
    void this.#pump()
  }

  /** Runs to its first wait at once. */
  async #pump(): Promise<void> {
    const [queue, calls, flights] = [this.#queue, this.#calls, this.#flights]
    try {
      while (calls.failure === undefined && (queue.length > 0 || flights.troubled)) {
        if (flights.troubled || !this.#end.known) {
          await this.#recovery.run()
          // What it found may be durable without being written down anywhere.
          if (calls.failure === undefined) this.#rest.soon()
          continue
        }
        const job = queue.first as Job
        if (job.answer.settled) {
          queue.shift()
          if (job.kind === 'record') job.staging.release()
        } else if (job.kind === 'barrier') {
          queue.shift()
          job.reached()
        } else if (job.kind === 'stream') {
          queue.shift()
          await this.#runStream(job)
        } else if (this.#room.has(job.cells, true)) {
          queue.shift()
          this.#sendRecord(job)
        } else {
          await this.#room.make(job.answer, job.cells, true)
        }
      }
    } finally {
      this.#pumping = false
      if (calls.failure !== undefined) queue.rejectAll(calls.failure)
      this.#changes.wake()
    }
  }

  #sendRecord(job: RecordJob): void {
    const { answer, staging, payloadBytes, payloadCrc, codec, schema, entry } = job
    const isDelta = entry?.base !== undefined
    let content: RecordContent
    let start: number | undefined
    if (isDelta) {
      const delta = this.#deltas.complete(job, entry)
      if (delta instanceof CheckpointError) {
        answer.reject(delta)
        staging.release()
        return
      }
      content = delta.content
      start = delta.start
    } else {
      const whole = { kind: recordKind.full, flags: lastPartFlag, part: 0, offset: 0, totalBytes: payloadBytes }
      content = { ...whole, codec, schema, payloadBytes, payloadCrc }
    }
    const sequence = this.#end.takeSequence()
    const header = this.#flights.post(content, staging, { sequence, answer, job, start })
    if (entry !== undefined) Object.assign(entry, { header, recovery: this.#end.recoveries })
  }

  #onLanding(answer: Flight['answer']): void {
    this.#renew(answer)
    const { failure } = this.#calls
    if (failure !== undefined) this.#flights.settleLanded(failure)
    else if (this.#flights.troubled) this.#kick()
    else this.#flights.acknowledgeLanded()
    this.#changes.wake()
  }

  async #runStream(job: StreamJob): Promise<void> {
    const { answer, totalBytes } = job
    const [access, room, flights] = [this.#access, this.#room, this.#flights]
    const sequence = this.#end.takeSequence()
    let start: number | undefined
    const interrupted = () => this.#calls.failure !== undefined || flights.troubled || !this.#end.known
    const spool = new StreamSpool(job, {
      maximumCells: this.maximumCells,
      requireFits: (cells, bytes) => this.requireFits(cells, bytes),
      staging: (bytes) => access.staging(bytes),
      copyCrc32c: (...copied) => access.copyCrc32c(...copied),
      room: async (cells) => {
        while (!answer.settled && !interrupted() && !room.has(cells, start === undefined)) {
          await room.make(answer, cells, start === undefined)
        }
      },
      failure: () => (interrupted() ? (this.#calls.failure ?? flights.error ?? rolledBack()) : undefined),
      send: (content, staging) => {
        const header = flights.post(content, staging, { sequence, answer, job: undefined, start })
        start ??= header.position
      },
      inFlight: () => flights.payloadBytes,
      change: () => this.#changes.next(),
      progress: () => this.#renew(answer),
    })
    this.#streaming = { job, spool }
    this.#renew(answer)
    try {
      const done = await spool.run(totalBytes)
      if (!done && start !== undefined) this.#end.lose()
    } catch (error) {
      // The parts written so far have no end, so that nobody takes them for a checkpoint; they are overwritten.
      if (start !== undefined) this.#end.lose()
      answer.reject(withOutcome(error, 'none'))
    } finally {
      this.#streaming = undefined
    }
  }

  /** A stream without a deadline of its own has the default from step to step. */
  #renew(answer: Answer): void {
    const patienceMs = this.#streaming?.job.answer === answer ? this.#streaming.job.patienceMs : undefined
    if (patienceMs !== undefined) answer.deadline = performance.now() + patienceMs
  }
}

function rolledBack(): CheckpointError {
  return new CheckpointError('WRITES_LOST', 'The unit came back without what was being written.', { retryable: true })
}

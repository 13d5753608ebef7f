/** Cuts a stream of chunks into parts, each a record of its own, and keeps a bounded number of them in flight. */
import { checkBytes, invalid, show } from '../../call/check.js'
import type { CheckpointError } from '../../errors.js'
import { cellsOf, recordHeaderBytes } from '../geometry.js'
import { lastPartFlag, recordKind } from '../record/header.js'
import type { RecordContent, Staging, StreamJob } from './jobs.js'

export const partBytes = 1024 * 1024
const mostBytesInFlight = 16 * partBytes

export interface SpoolTarget {
  readonly maximumCells: number
  requireFits(cells: number, bytes: number): void
  staging(bytes: number): Staging
  copyCrc32c(target: Uint8Array, targetOffset: number, source: Uint8Array, seed?: number): number
  /** Resolves when so many cells may be written, the job's answer is settled, or there is a failure. */
  room(cells: number): Promise<void>
  /** Takes the staging over. */
  send(content: RecordContent, staging: Staging): void
  /** Why the log's end is not known any more, if so. */
  failure(): unknown
  inFlight(): number
  change(): Promise<void>
  /** A chunk has come. */
  progress(): void
}

/** Cells of a stream of known length with all its headers. */
export function streamCells(totalBytes: number): number {
  const full = Math.floor(totalBytes / partBytes)
  const rest = totalBytes - full * partBytes
  return full * cellsOf(partBytes) + (rest > 0 || full === 0 ? cellsOf(rest) : 0)
}

export class StreamSpool {
  readonly #job: StreamJob
  readonly #target: SpoolTarget
  #staging: Staging | undefined
  #filled = 0
  #crc: number | undefined
  #part = 0
  #offset = 0
  #cells = 0
  #running = true
  #interrupt: () => void = () => {}
  #askedAt: number | undefined

  constructor(job: StreamJob, target: SpoolTarget) {
    this.#job = job
    this.#target = target
  }

  /** When its source was asked for the chunk that it has not yielded yet, in ms of performance.now(). */
  get askedAt(): number | undefined {
    return this.#askedAt
  }

  /** True when the last part was sent; false when the caller's promise was settled before. */
  async run(totalBytes: number | undefined): Promise<boolean> {
    const { answer, chunks } = this.#job
    const iterator = chunks[Symbol.asyncIterator]()
    if (typeof iterator?.next !== 'function') throw notIterable(iterator)
    let ended = false
    void this.#watch()
    try {
      if (totalBytes !== undefined) await this.#room(streamCells(totalBytes))
      while (!answer.settled) {
        const next = await new Promise<IteratorResult<Uint8Array> | undefined>((resolve, reject) => {
          this.#interrupt = () => resolve(undefined)
          this.#askedAt = performance.now()
          Promise.resolve(iterator.next()).then(resolve, reject)
        })
        this.#askedAt = undefined
        this.#target.progress()
        if (next === undefined) {
          this.#check()
          return false
        }
        if (typeof next !== 'object' || next === null) throw notIterable(next)
        if (next.done === true) {
          ended = true
          if (totalBytes !== undefined && this.#offset + this.#filled !== totalBytes)
            throw this.#wrongLength(totalBytes)
          return await this.#emit(true)
        }
        await this.#take(next.value, totalBytes)
      }
      return false
    } finally {
      this.#running = false
      this.#askedAt = undefined
      this.#staging?.release()
      // Not waited for: a source that hangs answers this no sooner.
      if (!ended) void leave(iterator)
    }
  }

  async #take(chunk: unknown, totalBytes: number | undefined): Promise<void> {
    checkBytes(chunk, 'A chunk of a streamed checkpoint')
    if (totalBytes !== undefined && this.#offset + this.#filled + chunk.byteLength > totalBytes) {
      throw this.#wrongLength(totalBytes)
    }
    for (let from = 0; from < chunk.byteLength; ) {
      if (this.#filled === partBytes && !(await this.#emit(false))) return
      this.#staging ??= this.#target.staging(recordHeaderBytes + partBytes)
      const piece = chunk.subarray(from, from + partBytes - this.#filled)
      this.#crc = this.#target.copyCrc32c(this.#staging.bytes, recordHeaderBytes + this.#filled, piece, this.#crc)
      this.#filled += piece.byteLength
      from += piece.byteLength
    }
  }

  async #emit(last: boolean): Promise<boolean> {
    const { answer, codec, schema, totalBytes } = this.#job
    const cells = cellsOf(this.#filled)
    const end = this.#offset + this.#filled
    this.#target.requireFits(this.#cells + cells, end)
    while (!answer.settled && this.#target.inFlight() >= mostBytesInFlight) {
      await this.#target.change()
      this.#check()
    }
    await this.#room(cells)
    if (answer.settled) return false
    this.#staging ??= this.#target.staging(recordHeaderBytes)
    const staging = this.#staging
    this.#staging = undefined
    const payloadCrc = this.#crc ?? this.#target.copyCrc32c(staging.bytes, recordHeaderBytes, new Uint8Array(0))
    const content: RecordContent = {
      kind: recordKind.part,
      flags: last ? lastPartFlag : 0,
      codec,
      schema,
      part: this.#part++,
      offset: this.#offset,
      payloadBytes: this.#filled,
      totalBytes: totalBytes ?? (last ? end : undefined),
      payloadCrc,
    }
    this.#target.send(content, staging)
    this.#offset = end
    this.#cells += cells
    this.#filled = 0
    this.#crc = undefined
    return true
  }

  async #room(cells: number): Promise<void> {
    await this.#target.room(cells)
    this.#check()
  }

  #check(): void {
    const failure = this.#target.failure()
    if (failure !== undefined && !this.#job.answer.settled) throw failure
  }

  /** Does not let a source that is slow to yield hold up an abort or what waits behind a failure. */
  async #watch(): Promise<void> {
    while (this.#running && !this.#job.answer.settled && this.#target.failure() === undefined)
      await this.#target.change()
    this.#interrupt()
  }

  #wrongLength(totalBytes: number): CheckpointError {
    return invalid(`The stream was to have ${totalBytes} bytes, and has another length.`)
  }
}

/** Nobody waits for the end of a source that is not needed any more. */
async function leave(iterator: AsyncIterator<unknown>): Promise<void> {
  try {
    await iterator.return?.()
  } catch {
    // Nor hears of its failure.
  }
}

function notIterable(given: unknown): CheckpointError {
  return invalid(`The chunks of a streamed checkpoint must be an async iterable; its iterator gave ${show(given)}.`)
}

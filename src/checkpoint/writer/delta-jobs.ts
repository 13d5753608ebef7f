/**
 * Appends that are written as deltas.
 *
 * - A delta is written only behind its base, where the place of both is known, and only while the base is known to be in the log.
 * - A chain is no longer than the largest checkpoint. So the next full one always fits beside it, and the ring never has to drop
 *   the beginning of a chain that is still the newest.
 */
import { CheckpointError } from '../../errors.js'
import { Deadline } from '../deadline.js'
import { type ChainEntry, chainEntry, type DeltaChain } from '../delta/chain.js'
import { deltaHeaderBytes, writeDeltaHeader } from '../delta/payload.js'
import { isBase } from '../delta/restore.js'
import { cellsOf, recordHeaderBytes } from '../geometry.js'
import type { LogView } from '../log-view.js'
import type { Placement } from '../placement.js'
import { lastPartFlag, recordKind } from '../record/header.js'
import type { RegionWriteAccess } from '../region-access.js'
import type { Answer, Job, RecordContent, RecordJob } from './jobs.js'
import type { LogEnd } from './log-end.js'

export class DeltaJobs {
  readonly #access: RegionWriteAccess
  readonly #view: LogView
  readonly #placement: Placement
  readonly #end: LogEnd

  constructor(access: RegionWriteAccess, view: LogView, placement: Placement, end: LogEnd) {
    this.#access = access
    this.#view = view
    this.#placement = placement
    this.#end = end
  }

  /**
   * A job with what changed since the chain's newest checkpoint, which then has the entry of the new one; undefined when a full
   * checkpoint is to be written. The record has to go out next: then nothing that it builds on is dropped before.
   */
  make(
    payload: Uint8Array,
    codec: number,
    schema: number,
    answer: Answer,
    chain: DeltaChain,
    base: ChainEntry | undefined,
  ): RecordJob | undefined {
    const end = this.#end
    if (base?.header === undefined || base.recovery !== end.recoveries) return undefined
    if (base.header.sequence < end.header.firstSequence) return undefined
    const runs = chain.changes(this.#access, payload)
    if (runs === undefined) return undefined
    const payloadBytes = deltaHeaderBytes + runs.length
    const cells = cellsOf(payloadBytes)
    const entry = chainEntry(payload.byteLength, base)
    if (!this.#chainFits(entry, cells)) return undefined
    const staging = this.#access.staging(recordHeaderBytes + payloadBytes)
    staging.bytes.set(runs, recordHeaderBytes + deltaHeaderBytes)
    chain.newest = entry
    return { kind: 'record', answer, staging, payloadBytes, payloadCrc: 0, codec, schema, cells, entry }
  }

  /**
   * Its turn has come: completes the payload in staging. Gives what its record says and where its chain begins, or the error that
   * ends the append.
   */
  complete(job: RecordJob, entry: ChainEntry): { content: RecordContent; start: number } | CheckpointError {
    const { staging, payloadBytes, cells, codec, schema } = job
    const { base, root, depth, bytes: totalBytes } = entry
    if (
      base?.header === undefined ||
      base.recovery !== this.#end.recoveries ||
      root.header === undefined ||
      !this.#chainFits(entry, cells)
    ) {
      return new CheckpointError('WRITES_LOST', 'The checkpoint that this delta builds on is not in the log.', {
        retryable: true,
        help: 'Append the state again: it is written in full.',
      })
    }
    const payload = staging.bytes.subarray(recordHeaderBytes, recordHeaderBytes + payloadBytes)
    const { epoch, sequence, headerCrc } = base.header
    writeDeltaHeader(payload, { depth, epoch, sequence, headerCrc, baseBytes: base.bytes, totalBytes })
    const content = {
      kind: recordKind.delta,
      flags: lastPartFlag,
      codec,
      schema,
      part: 0,
      offset: 0,
      payloadBytes,
      totalBytes,
      baseSequence: root.header.sequence,
      payloadCrc: this.#access.crc32c(payload),
    }
    return { content, start: root.header.position }
  }

  /** After a look at the log's end: whether what waiting deltas build on is there. */
  async confirmBases(jobs: Iterable<Job>): Promise<void> {
    for (const job of jobs) {
      const base = job.kind === 'record' ? job.entry?.base : undefined
      if (base?.header === undefined || base.recovery === this.#end.recoveries) continue
      const item = await this.#view.find(base.header.sequence, new Deadline())
      if (item === undefined || !isBase(item.stored, base.header)) continue
      if (await this.#view.isWhole(item.stored, item.window, new Deadline())) base.recovery = this.#end.recoveries
    }
  }

  #chainFits({ root }: ChainEntry, cells: number): boolean {
    if (root.header === undefined) return false
    const end = this.#placement.next(true).position + cells
    return end - root.header.position <= this.#placement.maximumCells
  }
}

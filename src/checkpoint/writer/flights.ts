/**
 * Records on their way to the unit.
 *
 * - They are posted one behind the other at the end of the log, each as one batch with its companions, several at a time.
 * - They are acknowledged in the order in which they were posted. None is acknowledged behind one that failed.
 * - A staging is released only when nothing refers to it any more.
 */

import { loggable } from '../../call/printed.js'
import { promised } from '../../call/promised.js'
import type { CheckpointError } from '../../errors.js'
import { withOutcome } from '../../outcome.js'
import type { Ack, Durability } from '../../types.js'
import { cellBytes, cellsOf, type Geometry, physicalRanges, recordHeaderBytes } from '../geometry.js'
import type { WritingLayout } from '../layout.js'
import type { Placement } from '../placement.js'
import {
  type Crc32c,
  headerDurableFlag,
  lastPartFlag,
  type RecordFields,
  type RecordHeader,
  writeRecordHeader,
} from '../record/header.js'
import type { RecordWriteOptions, RegionWriteAccess } from '../region-access.js'
import type { Answer, RecordContent, RecordJob, Staging } from './jobs.js'
import type { LogEnd } from './log-end.js'

export interface Flight {
  readonly header: RecordHeader
  /** Position of the first record that its checkpoint needs. */
  readonly start: number
  /** It ends a checkpoint. */
  readonly ends: boolean
  readonly answer: Answer
  /** To write it once more; a part of a stream has none. */
  readonly job: RecordJob | undefined
  readonly staging: Staging
  /** Of the unit, when it was posted. */
  readonly rollbacks: number
  ack?: Ack
  error?: unknown
  done: boolean
}

/** Where a record belongs. */
export interface Posting {
  readonly sequence: bigint
  readonly answer: Answer
  readonly job: RecordJob | undefined
  /** Position of the first record that its checkpoint needs; default: its own. */
  readonly start: number | undefined
}

export class Flights {
  readonly #access: RegionWriteAccess
  readonly #geometry: Geometry
  readonly #instance: Uint8Array
  readonly #placement: Placement
  readonly #crc32c: Crc32c
  readonly #end: LogEnd
  readonly #onLanding: (flight: Flight) => void
  readonly #onAcknowledged: () => void
  #flights: Flight[] = []
  /** Since the region ended something was not acknowledged, and so nothing behind it is. */
  #broken = false

  /** @param on `landing` is called when a write has ended, and decides what is made of it */
  constructor(
    access: RegionWriteAccess,
    { geometry, instance, placement }: WritingLayout,
    end: LogEnd,
    on: { landing: (flight: Flight) => void; acknowledged: () => void },
  ) {
    this.#access = access
    this.#geometry = geometry
    this.#instance = instance
    this.#placement = placement
    this.#crc32c = (bytes, seed) => access.crc32c(bytes, seed)
    this.#end = end
    this.#onLanding = on.landing
    this.#onAcknowledged = on.acknowledged
  }

  get length(): number {
    return this.#flights.length
  }

  get payloadBytes(): number {
    return this.#flights.reduce((sum, { header }) => sum + header.payloadBytes, 0)
  }

  get allDone(): boolean {
    return this.#flights.every(({ done }) => done)
  }

  /** The first error of those that have failed. */
  get error(): unknown {
    return this.#flights.find(({ error }) => error !== undefined)?.error
  }

  /** One has failed, or the unit went and came back after it was posted: the log's end has to be looked for. */
  get troubled(): boolean {
    return this.#flights.some(
      ({ done, error, rollbacks }) => done && (error !== undefined || rollbacks !== this.#access.rollbacks),
    )
  }

  [Symbol.iterator](): Iterator<Flight> {
    return this.#flights[Symbol.iterator]()
  }

  /** All of them: whoever takes them finds out what became of each. */
  takeAll(): readonly Flight[] {
    const flights = this.#flights
    this.#flights = []
    return flights
  }

  /** Writes the header in front of the payload in staging, and posts the record where the log ends. */
  post(content: RecordContent, staging: Staging, { sequence, answer, job, start }: Posting): RecordHeader {
    const access = this.#access
    const placement = this.#placement
    const ends = (content.flags & lastPartFlag) !== 0
    const durability: Durability = ends ? answer.durability : 'visible'
    const alsoFlush = durability === 'durable' ? placement.takePending() : []
    const fields: RecordFields = {
      ...content,
      flags: content.flags | (access.strongest === 'durable' ? headerDurableFlag : 0),
      ...placement.next(content.part === 0),
      unbrokenFrom: this.#end.unbrokenFrom,
      epoch: access.epoch,
      sequence,
      baseSequence: content.baseSequence ?? 0n,
      timeMs: Date.now(),
      durableSequence: this.#end.durableSequence,
    }
    const headerCrc = writeRecordHeader(staging.bytes, fields, this.#instance, this.#crc32c)
    const header: RecordHeader = { ...fields, cells: cellsOf(fields.payloadBytes), headerCrc }
    const companions = placement.advance(header, durability === 'durable')
    // What a durable write covers is not pending any more.
    if (durability === 'durable') placement.takePending()

    this.#end.wrote = true
    // Of the unit whose log was looked at: it may have gone and come back just now.
    const { rollbacks } = this.#end
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
    const options: RecordWriteOptions = {
      durability,
      timeoutMs: answer.writeTimeoutMs,
      provisional: true,
      ...(alsoFlush.length > 0 ? { alsoFlush } : {}),
    }
    promised(() => access.writeAll(ranges, options)).then(
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
    this.#onLanding(flight)
  }

  /** Acknowledges those that have landed, up to the first that has not. Only where nothing is troubled. */
  acknowledgeLanded(): void {
    while (this.#flights[0]?.done) this.#acknowledge(this.#flights.shift() as Flight)
  }

  /** The region has ended, and nobody looks at the log again: what was answered before the first failure is acknowledged. */
  settleLanded(failure: CheckpointError): void {
    for (let flight = this.#flights[0]; flight?.done; flight = this.#flights[0]) {
      this.#flights.shift()
      const { error, answer, rollbacks, staging } = flight
      this.#broken ||= error !== undefined || rollbacks !== this.#access.rollbacks
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
    this.#end.acknowledged(sequence, durable)
    this.#onAcknowledged()
    this.tell(flight, flight.ack)
  }

  /** Tells the caller that its checkpoint is in the log. */
  tell({ answer, start, header }: Flight, ack: Ack): void {
    if (answer.settled) return
    const { position, cells, sequence } = header
    if (answer.durability === 'visible') this.#noteVisible(start, position + cells)
    answer.resolve(loggable({ ...ack, sequence }))
  }

  #noteVisible(from: number, to: number): void {
    const { area } = this.#geometry
    this.#access.noteAcknowledged?.(physicalRanges(area, from, Math.min(to - from, area.cells) * cellBytes))
  }
}

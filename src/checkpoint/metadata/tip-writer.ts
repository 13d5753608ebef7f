/**
 * The tips that an owner writes, by turns into the two copies of the metadata: with each durable append, in its batch, and
 * when the log comes to rest. With them it says what was durable, and how far it may have overwritten.
 */
import type { RangeBytes } from '../../region-range.js'
import { type Geometry, tipBytes, tipOffset } from '../geometry.js'
import { type Crc32c, isLast, type RecordHeader } from '../record/header.js'
import type { LogMetadata } from './copies.js'
import { writeTip } from './directory.js'
import { firstHeader, type LogHeader } from './log-header.js'

const noRecord = { sequence: 0n, epoch: 0n, part: 0, position: 0, headerCrc: 0 }

/** The tip of a log at rest. */
export interface RestingTip {
  readonly writes: RangeBytes[]
  /** No other tip was made since. */
  isNewest(): boolean
  /** It was not written, or not whole: the next one takes its place. */
  failed(): void
}

export class TipWriter {
  readonly #geometry: Geometry
  readonly #instanceCrc: number
  readonly #crc32c: Crc32c
  #copy: 0 | 1 = 0
  /** The last record of the last checkpoint that was sent. */
  #named: RecordHeader | undefined
  #unbrokenFrom = 0n
  #promised = 0n
  /** Durably, and in what was written. */
  #reserved = 0
  #proposed = 0
  /** Reserved by batches on their way. */
  #underWay: { sequence: bigint; reserved: number }[] = []
  #header: LogHeader = firstHeader
  #said = { sequence: 0n, durableSequence: 0n }

  constructor(geometry: Geometry, instanceCrc: number, crc32c: Crc32c) {
    this.#geometry = geometry
    this.#instanceCrc = instanceCrc
    this.#crc32c = crc32c
  }

  /** In cells: nothing that is written up to here needs another reservation. */
  get reserved(): number {
    return this.#reserved
  }

  /** @param durable what the metadata says is known to be durable itself */
  load(
    { tips, tipCopies, reserved, durableSequence }: LogMetadata,
    newest: RecordHeader | undefined,
    header: LogHeader,
    unbrokenFrom: bigint,
    durable: boolean,
  ): void {
    const [newer] = tips
    this.#named = newest
    this.#header = header
    this.#unbrokenFrom = unbrokenFrom
    this.#promised = durableSequence
    this.#reserved = durable ? reserved : 0
    this.#proposed = reserved
    this.#underWay = []
    this.#said = { sequence: newest?.sequence ?? 0n, durableSequence }
    // The newest of them is overwritten last.
    this.#copy = tipCopies[0] === undefined || (tipCopies[1] !== undefined && newer === tipCopies[1]) ? 0 : 1
  }

  /** The log goes on with this record. Whether a tip is to say so is another matter. */
  name(record: RecordHeader): void {
    this.#unbrokenFrom = record.unbrokenFrom
    if (isLast(record)) this.#named = record
  }

  /** With the batch of a record that is to become durable. */
  promise(record: RecordHeader, reserved: number): RangeBytes[] {
    this.#promised = record.sequence
    if (reserved > this.#proposed) {
      this.#proposed = reserved
      this.#underWay.push({ sequence: record.sequence, reserved })
    }
    return this.#tip(record.durableSequence)
  }

  /** All up to this is durable, what its batches reserved too. */
  settled(sequence: bigint): void {
    for (let first = this.#underWay[0]; first !== undefined && first.sequence <= sequence; first = this.#underWay[0]) {
      this.#reserved = Math.max(this.#reserved, first.reserved)
      this.#underWay.shift()
    }
  }

  reserve(reserved: number): { writes: RangeBytes[]; reserved: () => void } {
    this.#proposed = Math.max(this.#proposed, reserved)
    const proposed = this.#proposed
    const done = () => {
      this.#reserved = Math.max(this.#reserved, proposed)
    }
    return { writes: this.#tip(this.#said.durableSequence), reserved: done }
  }

  /** Nothing when the last tip said the same. */
  rest(durableSequence: bigint): RestingTip | undefined {
    const [before, copy] = [this.#said, this.#copy]
    if (before.sequence === this.#named?.sequence && before.durableSequence >= durableSequence) return undefined
    const writes = this.#tip(durableSequence)
    if (writes.length === 0) return undefined
    const said = this.#said
    const isNewest = () => this.#said === said
    const failed = () => {
      if (!isNewest()) return
      this.#said = before
      // The other copy is sound.
      this.#copy = copy
    }
    return { writes, isNewest, failed }
  }

  /** Repeats the log header that a clear writes, in both copies. */
  clear(header: LogHeader): RangeBytes[] {
    this.#header = header
    const bytes = this.#image(this.#said.durableSequence)
    // No earlier tip is written once more.
    this.#said = { ...this.#said }
    return this.#geometry.metadata.offsets.map((offset) => ({ offset: offset + tipOffset, bytes }))
  }

  #tip(durableSequence: bigint): RangeBytes[] {
    const record = this.#named
    if (record === undefined) return []
    const bytes = this.#image(durableSequence)
    this.#said = { sequence: record.sequence, durableSequence }
    const offset = this.#geometry.metadata.offsets[this.#copy] + tipOffset
    this.#copy = this.#copy === 0 ? 1 : 0
    return [{ offset, bytes }]
  }

  /** Names no record (sequence 0) where there is none. */
  #image(durableSequence: bigint): Uint8Array {
    const bytes = new Uint8Array(tipBytes)
    const promisedSequence = this.#promised
    const { sequence, epoch, part, position, headerCrc } = this.#named ?? noRecord
    const [unbrokenFrom, reserved] = [this.#unbrokenFrom, this.#proposed]
    const anchor = { sequence, epoch, part, position, headerCrc, durableSequence, unbrokenFrom }
    const tip = { ...anchor, promisedSequence, reserved, header: this.#header }
    writeTip(bytes, tip, this.#instanceCrc, this.#crc32c)
    return bytes
  }
}

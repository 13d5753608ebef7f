/** The writing end of an overwrite region: whichever slot does not hold the newest checkpoint. */
import type { RangeBytes, RegionRange } from '../../region-range.js'
import type { Deadline } from '../deadline.js'
import { cellBytes, type OverwriteGeometry, physicalRanges } from '../geometry.js'
import type { LogHeader } from '../metadata/log-header.js'
import { mendMetadata } from '../metadata/mending.js'
import { type RestingTip, TipWriter } from '../metadata/tip-writer.js'
import type { Loaded, Placement } from '../placement.js'
import type { Crc32c, RecordHeader } from '../record/header.js'
import { greater } from '../record/order.js'
import type { RegionWriteAccess } from '../region-access.js'
import type { OverwriteView } from './view.js'

export class OverwritePlacement implements Placement {
  readonly maximumCells: number
  readonly #access: RegionWriteAccess
  readonly #geometry: OverwriteGeometry
  readonly #view: OverwriteView
  readonly #instance: Uint8Array
  readonly #instanceCrc: number
  readonly #crc32c: Crc32c
  readonly #tips: TipWriter
  /** Slot of the newest acknowledged checkpoint. */
  #newestSlot = 1
  #newestDurable = true
  /** A checkpoint is being written. */
  #writing = false
  #previous: RecordHeader | undefined
  #pending: { from: number; to: number } | undefined

  constructor(access: RegionWriteAccess, geometry: OverwriteGeometry, view: OverwriteView, instance: Uint8Array) {
    this.#access = access
    this.#instance = instance
    this.#instanceCrc = access.crc32c(instance)
    this.#crc32c = (bytes, seed) => access.crc32c(bytes, seed)
    this.#tips = new TipWriter(geometry, this.#instanceCrc, this.#crc32c)
    this.#geometry = geometry
    this.#view = view
    this.maximumCells = geometry.area.maximumCells
  }

  async load(deadline: Deadline, durable: boolean): Promise<Loaded> {
    const { newest, greatestSequence, metadata, damaged, missing } = await this.#view.survey(deadline, {
      writing: true,
    })
    const mending = mendMetadata(metadata, this.#geometry, this.#instance, this.#instanceCrc, this.#crc32c)
    const { writes, header, headers, entries } = mending
    if (writes.length > 0) {
      await this.#access.writeAll(writes, { ...deadline.rest(), durability: this.#access.strongest, upkeep: true })
    }
    this.#tips.load(metadata, newest?.last, header, 0n, durable)
    this.#writing = false
    this.#previous = undefined
    this.#pending = undefined
    this.#newestSlot = newest === undefined ? 1 : this.#slotOf(newest.parts[0].position)
    this.#newestDurable = newest === undefined || durable || this.#access.strongest === 'visible'
    if (newest !== undefined && !this.#newestDurable) {
      this.#pending = { from: newest.parts[0].position, to: newest.last.position + newest.last.cells }
    }
    return {
      header,
      newest,
      greatestSequence: greater(greatestSequence, newest?.sequence ?? 0n),
      durableSequence: metadata.durableSequence,
      // Two slots have no holes.
      unbrokenFrom: 0n,
      damaged,
      missing,
      mended: headers + entries > 0 ? { headers, entries, rebuilt: false } : undefined,
    }
  }

  overwritesNewest(_cells: number, first: boolean): boolean {
    return first && (this.#writing || !this.#newestDurable)
  }

  overwritesKept(): boolean {
    return false
  }

  next(first: boolean): { position: number; previousCrc: number } {
    if (first || this.#previous === undefined) {
      return { position: (1 - this.#newestSlot) * this.#geometry.slotCells, previousCrc: 0 }
    }
    const { position, cells, headerCrc } = this.#previous
    return { position: position + cells, previousCrc: headerCrc }
  }

  unreserved(): boolean {
    return false
  }

  reservation(): { writes: RangeBytes[]; reserved: () => void } {
    return { writes: [], reserved: () => {} }
  }

  cleared(header: LogHeader): RangeBytes[] {
    return this.#tips.clear(header)
  }

  restingTip(durableSequence: bigint): RestingTip | undefined {
    return this.#access.strongest === 'durable' ? this.#tips.rest(durableSequence) : undefined
  }

  advance(header: RecordHeader, durable: boolean): RangeBytes[] {
    const { position, cells } = header
    this.#writing = true
    this.#previous = header
    if (this.#access.strongest === 'durable') {
      if (header.part === 0 || this.#pending === undefined) this.#pending = { from: position, to: position + cells }
      else this.#pending.to = position + cells
    }
    this.#tips.name(header)
    return durable ? this.#tips.promise(header, 0) : []
  }

  takePending(): RegionRange[] {
    if (this.#pending === undefined) return []
    const { from, to } = this.#pending
    this.#pending = undefined
    return physicalRanges(this.#geometry.area, from, (to - from) * cellBytes)
  }

  settled(start: number, _sequence: bigint, durable: boolean): void {
    this.#writing = false
    this.#newestSlot = this.#slotOf(start)
    this.#newestDurable = durable || this.#access.strongest === 'visible'
  }

  flushed(): void {
    this.#newestDurable = true
  }

  #slotOf(position: number): number {
    return Math.floor(position / this.#geometry.slotCells)
  }
}

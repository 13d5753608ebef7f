/** The writing end of an overwrite region: whichever slot does not hold the newest checkpoint. */
import type { Deadline } from './deadline.js'
import { cellBytes, type OverwriteGeometry, physicalRanges } from './geometry.js'
import type { OverwriteView } from './overwrite-view.js'
import type { Loaded, Placement, RegionRange } from './placement.js'
import type { RecordHeader } from './record-header.js'
import type { RegionWriteAccess } from './region-access.js'

export class OverwritePlacement implements Placement {
  readonly maximumCells: number
  readonly #access: RegionWriteAccess
  readonly #geometry: OverwriteGeometry
  readonly #view: OverwriteView
  /** Slot of the newest acknowledged checkpoint. */
  #newestSlot = 1
  #newestDurable = true
  /** A checkpoint is being written. */
  #writing = false
  #previous: RecordHeader | undefined
  #pending: { from: number; to: number } | undefined

  constructor(access: RegionWriteAccess, geometry: OverwriteGeometry, view: OverwriteView) {
    this.#access = access
    this.#geometry = geometry
    this.#view = view
    this.maximumCells = geometry.area.maximumCells
  }

  async load(deadline: Deadline, durable: boolean): Promise<Loaded> {
    const { header, newest, greatestSequence } = await this.#view.survey(deadline, { writing: true })
    this.#writing = false
    this.#previous = undefined
    this.#pending = undefined
    this.#newestSlot = newest === undefined ? 1 : this.#slotOf(newest.parts[0].position)
    this.#newestDurable = newest === undefined || durable || this.#access.strongest === 'visible'
    if (newest !== undefined && !this.#newestDurable) {
      this.#pending = { from: newest.parts[0].position, to: newest.last.position + newest.last.cells }
    }
    return { header, newest, greatestSequence }
  }

  guarded(_cells: number, first: boolean): boolean {
    return first && (this.#writing || !this.#newestDurable)
  }

  crowded(): boolean {
    return false
  }

  next(first: boolean): { position: number; previousCrc: number } {
    if (first || this.#previous === undefined) {
      return { position: (1 - this.#newestSlot) * this.#geometry.slotCells, previousCrc: 0 }
    }
    const { position, cells, headerCrc } = this.#previous
    return { position: position + cells, previousCrc: headerCrc }
  }

  advance(header: RecordHeader): [] {
    const { position, cells } = header
    this.#writing = true
    this.#previous = header
    if (this.#access.strongest === 'durable') {
      if (header.part === 0 || this.#pending === undefined) this.#pending = { from: position, to: position + cells }
      else this.#pending.to = position + cells
    }
    return []
  }

  takePending(): RegionRange[] {
    if (this.#pending === undefined) return []
    const { from, to } = this.#pending
    this.#pending = undefined
    return physicalRanges(this.#geometry.area, from, (to - from) * cellBytes)
  }

  settled(start: number, durable: boolean): void {
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

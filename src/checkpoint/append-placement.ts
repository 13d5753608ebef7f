/** The writing end of an append log: the ring's next position, its directory, and what may not be overwritten yet. */
import type { AppendSurvey, AppendView } from './append-view.js'
import type { Deadline } from './deadline.js'
import { opens, writeEntry } from './directory.js'
import { type AppendGeometry, cellBytes, entryBytes, physicalRanges } from './geometry.js'
import type { Age } from './log-view.js'
import type { Loaded, Placement, RegionRange } from './placement.js'
import type { Crc32c, RecordHeader } from './record-header.js'
import type { RegionWriteAccess } from './region-access.js'

export class AppendPlacement implements Placement {
  readonly maximumCells: number
  readonly #access: RegionWriteAccess
  readonly #geometry: AppendGeometry
  readonly #view: AppendView
  readonly #instanceCrc: number
  readonly #crc32c: Crc32c
  #next = 0
  #previous: { headerCrc: number; sequence: bigint; position: number } | undefined
  #directory = new Uint8Array(0)
  #dirty = new Set<number>()
  /** Segments with records in them, oldest first, and the last record that starts in each. */
  #segments: { segment: number; last: Age }[] = []
  /** Start of the checkpoint whose segment must not be entered. */
  #guard: number | undefined
  #newestSettled: number | undefined
  #pending: { from: number; to: number } | undefined
  #pendingEntries: { from: number; to: number } | undefined

  constructor(access: RegionWriteAccess, geometry: AppendGeometry, view: AppendView, instance: Uint8Array) {
    this.#access = access
    this.#geometry = geometry
    this.#view = view
    this.#instanceCrc = access.crc32c(instance)
    this.#crc32c = (bytes, seed) => access.crc32c(bytes, seed)
    this.maximumCells = geometry.area.maximumCells
  }

  async load(deadline: Deadline, durable: boolean): Promise<Loaded> {
    const { header, newest, entries, ...survey } = await this.#survey(deadline)
    const { segments } = this.#geometry
    this.#directory = survey.directory.slice()
    this.#dirty = new Set()
    this.#segments = []
    this.#pending = undefined
    this.#pendingEntries = undefined
    this.#previous = undefined
    this.#guard = undefined
    this.#newestSettled = undefined
    this.#next = newest === undefined ? header.position : newest.last.position + newest.last.cells
    let greatestSequence = newest?.sequence ?? 0n
    for (const entry of survey.entriesBeyond) {
      if (entry.sequence > greatestSequence) greatestSequence = entry.sequence
      this.#directory.fill(0, entry.index * entryBytes, (entry.index + 1) * entryBytes)
      this.#dirty.add(entry.index)
    }
    if (newest === undefined) return { header, newest, greatestSequence }
    const torn = await this.#view.greatestBehind(newest.last, deadline)
    if (torn > greatestSequence) greatestSequence = torn

    this.#previous = { headerCrc: newest.last.headerCrc, sequence: newest.sequence, position: newest.last.position }
    const bySegment = entries.filter(({ index }) => index < segments)
    for (const [index, entry] of bySegment.entries()) {
      const following = bySegment[index - 1]
      let last: Age = newest
      if (following !== undefined) {
        last = {
          epoch: following.epoch,
          sequence: following.part > 0 ? following.sequence : following.previousSequence,
        }
      }
      this.#segments.unshift({ segment: this.#segmentOf(entry.position), last })
    }
    const start = await this.#view.startOf(newest, deadline)
    this.#newestSettled = start
    if (durable || this.#access.strongest === 'visible') {
      this.#guard = start
    } else {
      // Nobody knows what became durable behind the sequence that the newest record names.
      const { durableSequence } = newest.last
      const known = entries.find(
        ({ sequence, part }) => sequence < durableSequence || (sequence === durableSequence && part === 0),
      )
      const from = Math.min(known?.position ?? entries.at(-1)?.position ?? start, start)
      this.#guard = from
      this.#pending = { from, to: this.#next }
      this.#pendingEntries = { from: 0, to: segments + this.#geometry.marks }
    }
    return { header, newest, greatestSequence }
  }

  /** With an entry for every kept segment, before anything is overwritten by which a segment without one can be found. */
  async #survey(deadline: Deadline): Promise<AppendSurvey> {
    const survey = await this.#view.survey(deadline, { writing: true })
    const unnamed = await this.#view.unnamed(survey, deadline)
    if (unnamed.length === 0) return survey
    const ranges = unnamed.map(({ first, previousSequence }) => {
      const bytes = new Uint8Array(entryBytes)
      writeEntry(bytes, first, previousSequence, this.#instanceCrc, this.#crc32c)
      const index = this.#segmentOf(first.position) % this.#geometry.segments
      return { offset: this.#geometry.directoryOffset + index * entryBytes, bytes }
    })
    await this.#access.writeAll(ranges, { ...deadline.rest(), durability: this.#access.strongest })
    return await this.#view.survey(deadline, { writing: true })
  }

  guarded(cells: number): boolean {
    if (this.#guard === undefined) return false
    return this.#lastSegment(cells) - this.#geometry.segments >= this.#segmentOf(this.#guard)
  }

  crowded(cells: number, released: (last: Age) => boolean): boolean {
    const through = this.#lastSegment(cells) - this.#geometry.segments
    return this.#segments.some(({ segment, last }) => segment <= through && !released(last))
  }

  next(): { position: number; previousCrc: number } {
    return { position: this.#next, previousCrc: this.#previous?.headerCrc ?? 0 }
  }

  advance(header: RecordHeader): { offset: number; bytes: Uint8Array }[] {
    const { position, cells, sequence, epoch, headerCrc } = header
    const through = this.#lastSegment(cells) - this.#geometry.segments
    this.#segments = this.#segments.filter(({ segment }) => segment > through)
    const segment = this.#segmentOf(position)
    const current = this.#segments.at(-1)
    if (current?.segment === segment) current.last = { epoch, sequence }
    else this.#segments.push({ segment, last: { epoch, sequence } })

    const opened = opens(this.#geometry, this.#previous?.position, position)
    for (const index of opened) {
      const target = this.#directory.subarray(index * entryBytes, (index + 1) * entryBytes)
      writeEntry(target, header, this.#previous?.sequence ?? 0n, this.#instanceCrc, this.#crc32c)
      this.#dirty.add(index)
    }
    this.#previous = { headerCrc, sequence, position }
    this.#next = position + cells
    this.#guard ??= position
    this.#addPending(position, cells)
    return this.#takeDirty()
  }

  takePending(): RegionRange[] {
    const ranges: RegionRange[] = []
    if (this.#pending !== undefined) {
      const { from, to } = this.#pending
      const cells = Math.min(to - from, this.#geometry.area.cells)
      ranges.push(...physicalRanges(this.#geometry.area, to - cells, cells * cellBytes))
    }
    if (this.#pendingEntries !== undefined) {
      const { from, to } = this.#pendingEntries
      ranges.push({
        offset: this.#geometry.directoryOffset + from * entryBytes,
        length: (to - from) * entryBytes,
      })
    }
    this.#pending = undefined
    this.#pendingEntries = undefined
    return ranges
  }

  settled(start: number, durable: boolean): void {
    this.#newestSettled = start
    if (durable || this.#access.strongest === 'visible') this.#guard = start
  }

  flushed(): void {
    if (this.#newestSettled !== undefined) this.#guard = this.#newestSettled
  }

  #segmentOf(position: number): number {
    return Math.floor(position / this.#geometry.segmentCells)
  }

  #lastSegment(cells: number): number {
    return this.#segmentOf(this.#next + cells - 1)
  }

  #addPending(position: number, cells: number): void {
    if (this.#access.strongest === 'visible') return
    if (this.#pending === undefined) this.#pending = { from: position, to: position + cells }
    else this.#pending.to = position + cells
    for (const index of this.#dirty) {
      this.#pendingEntries ??= { from: index, to: index + 1 }
      this.#pendingEntries.from = Math.min(this.#pendingEntries.from, index)
      this.#pendingEntries.to = Math.max(this.#pendingEntries.to, index + 1)
    }
  }

  #takeDirty(): { offset: number; bytes: Uint8Array }[] {
    const indexes = [...this.#dirty].sort((a, b) => a - b)
    this.#dirty.clear()
    const ranges: { offset: number; bytes: Uint8Array }[] = []
    for (let at = 0; at < indexes.length; ) {
      const from = indexes[at] as number
      let to = from + 1
      while (indexes[++at] === to) to++
      ranges.push({
        offset: this.#geometry.directoryOffset + from * entryBytes,
        bytes: this.#directory.slice(from * entryBytes, to * entryBytes),
      })
    }
    return ranges
  }
}

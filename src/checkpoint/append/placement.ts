/** The writing end of an append log: the ring's next position, its directory, and what may not be overwritten yet. */

import { newBytes } from '../../call/new-bytes.js'
import type { RangeBytes, RegionRange } from '../../region-range.js'
import type { Deadline } from '../deadline.js'
import type { MendedMetadata } from '../findings.js'
import { type AppendGeometry, cellBytes, entriesOffset, entryBytes, physicalRanges } from '../geometry.js'
import { type DirectoryEntry, opens, writeEntry } from '../metadata/directory.js'
import type { LogHeader } from '../metadata/log-header.js'
import { mendMetadata } from '../metadata/mending.js'
import { type RestingTip, TipWriter } from '../metadata/tip-writer.js'
import type { Loaded, Placement } from '../placement.js'
import type { Crc32c, RecordHeader } from '../record/header.js'
import { compareOrder, greater, type LogOrder } from '../record/order.js'
import type { RegionWriteAccess } from '../region-access.js'
import { greatestBehind, unnamedSegments } from './end-of-log.js'
import { findHoles } from './holes.js'
import { type AppendSurvey, surveyOf } from './survey.js'
import type { AppendView } from './view.js'

export class AppendPlacement implements Placement {
  readonly maximumCells: number
  readonly #access: RegionWriteAccess
  readonly #geometry: AppendGeometry
  readonly #view: AppendView
  readonly #instance: Uint8Array
  readonly #instanceCrc: number
  readonly #crc32c: Crc32c
  readonly #tips: TipWriter
  #next = 0
  #previous: { headerCrc: number; sequence: bigint; position: number } | undefined
  /** The entries as both copies are to hold them. */
  #directory = new Uint8Array(0)
  #dirty = new Set<number>()
  /** Behind which sequence number nothing is missing. It never falls. */
  #unbrokenFrom = 0n
  /** Segments with records in them, oldest first, and the last record that starts in each. */
  #segments: { segment: number; last: LogOrder }[] = []
  /** Start of the checkpoint whose segment must not be entered. */
  #newestFrom: number | undefined
  #newestSettled: number | undefined
  #pending: { from: number; to: number } | undefined
  #pendingEntries: { from: number; to: number } | undefined

  constructor(access: RegionWriteAccess, geometry: AppendGeometry, view: AppendView, instance: Uint8Array) {
    this.#access = access
    this.#geometry = geometry
    this.#view = view
    this.#instance = instance
    this.#instanceCrc = access.crc32c(instance)
    this.#crc32c = (bytes, seed) => access.crc32c(bytes, seed)
    this.#tips = new TipWriter(geometry, this.#instanceCrc, this.#crc32c)
    this.maximumCells = geometry.area.maximumCells
  }

  async load(deadline: Deadline, durable: boolean): Promise<Loaded> {
    const { survey, mended } = await this.#survey(deadline)
    const { header, newest, entries, metadata, damaged, missing } = survey
    const { segments } = this.#geometry
    this.#directory = this.#directoryOf(survey)
    this.#dirty = new Set()
    this.#segments = []
    this.#pending = undefined
    this.#pendingEntries = undefined
    this.#previous = undefined
    this.#newestFrom = undefined
    this.#newestSettled = undefined
    this.#next = newest === undefined ? header.position : newest.last.position + newest.last.cells
    const { durableSequence } = metadata
    // A hole that this owner has found may be written down nowhere yet, while it knows already what is durable behind it.
    this.#unbrokenFrom = greater(this.#unbrokenFrom, await this.#closeHoles(survey, deadline))
    const unbrokenFrom = this.#unbrokenFrom
    this.#tips.load(metadata, newest?.last, header, unbrokenFrom, durable)
    const loaded = { header, newest, durableSequence, unbrokenFrom, damaged, missing, mended }
    let greatestSequence = greater(newest?.sequence ?? 0n, metadata.greatestSequence)
    for (const entry of survey.entriesBeyond) {
      this.#directory.fill(0, entry.index * entryBytes, (entry.index + 1) * entryBytes)
      this.#dirty.add(entry.index)
    }
    if (newest === undefined) return { ...loaded, greatestSequence }
    greatestSequence = greater(greatestSequence, await greatestBehind(this.#view.ring, newest.last, deadline))

    this.#previous = { headerCrc: newest.last.headerCrc, sequence: newest.sequence, position: newest.last.position }
    const bySegment = entries.filter(({ index }) => index < segments)
    for (const [index, entry] of bySegment.entries()) {
      const following = bySegment[index - 1]
      let last: LogOrder = newest
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
      this.#newestFrom = start
    } else {
      // Nobody knows what became durable behind the sequence that the newest record names.
      const { durableSequence } = newest.last
      const known = entries.find(
        ({ sequence, part }) => sequence < durableSequence || (sequence === durableSequence && part === 0),
      )
      const from = Math.min(known?.position ?? entries.at(-1)?.position ?? start, start)
      this.#newestFrom = from
      this.#pending = { from, to: this.#next }
      this.#pendingEntries = { from: 0, to: segments + this.#geometry.marks }
    }
    return { ...loaded, greatestSequence }
  }

  /**
   * With an entry for every kept segment, before anything is overwritten by which a segment without one can be found, and
   * with both copies of the metadata whole.
   */
  async #survey(deadline: Deadline): Promise<{ survey: AppendSurvey; mended: MendedMetadata | undefined }> {
    const survey = await this.#view.survey(deadline, { writing: true })
    const directory = this.#directoryOf(survey, await this.#gone(survey, deadline))
    const unnamed = await unnamedSegments(this.#view.ring, survey, deadline)
    for (const { first, previousSequence } of unnamed) {
      const index = this.#segmentOf(first.position) % this.#geometry.segments
      writeEntry(entryOf(directory, index), first, previousSequence, this.#instanceCrc, this.#crc32c)
    }
    const mending = mendMetadata(
      survey.metadata,
      this.#geometry,
      this.#instance,
      this.#instanceCrc,
      this.#crc32c,
      directory,
    )
    if (mending.writes.length === 0) return { survey, mended: undefined }
    await this.#access.writeAll(mending.writes, {
      ...deadline.rest(),
      durability: this.#access.strongest,
      upkeep: true,
    })
    const { headers, entries } = mending
    const { rebuilt } = survey
    const mended = headers + entries - unnamed.length > 0 || rebuilt ? { headers, entries, rebuilt } : undefined
    return { survey: await this.#afterMending(survey, deadline), mended }
  }

  /** What was found by all its records may lie behind a hole, which the entries that were made of them do not lead across. */
  async #afterMending(before: AppendSurvey, deadline: Deadline): Promise<AppendSurvey> {
    const survey = await this.#view.survey(deadline, { writing: true })
    const { newest, entries, rebuilt } = before
    if (newest === undefined || (survey.newest !== undefined && compareOrder(survey.newest, newest) >= 0)) return survey
    return surveyOf(this.#view.ring, { metadata: survey.metadata, rebuilt, entries, anchors: entries }, newest)
  }

  /** Gives the sequence number behind which nothing is missing then. */
  async #closeHoles(survey: AppendSurvey, deadline: Deadline): Promise<bigint> {
    const { unbrokenFrom, bridges, starts } = await findHoles(this.#view.ring, survey, deadline)
    if (bridges.length === 0) return unbrokenFrom
    const writes = [...bridges]
    for (const { first, previousSequence } of starts) {
      const index = this.#segmentOf(first.position) % this.#geometry.segments
      const entry = entryOf(this.#directory, index)
      writeEntry(entry, first, previousSequence, this.#instanceCrc, this.#crc32c)
      for (const copy of this.#geometry.metadata.offsets) {
        writes.push({ offset: copy + entriesOffset + index * entryBytes, bytes: entry.slice() })
      }
    }
    await this.#access.writeAll(writes, { ...deadline.rest(), durability: this.#access.strongest, upkeep: true })
    return unbrokenFrom
  }

  /** The entries that differ from the other copy's and name a record that is gone: a crash left them, or took the record. */
  async #gone({ entries }: AppendSurvey, deadline: Deadline): Promise<ReadonlySet<DirectoryEntry>> {
    const byIndex = new Map<number, DirectoryEntry[]>()
    for (const entry of entries) byIndex.set(entry.index, [...(byIndex.get(entry.index) ?? []), entry])
    const gone = new Set<DirectoryEntry>()
    for (const said of byIndex.values()) {
      if (said.length === 1) continue
      for (const entry of said) if (!(await this.#view.isThere(entry, deadline))) gone.add(entry)
    }
    return gone
  }

  /** Of each place the entry that belongs to the log and whose record is there, or else the newest. */
  #directoryOf({ entries, metadata }: AppendSurvey, gone?: ReadonlySet<DirectoryEntry>): Uint8Array<ArrayBuffer> {
    const { segments, marks } = this.#geometry
    const directory = newBytes((segments + marks) * entryBytes)
    const oldestFirst = [...metadata.entries].sort(compareOrder)
    for (const entry of [...oldestFirst, ...(gone ?? []), ...entries.filter((entry) => !gone?.has(entry))]) {
      const target = entryOf(directory, entry.index)
      writeEntry(target, entry, entry.previousSequence, this.#instanceCrc, this.#crc32c)
    }
    return directory
  }

  overwritesNewest(cells: number): boolean {
    if (this.#newestFrom === undefined) return false
    return this.#lastSegment(cells) - this.#geometry.segments >= this.#segmentOf(this.#newestFrom)
  }

  overwritesKept(cells: number, released: (last: LogOrder) => boolean): boolean {
    const through = this.#lastSegment(cells) - this.#geometry.segments
    return this.#segments.some(({ segment, last }) => segment <= through && !released(last))
  }

  next(): { position: number; previousCrc: number } {
    return { position: this.#next, previousCrc: this.#previous?.headerCrc ?? 0 }
  }

  unreserved(cells: number): boolean {
    const end = this.#next + cells
    return this.#access.strongest === 'durable' && end > this.#geometry.area.cells && end > this.#tips.reserved
  }

  reservation(cells: number): { writes: RangeBytes[]; reserved: () => void } {
    const { area } = this.#geometry
    return this.#tips.reserve(this.#reach(this.#next + cells, Math.max(cells, Math.ceil(area.cells / 16))))
  }

  /**
   * How far to reserve for what ends there, so that what comes next needs no reservation of its own: whole segments, as far as
   * nothing is dropped by it that has to stay.
   */
  #reach(end: number, ahead: number): number {
    const { segmentCells, area } = this.#geometry
    const least = Math.ceil(end / segmentCells) * segmentCells
    if (this.#access.onFull !== 'drop-oldest') return least
    const most = this.#segmentOf(this.#newestFrom ?? 0) * segmentCells + area.cells
    return Math.max(least, Math.min(Math.ceil((end + ahead) / segmentCells) * segmentCells, most))
  }

  advance(header: RecordHeader, durable: boolean): RangeBytes[] {
    const { position, cells, sequence, epoch, headerCrc } = header
    const through = this.#lastSegment(cells) - this.#geometry.segments
    this.#segments = this.#segments.filter(({ segment }) => segment > through)
    const segment = this.#segmentOf(position)
    const current = this.#segments.at(-1)
    if (current?.segment === segment) current.last = { epoch, sequence }
    else this.#segments.push({ segment, last: { epoch, sequence } })

    const opened = opens(this.#geometry, this.#previous?.position, position)
    for (const index of opened) {
      const target = entryOf(this.#directory, index)
      writeEntry(target, header, this.#previous?.sequence ?? 0n, this.#instanceCrc, this.#crc32c)
      this.#dirty.add(index)
    }
    this.#previous = { headerCrc, sequence, position }
    this.#next = position + cells
    this.#newestFrom ??= position
    this.#addPending(position, cells)
    const writes = this.#takeDirty()
    this.#tips.name(header)
    if (durable)
      writes.push(...this.#tips.promise(header, this.#reach(this.#next, Math.max(cells, this.#geometry.segmentCells))))
    return writes
  }

  cleared(header: LogHeader): RangeBytes[] {
    return this.#tips.clear(header)
  }

  restingTip(durableSequence: bigint): RestingTip | undefined {
    return this.#access.strongest === 'durable' ? this.#tips.rest(durableSequence) : undefined
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
      for (const copy of this.#geometry.metadata.offsets) {
        ranges.push({ offset: copy + entriesOffset + from * entryBytes, length: (to - from) * entryBytes })
      }
    }
    this.#pending = undefined
    this.#pendingEntries = undefined
    return ranges
  }

  settled(start: number, sequence: bigint, durable: boolean): void {
    this.#newestSettled = start
    if (durable) this.#tips.settled(sequence)
    if (durable || this.#access.strongest === 'visible') this.#newestFrom = start
  }

  flushed(): void {
    if (this.#newestSettled !== undefined) this.#newestFrom = this.#newestSettled
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

  #takeDirty(): RangeBytes[] {
    const indexes = [...this.#dirty].sort((a, b) => a - b)
    this.#dirty.clear()
    const ranges: RangeBytes[] = []
    for (let at = 0; at < indexes.length; ) {
      const from = indexes[at] as number
      let to = from + 1
      while (indexes[++at] === to) to++
      const bytes = this.#directory.slice(from * entryBytes, to * entryBytes)
      for (const copy of this.#geometry.metadata.offsets) {
        ranges.push({ offset: copy + entriesOffset + from * entryBytes, bytes })
      }
    }
    return ranges
  }
}

function entryOf(directory: Uint8Array, index: number): Uint8Array {
  return directory.subarray(index * entryBytes, (index + 1) * entryBytes)
}

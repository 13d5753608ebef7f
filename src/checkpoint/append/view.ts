/** Reading an append log: its newest record by the directory, others by walking the chain from the entry before them. */
import { pause } from '../../call/timer.js'
import { CheckpointError } from '../../errors.js'
import type { Deadline } from '../deadline.js'
import { isDelta, Restorer } from '../delta/restore.js'
import { type AppendGeometry, cellBytes } from '../geometry.js'
import {
  type Accept,
  type Gap,
  type Item,
  type LogView,
  lostBehind,
  type Survey,
  type SurveyOptions,
  type Verdict,
} from '../log-view.js'
import { isZero, type LogMetadata, metadataRanges, parseMetadata, sameMetadata } from '../metadata/copies.js'
import { type Anchor, type DirectoryEntry, durableThrough, orderAnchors } from '../metadata/directory.js'
import { outrun } from '../missing.js'
import { type Crc32c, continues, isLast, type RecordHeader } from '../record/header.js'
import { compareOrder, greater, type LogOrder, lesser } from '../record/order.js'
import { Assembler, largestAssembledBytes, type StoredCheckpoint, storedOf, verifyStored } from '../record/stored.js'
import { RecordWindow } from '../record/window.js'
import type { RegionReadAccess } from '../region-access.js'
import { isVerified, noteVerified } from '../verified.js'
import { AppendTail } from './tail.js'

export interface AppendSurvey extends Survey {
  /** Entries of what is kept, newest first. */
  readonly entries: readonly DirectoryEntry[]
  /** Entries left over from an undone stream or a lost suffix, which name places behind the newest record. */
  readonly entriesBeyond: readonly DirectoryEntry[]
  /** As read. */
  readonly metadata: LogMetadata
  /** Both copies of the directory are gone: the entries were made from the records. */
  readonly rebuilt: boolean
}

export interface UnnamedSegment {
  readonly first: RecordHeader
  /** Sequence of the record before it in the log. */
  readonly previousSequence: bigint
}

interface Snapshot {
  readonly metadata: LogMetadata
  readonly rebuilt: boolean
  /** Newest first. */
  readonly entries: readonly DirectoryEntry[]
  /** With the tips. */
  readonly anchors: readonly Anchor[]
}

const mostAttempts = 40
/** Entries tried to find one record. */
const mostAnchors = 4
/** Then a sound newest is taken with a directory that is behind it. */
const mostAttemptsForDirectory = 5
/** In front of a record behind a hole, others of its chain are looked for this far. */
const mostScannedCells = (64 * 1024 * 1024) / cellBytes
/** An owner makes sure that nothing is missing from what is not known to be durable, up to this much. */
const mostTailCells = mostScannedCells
const ringStartBytes = 4096

export class AppendView implements LogView<AppendSurvey> {
  readonly #access: RegionReadAccess
  readonly #geometry: AppendGeometry
  readonly #instance: Uint8Array
  readonly #instanceCrc: number
  readonly #crc32c: Crc32c

  constructor(access: RegionReadAccess, geometry: AppendGeometry, instance: Uint8Array) {
    this.#access = access
    this.#geometry = geometry
    this.#instance = instance
    this.#instanceCrc = access.crc32c(instance)
    this.#crc32c = (bytes, seed) => access.crc32c(bytes, seed)
  }

  async survey(
    deadline: Deadline,
    { writing = false, newestOnly = false, accept = this.#holds(deadline) }: SurveyOptions = {},
  ): Promise<AppendSurvey> {
    let snapshot = await this.#snapshot(deadline, writing)
    for (let attempt = 0; ; attempt++) {
      const { newest, certain } = await this.#newest(snapshot, deadline, accept)
      const { damaged } = lostBehind(newest, snapshot.metadata.header, snapshot.metadata)
      // It was where the directory says. Else the log may have moved on under this reader's hands.
      if (certain && damaged === undefined && (newestOnly || this.#fits(snapshot, newest))) {
        return this.#surveyOf(newestOnly ? snapshot : await this.#withOldest(snapshot, newest, deadline), newest)
      }
      const again = await this.#snapshot(deadline, writing)
      if (sameMetadata(again.metadata, snapshot.metadata)) {
        const behind = damaged === undefined ? newest : await this.#beyond(snapshot, newest, deadline, accept)
        const end = behind ?? newest
        return this.#surveyOf(newestOnly ? snapshot : await this.#withOldest(snapshot, end, deadline), end)
      }
      if (newest !== undefined && attempt >= mostAttemptsForDirectory) {
        return { ...this.#surveyOf(snapshot, newest), damaged: undefined, missing: undefined }
      }
      if (attempt >= mostAttempts) throw outrun()
      snapshot = again
      if (attempt > 2) await pause(1, deadline.signal)
    }
  }

  /** Position of the first record that a checkpoint needs. */
  async startOf(stored: StoredCheckpoint, deadline: Deadline): Promise<number> {
    const [{ position, baseSequence }] = stored.parts
    if (!isDelta(stored)) return position
    return (await this.find(baseSequence, deadline))?.stored.parts[0].position ?? position
  }

  /** Whether all of a checkpoint is there, what a delta builds on too. */
  async isWhole(stored: StoredCheckpoint, window: RecordWindow, deadline: Deadline): Promise<boolean> {
    const access = this.#access
    if (isVerified(access, stored)) return true
    if (isDelta(stored)) {
      const restorer = new Restorer(access, (sequence, until) => this.find(sequence, until))
      return (await restorer.bytes(stored, window, deadline)) instanceof Uint8Array
    }
    const { unitStart } = access
    const whole = await verifyStored(stored, window)
    if (whole) noteVerified(access, unitStart, stored)
    return whole
  }

  #holds(deadline: Deadline): Accept {
    return (stored, window) => this.isWhole(stored, window, deadline)
  }

  async find(sequence: bigint, deadline: Deadline): Promise<Item | undefined> {
    const { anchors } = await this.#snapshot(deadline, false)
    return this.#gather(sequence, anchors, deadline)
  }

  async *checkpoints(
    survey: AppendSurvey,
    after: LogOrder | undefined,
    deadline: Deadline,
    wholeBatch: boolean,
  ): AsyncGenerator<Item | Gap> {
    const { newest, header, damaged } = survey
    if (newest !== undefined && newest.sequence >= header.firstSequence) {
      yield* this.#kept(survey, newest, after, deadline, wholeBatch)
    }
    if (damaged === undefined || damaged.to <= (after?.sequence ?? 0n)) return
    const sequence = greater(damaged.from, (after?.sequence ?? 0n) + 1n)
    yield { gap: 'damaged', sequence, to: damaged.to, epoch: (newest ?? after)?.epoch ?? 0n }
  }

  async *#kept(
    survey: AppendSurvey,
    newest: StoredCheckpoint,
    after: LogOrder | undefined,
    deadline: Deadline,
    wholeBatch: boolean,
  ): AsyncGenerator<Item | Gap> {
    const { header } = survey
    const entries = survey.entries.toReversed()
    const wanted = (found: LogOrder) =>
      found.sequence >= header.firstSequence && (after === undefined || compareOrder(found, after) > 0)
    // The last entry at or before the first that is wanted.
    let index = entries.findLastIndex((entry) => !wanted(entry))
    if (index < 0) index = 0
    const window = this.#window(deadline)
    for (; index > 0; index--) {
      const entry = entries[index]
      if (entry !== undefined && (await window.header(entry.position))?.headerCrc === entry.headerCrc) break
    }
    const end = newest.last.position + newest.last.cells
    if (wholeBatch && entries[index] !== undefined) {
      const bytes = (end - (entries[index]?.position ?? end)) * cellBytes
      if (bytes > largestAssembledBytes) {
        throw new CheckpointError('LIMIT_REACHED', `The log holds ${bytes} bytes, too many to be read all at once.`, {
          help: 'Read it with unread(), from a cursor with epoch 0 and sequence 0.',
        })
      }
      await window.fill(entries[index]?.position ?? 0, bytes)
    }
    const assembler = new Assembler()
    let last: RecordHeader | undefined
    const seen = () => {
      // Of a stream whose end has not come, nothing is.
      const read = last === undefined ? 0n : isLast(last) ? last.sequence : last.sequence - 1n
      return greater(greater(after?.sequence ?? 0n, header.firstSequence - 1n), read)
    }
    /** What is missing in front of a record, or at the end of what is kept. */
    const gapBefore = async (next: RecordHeader | undefined, through: bigint): Promise<Gap | undefined> => {
      if (through <= seen()) return undefined
      const sequence = greater(seen() + 1n, last === undefined ? (entries[index]?.sequence ?? 0n) : 0n)
      const position = last === undefined ? (entries[index]?.position ?? 0) : last.position + last.cells
      return this.#verdict({ position, sequence, through }, last, next, deadline)
    }
    for await (const record of this.#walk([...entries.slice(index), newest.parts[0]], window, survey.metadata)) {
      if (record.position >= end) return
      const before = record.part > 0 ? record.sequence : record.sequence - 1n
      if (last === undefined ? record.position !== entries[index]?.position : !continues(last, record)) {
        assembler.reset()
        const gap = await gapBefore(record, before)
        if (gap !== undefined) yield gap
      } else if (last !== undefined && record.durableSequence > seen() && before > seen()) {
        // The owner that went on here knew that there had been others.
        const from = seen() + 1n
        const through = durableThrough(from, [record])
        const to = lesser(through, before)
        if (through >= from) yield { gap: 'damaged', sequence: from, to, epoch: last.epoch }
      }
      last = record
      const whole = assembler.add(record)
      if (whole !== undefined && wanted(whole)) yield { stored: whole, window }
    }
    if (last !== undefined && last.position + last.cells >= end) return
    const gap = await gapBefore(undefined, newest.sequence)
    if (gap !== undefined) yield gap
  }

  /**
   * The records of a log in their order, from the first of the anchors whose record is there: behind a hole it goes on
   * with those that lead up to the next anchor. Whoever goes through them sees holes by what does not continue.
   */
  async *#walk(
    anchors: readonly Pick<Anchor, 'position' | 'headerCrc'>[],
    window: RecordWindow,
    metadata: LogMetadata,
  ): AsyncGenerator<RecordHeader> {
    let reached: number | undefined
    for (const { position, headerCrc } of anchors) {
      reached ??= position
      if (position < reached) continue
      const record = await window.header(position)
      if (record?.headerCrc !== headerCrc) continue
      if (position > reached && position >= metadata.reserved - this.#geometry.area.cells) {
        for (const before of await this.#leadingTo(record, reached, window)) yield before
      }
      for (
        let current: RecordHeader | undefined = record;
        current !== undefined;
        current = await window.next(current)
      ) {
        yield current
        reached = current.position + current.cells
      }
    }
  }

  /** The records in front of this one, as far back as its chain is whole, and not before `from`. */
  async #leadingTo(record: RecordHeader, from: number, window: RecordWindow): Promise<RecordHeader[]> {
    const byEnd = new Map<string, RecordHeader>()
    for (const header of await window.scan(Math.max(from, record.position - mostScannedCells), record.position)) {
      byEnd.set(`${header.position + header.cells}/${header.headerCrc}`, header)
    }
    const run: RecordHeader[] = []
    for (let next = record; ; ) {
      const before = byEnd.get(`${next.position}/${next.previousCrc}`)
      if (before === undefined || !continues(before, next)) return run
      run.unshift(before)
      next = before
    }
  }

  /** The greatest sequence among headers that go on behind the newest whole checkpoint: torn records, unfinished streams. */
  async greatestBehind(newest: RecordHeader, deadline: Deadline): Promise<bigint> {
    const window = this.#window(deadline)
    let last = newest
    for (let next = await window.next(last); next !== undefined; next = await window.next(last)) last = next
    return last.sequence
  }

  /**
   * For each kept segment whose entry a crash took, and whose records it left: the first record that starts there, found
   * by the chain from the entry before it. Oldest first.
   */
  async unnamed({ newest, entries }: AppendSurvey, deadline: Deadline): Promise<UnnamedSegment[]> {
    if (newest === undefined) return []
    const { segments, segmentCells } = this.#geometry
    const segmentOf = (position: number) => Math.floor(position / segmentCells)
    const end = newest.last.position + newest.last.cells
    const unnamed: UnnamedSegment[] = []
    const bySegment = entries.filter(({ index }) => index < segments).toReversed()
    for (const [index, entry] of bySegment.entries()) {
      const following = bySegment[index + 1]
      const lastSegment = following === undefined ? segmentOf(newest.last.position) : segmentOf(following.position) - 1
      if (lastSegment === segmentOf(entry.position)) continue
      const through = following?.position ?? end
      const window = this.#window(deadline)
      // Most often one large record reaches over the segments between, and its header is all there is to read.
      let last = await window.header(entry.position, true)
      if (last?.headerCrc !== entry.headerCrc || last.position + last.cells >= through) continue
      for (let next = await window.next(last); next !== undefined && next.position < through; ) {
        if (segmentOf(next.position) > segmentOf(last.position)) {
          unnamed.push({ first: next, previousSequence: last.sequence })
        }
        last = next
        next = await window.next(last)
      }
    }
    return unnamed
  }

  /**
   * Behind which sequence number nothing is missing, for what is written next: where what is not known to be durable is there
   * without a hole, it is what is said there already.
   */
  async unbrokenFrom({ newest, entries, metadata, witnesses }: AppendSurvey, deadline: Deadline): Promise<bigint> {
    if (newest === undefined) return 0n
    const { last, sequence } = newest
    const known = witnesses.map(({ unbrokenFrom }) => unbrokenFrom).filter((from) => from <= sequence)
    const unbrokenFrom = known.reduce(greater, 0n)
    const durable = greater(metadata.durableSequence, last.durableSequence)
    if (durable >= sequence) return unbrokenFrom
    const anchor = entries.find((entry) => entry.sequence <= durable) ?? entries.at(-1)
    if (anchor === undefined || last.position - anchor.position > mostTailCells) return sequence
    const window = this.#window(deadline)
    let record = await window.header(anchor.position)
    if (record?.headerCrc !== anchor.headerCrc) return sequence
    while (record !== undefined && record.position < last.position) {
      // A crash may have left the header and taken the payload.
      if (record.sequence > durable && !(await window.verify(record))) return sequence
      record = await window.next(record)
    }
    return record?.headerCrc === last.headerCrc ? unbrokenFrom : sequence
  }

  tail(survey: AppendSurvey): AppendTail {
    return new AppendTail(this.#access, this.#geometry, this.#instance, survey)
  }

  async judge(header: RecordHeader, deadline: Deadline): Promise<Verdict> {
    const { position, sequence } = header
    const next = await this.#window(deadline).next(header)
    const { gap } = await this.#verdict({ position, sequence, through: sequence }, header, next, deadline)
    return gap
  }

  /**
   * @param missing the first that is, and the last that may be
   * @param before the sound record in front of it, or its own header when only the payload fails
   * @param next the first sound record behind what is missing
   */
  async #verdict(
    missing: { position: number; sequence: bigint; through: bigint },
    before: RecordHeader | undefined,
    next: RecordHeader | undefined,
    deadline: Deadline,
  ): Promise<Gap> {
    const { position, sequence, through } = missing
    const { newest, oldest, header, metadata, witnesses, damaged } = await this.survey(deadline)
    // With nothing in front, a cursor behind it shall not look like one of an owner before all that is kept.
    const epoch = before?.epoch ?? next?.epoch ?? oldest?.epoch ?? 0n
    const gap = (verdict: Verdict, to = through): Gap => ({ gap: verdict, sequence, to, epoch })
    if (newest === undefined) return damaged === undefined ? gap('lost') : gap('damaged')
    if (through < header.firstSequence) return gap('lost')
    const durable = durableThrough(sequence, next === undefined ? witnesses : [next, ...witnesses])
    if (durable === 0n && position >= this.#safeFrom(newest)) return gap('lost')
    if (durable > 0n && position >= this.#untouchedFrom(newest, metadata)) {
      return gap('damaged', lesser(durable, through))
    }
    if (durable > 0n || before === undefined) return gap('lapped')
    // A writer that came round would have met the record before it first.
    return gap((await this.isThere(before, deadline)) ? 'lost' : 'lapped')
  }

  async isThere(
    { position, headerCrc }: Pick<RecordHeader, 'position' | 'headerCrc'>,
    deadline: Deadline,
  ): Promise<boolean> {
    return (await this.#window(deadline).header(position, true))?.headerCrc === headerCrc
  }

  async judgeBase(sequence: bigint, { last }: StoredCheckpoint, deadline: Deadline): Promise<Verdict> {
    const survey = await this.survey(deadline, { accept: async () => true })
    const { newest, entries, metadata, witnesses, droppedThrough } = survey
    if (newest === undefined) return 'lost'
    // A chain is no longer than the largest checkpoint.
    const from = Math.max(0, last.position + last.cells - this.#geometry.area.maximumCells)
    const durable = durableThrough(sequence, [last, ...witnesses]) > 0n
    const untouched = sequence > droppedThrough || from >= this.#untouchedFrom(newest, metadata)
    if (durable) return untouched ? 'damaged' : 'lapped'
    if (from >= this.#safeFrom(newest)) return 'lost'
    // A writer that came round would have met what lies before it first.
    for (const entry of entries) {
      if (entry.sequence >= sequence || entry.position >= last.position) continue
      if (await this.isThere(entry, deadline)) return 'lost'
    }
    return 'lapped'
  }

  /**
   * A writer may have gone on as far as it had reserved, and a crash may take all that but leave what it did to the lap before:
   * from here on nothing can have been overwritten. Nor can the segment of the newest durable record.
   */
  #untouchedFrom({ parts }: StoredCheckpoint, { reserved }: LogMetadata): number {
    const { segmentCells, area } = this.#geometry
    return Math.min(Math.floor(parts[0].position / segmentCells) * segmentCells, reserved - area.cells)
  }

  /** A record being written, or left torn, may reach as far as the largest would: nothing is safe below this position. */
  #safeFrom({ last }: StoredCheckpoint): number {
    const { segmentCells, segments, area } = this.#geometry
    const reach = last.position + last.cells + area.maximumCells - 1
    return (Math.floor(reach / segmentCells) - segments + 1) * segmentCells
  }

  async #snapshot(deadline: Deadline, writing: boolean): Promise<Snapshot> {
    const geometry = this.#geometry
    const { copies, ranges } = metadataRanges(geometry)
    await this.#access.readInto(ranges, deadline.rest())
    const metadata = parseMetadata(copies, geometry, this.#instance, this.#instanceCrc, writing, this.#crc32c)
    // A tip alone leads to the newest and says nothing of what is kept before it; what was durable had its entries.
    if (metadata.entries.length === 0 && (metadata.tips.length === 0 || metadata.durableSequence > 0n)) {
      return this.#fromRecords(metadata, deadline)
    }
    return {
      metadata,
      rebuilt: false,
      entries: orderAnchors(metadata.entries, geometry),
      anchors: orderAnchors<Anchor>([...metadata.entries, ...metadata.tips], geometry),
    }
  }

  /** An empty log, or one that has lost all that names its records: then there is something at the ring's beginning. */
  async #fromRecords(metadata: LogMetadata, deadline: Deadline): Promise<Snapshot> {
    const geometry = this.#geometry
    const start = new Uint8Array(ringStartBytes)
    await this.#access.readInto([{ offset: geometry.area.offset, bytes: start }], deadline.rest())
    const empty = metadata.damaged + metadata.tips.length === 0 && isZero(start)
    const records = empty ? [] : await this.#window(deadline).scanAll()
    const anchors = orderAnchors(
      records.map((record) => ({
        ...record,
        index: Math.floor(record.position / geometry.segmentCells) % geometry.segments,
        previousSequence: record.part > 0 ? record.sequence : record.sequence - 1n,
      })),
      geometry,
    )
    const segmentOf = ({ position }: Anchor) => Math.floor(position / geometry.segmentCells)
    const entries = anchors.filter((anchor, at) => {
      const older = anchors[at + 1]
      return older === undefined || segmentOf(older) !== segmentOf(anchor)
    })
    return { metadata, rebuilt: records.length > 0, entries, anchors }
  }

  /** Whether the directory read knows the segment of the newest record. */
  #fits({ entries }: Snapshot, newest: StoredCheckpoint | undefined): boolean {
    const top = entries[0]
    if (top === undefined || newest === undefined) return true
    const { segmentCells } = this.#geometry
    return Math.floor(newest.last.position / segmentCells) <= Math.floor(top.position / segmentCells)
  }

  #keptFrom({ last }: StoredCheckpoint, metadata: LogMetadata): number {
    const { segmentCells, segments, area } = this.#geometry
    const end = last.position + last.cells
    const within = (Math.floor((end - 1) / segmentCells) - segments + 1) * segmentCells
    // What is reserved may be overwritten at any moment, or have been before a crash.
    return Math.max(within, metadata.reserved - area.cells)
  }

  /**
   * With entries for the oldest segments that are kept, if both copies have lost these: what lies in front of the oldest entry
   * is not led to by any other. Most often one large record reaches over the segments that have none.
   */
  async #withOldest(snapshot: Snapshot, newest: StoredCheckpoint | undefined, deadline: Deadline): Promise<Snapshot> {
    if (newest === undefined || snapshot.rebuilt) return snapshot
    const { metadata, entries } = snapshot
    const { segmentCells, segments } = this.#geometry
    const keptFrom = Math.max(0, this.#keptFrom(newest, metadata))
    const oldest = entries.findLast(({ position }) => position >= keptFrom)
    const first: Pick<Anchor, 'position' | 'headerCrc'> = oldest ?? newest.parts[0]
    if (oldest !== undefined && oldest.part === 0 && oldest.previousSequence === 0n) return snapshot
    const segmentOf = (position: number) => Math.floor(position / segmentCells)
    const named = new Set(metadata.entries.map(({ index }) => index))
    let segment = Math.ceil(keptFrom / segmentCells)
    while (segment < segmentOf(first.position) && named.has(segment % segments)) segment++
    if (segment >= segmentOf(first.position) && oldest !== undefined) return snapshot
    const window = this.#window(deadline)
    const record = await window.header(first.position)
    if (record?.headerCrc !== first.headerCrc) return snapshot
    const found: DirectoryEntry[] = []
    let before: RecordHeader | undefined
    for (const header of [...(await this.#leadingTo(record, keptFrom, window)), ...(oldest ? [] : [record])]) {
      if (before === undefined || segmentOf(before.position) !== segmentOf(header.position)) {
        const previousSequence = before?.sequence ?? (header.part > 0 ? header.sequence : header.sequence - 1n)
        found.unshift({ ...header, index: segmentOf(header.position) % segments, previousSequence })
      }
      before = header
    }
    return { ...snapshot, entries: [...entries, ...found] }
  }

  #surveyOf({ metadata, rebuilt, ...snapshot }: Snapshot, newest: StoredCheckpoint | undefined): AppendSurvey {
    const { header } = metadata
    const witnesses = [...metadata.tips, ...metadata.entries]
    const lost = lostBehind(newest, header, metadata)
    if (newest === undefined) {
      const entriesBeyond = metadata.entries
      return { header, newest, metadata, rebuilt, entries: [], entriesBeyond, droppedThrough: 0n, witnesses, ...lost }
    }
    const end = newest.last.position + newest.last.cells
    const keptFrom = this.#keptFrom(newest, metadata)
    const entries = snapshot.entries.filter(({ position }) => position < end && position >= keptFrom)
    const oldest = entries.at(-1)
    let droppedThrough = newest.sequence - 1n
    if (oldest !== undefined) droppedThrough = oldest.part > 0 ? oldest.sequence : oldest.previousSequence
    const entriesBeyond = metadata.entries.filter(({ position }) => position >= end)
    const known = [...witnesses, newest.last]
    return {
      header,
      newest,
      metadata,
      rebuilt,
      entries,
      entriesBeyond,
      droppedThrough,
      oldest,
      witnesses: known,
      ...lost,
    }
  }

  /**
   * Where what was durable is not there: the newest of what was written after it in the same segment. (What came into a later
   * one has an entry.)
   */
  async #beyond(
    { anchors, metadata }: Snapshot,
    newest: StoredCheckpoint | undefined,
    deadline: Deadline,
    accept: Accept,
  ): Promise<StoredCheckpoint | undefined> {
    const [top] = anchors
    if (top === undefined) return undefined
    const { segmentCells } = this.#geometry
    const from = newest === undefined ? top.position : newest.last.position + newest.last.cells
    const to = (Math.floor(top.position / segmentCells) + 1) * segmentCells
    const window = this.#window(deadline)
    const assembler = new Assembler()
    const candidates: StoredCheckpoint[] = []
    let last: RecordHeader | undefined
    for (const record of await window.scan(from, to)) {
      if (last !== undefined && !continues(last, record)) assembler.reset()
      last = record
      const stored = assembler.add(record)
      if (stored !== undefined && stored.sequence > metadata.durableSequence) candidates.push(stored)
    }
    candidates.sort((a, b) => compareOrder(b, a))
    for (const stored of candidates) if (await accept(stored, window)) return stored
    return undefined
  }

  /** The newest whole checkpoint; certain when it was found by the directory's newest entry. */
  async #newest(
    snapshot: Snapshot,
    deadline: Deadline,
    accept: Accept,
  ): Promise<{ newest: StoredCheckpoint | undefined; certain: boolean }> {
    let unfinished: bigint | undefined
    let certain = true
    for (const entry of snapshot.anchors) {
      // Earlier parts of a stream that has no end yet lead nowhere.
      if (entry.sequence === unfinished) continue
      const window = this.#window(deadline)
      const unfinishedBefore = unfinished
      const run = await this.#run(entry, unfinished, window)
      for (let end = run.length; end > 0; ) {
        let start = end - 1
        while (start > 0 && (run[start]?.part ?? 0) > 0) start--
        const group = run.slice(start, end)
        const last = group.at(-1) as RecordHeader
        if (!isLast(last)) {
          if (end === run.length) unfinished = last.sequence
        } else if (group[0]?.part === 0) {
          const stored = storedOf(group)
          if (stored !== undefined && (await accept(stored, window))) return { newest: stored, certain }
        } else {
          const item = await this.#gather(last.sequence, snapshot.anchors, deadline)
          if (item !== undefined && (await accept(item.stored, item.window))) return { newest: item.stored, certain }
        }
        end = start
      }
      if (unfinished === unfinishedBefore) certain = false
    }
    return { newest: undefined, certain: snapshot.anchors.length === 0 }
  }

  /** The chain of records from an entry's on; none when the entry's is not there. */
  async #run(entry: Anchor, until: bigint | undefined, window: RecordWindow): Promise<RecordHeader[]> {
    const run: RecordHeader[] = []
    let header = await window.header(entry.position)
    if (header?.headerCrc !== entry.headerCrc) return run
    while (header !== undefined && header.sequence !== until) {
      run.push(header)
      header = await window.next(header)
    }
    return run
  }

  async #gather(sequence: bigint, ordered: readonly Anchor[], deadline: Deadline): Promise<Item | undefined> {
    const anchors = ordered.filter(
      (anchor) => anchor.sequence < sequence || (anchor.sequence === sequence && anchor.part === 0),
    )
    // The nearest entry may name what a crash took, where the log then went on another way.
    for (const anchor of anchors.slice(0, mostAnchors)) {
      const window = this.#window(deadline)
      const assembler = new Assembler()
      let header = await window.header(anchor.position)
      if (header?.headerCrc !== anchor.headerCrc) continue
      while (header !== undefined && header.sequence <= sequence) {
        const stored = assembler.add(header)
        if (stored?.sequence === sequence) return { stored, window }
        header = await window.next(header)
      }
    }
    // It may lie behind a hole.
    const next = ordered.findLast((anchor) => anchor.sequence > sequence)
    const [previous] = anchors
    if (next === undefined) return undefined
    const window = this.#window(deadline)
    const record = await window.header(next.position)
    if (record?.headerCrc !== next.headerCrc) return undefined
    const from = previous?.position ?? next.position - this.#geometry.area.cells
    const assembler = new Assembler()
    for (const before of await this.#leadingTo(record, Math.max(from, 0), window)) {
      const stored = assembler.add(before)
      if (stored?.sequence === sequence) return { stored, window }
    }
    return undefined
  }

  #window(deadline: Deadline): RecordWindow {
    return new RecordWindow(this.#access, this.#geometry.area, this.#instance, deadline)
  }
}

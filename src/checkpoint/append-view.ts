/** Reading an append log: its newest record by the directory, others by walking the chain from the entry before them. */
import { pause } from '../call/timer.js'
import { CheckpointError } from '../errors.js'
import { AppendTail } from './append-tail.js'
import type { Deadline } from './deadline.js'
import { type DirectoryEntry, orderEntries, parseEntry } from './directory.js'
import { type AppendGeometry, cellBytes, entryBytes } from './geometry.js'
import { type LogHeader, readLogHeader } from './log-header.js'
import {
  type Accept,
  type Age,
  Assembler,
  type Found,
  foundOf,
  type Gap,
  type Item,
  type LogView,
  largestAssembledBytes,
  type Survey,
  type SurveyOptions,
  type Verdict,
  verifyFound,
} from './log-view.js'
import { outrun } from './missing.js'
import { type Crc32c, compareAge, greater, isLast, type RecordHeader } from './record-header.js'
import { RecordWindow } from './record-window.js'
import type { RegionReadAccess } from './region-access.js'
import { isDelta, Restorer } from './restore.js'
import { isVerified, noteVerified } from './verified.js'

export interface AppendSurvey extends Survey {
  /** Entries of what is kept, newest first. */
  readonly entries: readonly DirectoryEntry[]
  /** Entries left over from an undone stream or a lost suffix, which name places behind the newest record. */
  readonly entriesBeyond: readonly DirectoryEntry[]
  /** The directory's bytes as read. */
  readonly directory: Uint8Array
}

export interface UnnamedSegment {
  readonly first: RecordHeader
  /** Sequence of the record before it in the log. */
  readonly previousSequence: bigint
}

interface Snapshot {
  readonly bytes: Uint8Array
  readonly header: LogHeader
  readonly entries: readonly DirectoryEntry[]
  readonly ordered: readonly DirectoryEntry[]
}

const mostAttempts = 40
/** Entries tried to find one record. */
const mostAnchors = 4
/** Then a sound newest is taken with a directory that is behind it. */
const mostAttemptsForDirectory = 5

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
      // It was where the directory says. Else the log may have moved on under this reader's hands.
      if (certain && (newestOnly || this.#fits(snapshot, newest))) return this.#surveyOf(snapshot, newest)
      const again = await this.#snapshot(deadline, writing)
      if (equal(again.bytes, snapshot.bytes)) return this.#surveyOf(snapshot, newest)
      if (newest !== undefined && attempt >= mostAttemptsForDirectory) return this.#surveyOf(snapshot, newest)
      if (attempt >= mostAttempts) throw outrun()
      snapshot = again
      if (attempt > 2) await pause(1, deadline.signal)
    }
  }

  /** Position of the first record that a checkpoint needs. */
  async startOf(found: Found, deadline: Deadline): Promise<number> {
    const [{ position, baseSequence }] = found.parts
    if (!isDelta(found)) return position
    return (await this.find(baseSequence, deadline))?.found.parts[0].position ?? position
  }

  /** Whether all of a checkpoint is there, what a delta builds on too. */
  async isWhole(found: Found, window: RecordWindow, deadline: Deadline): Promise<boolean> {
    const access = this.#access
    if (isVerified(access, found)) return true
    if (isDelta(found)) {
      const restorer = new Restorer(access, (sequence, until) => this.find(sequence, until))
      return (await restorer.bytes(found, window, deadline)) instanceof Uint8Array
    }
    const { unitStart } = access
    const whole = await verifyFound(found, window)
    if (whole) noteVerified(access, unitStart, found)
    return whole
  }

  #holds(deadline: Deadline): Accept {
    return (found, window) => this.isWhole(found, window, deadline)
  }

  async find(sequence: bigint, deadline: Deadline): Promise<Item | undefined> {
    const { ordered } = await this.#snapshot(deadline, false)
    return this.#gather(sequence, ordered, deadline)
  }

  async *checkpoints(
    survey: AppendSurvey,
    after: Age | undefined,
    deadline: Deadline,
    wholeBatch: boolean,
  ): AsyncGenerator<Item | Gap> {
    const { newest, header } = survey
    if (newest === undefined || newest.sequence < header.firstSequence) return
    const entries = survey.entries.toReversed()
    const wanted = (found: Age) =>
      found.sequence >= header.firstSequence && (after === undefined || compareAge(found, after) > 0)
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
    let broken: { position: number; sequence: bigint } | undefined
    const seen = () => greater(greater(after?.sequence ?? 0n, header.firstSequence - 1n), last?.sequence ?? 0n)
    const gapThrough = async (sequence: bigint, next: RecordHeader | undefined): Promise<Gap | undefined> => {
      if (broken === undefined || sequence <= seen()) return undefined
      return { gap: await this.#verdict(broken, last, next, deadline), sequence: broken.sequence }
    }
    for (let entry = entries[index]; entry !== undefined; entry = entries[++index]) {
      const reached = last === undefined ? entry.position : last.position + last.cells
      if (entry.position < reached) continue
      const first = await window.header(entry.position)
      const found = first?.headerCrc === entry.headerCrc ? first : undefined
      if (found === undefined || (last !== undefined && found.previousCrc !== last.headerCrc)) {
        assembler.reset()
        broken ??= { position: reached, sequence: last === undefined ? entry.sequence : last.sequence + 1n }
        if (found === undefined) continue
      }
      const gap = await gapThrough(entry.part > 0 ? entry.sequence : entry.previousSequence, found)
      if (gap !== undefined) yield gap
      broken = undefined
      for (let current: RecordHeader | undefined = found; current !== undefined; current = await window.next(current)) {
        if (current.position >= end) return
        last = current
        const whole = assembler.add(current)
        if (whole !== undefined && wanted(whole)) yield { found: whole, window }
      }
    }
    if (last !== undefined && last.position + last.cells >= end) return
    broken ??=
      last === undefined
        ? { position: newest.parts[0].position, sequence: newest.sequence }
        : { position: last.position + last.cells, sequence: last.sequence + 1n }
    const gap = await gapThrough(newest.sequence, undefined)
    if (gap !== undefined) yield gap
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

  tail(survey: AppendSurvey): AppendTail {
    return new AppendTail(this.#access, this.#geometry, this.#instance, survey)
  }

  async judge(header: RecordHeader, deadline: Deadline): Promise<Verdict> {
    return this.#verdict(header, header, await this.#window(deadline).next(header), deadline)
  }

  /**
   * @param missing the first that is
   * @param before the sound record in front of it, or its own header when only the payload fails
   * @param next the first sound record behind what is missing
   */
  async #verdict(
    missing: { position: number; sequence: bigint },
    before: RecordHeader | undefined,
    next: RecordHeader | undefined,
    deadline: Deadline,
  ): Promise<Verdict> {
    const { newest, header } = await this.survey(deadline)
    if (newest === undefined || missing.sequence < header.firstSequence) return 'lost'
    // Not the newest record's word: the owner may have gone on behind what a crash had taken.
    const durable = next !== undefined && missing.sequence <= next.durableSequence
    if (missing.position >= this.#safeFrom(newest) && !durable) return 'lost'
    if (durable && missing.position >= this.#untouchedFrom(newest)) return 'damaged'
    if (durable || before === undefined) return 'lapped'
    // A writer that came round would have met the record before it first.
    return (await this.isThere(before, deadline)) ? 'lost' : 'lapped'
  }

  async isThere(
    { position, headerCrc }: Pick<RecordHeader, 'position' | 'headerCrc'>,
    deadline: Deadline,
  ): Promise<boolean> {
    return (await this.#window(deadline).header(position, true))?.headerCrc === headerCrc
  }

  async judgeBase(sequence: bigint, { last }: Found, deadline: Deadline): Promise<Verdict> {
    const { newest, entries } = await this.survey(deadline, { accept: async () => true })
    if (newest === undefined) return 'lost'
    // A chain is no longer than the largest checkpoint.
    const from = Math.max(0, last.position + last.cells - this.#geometry.area.maximumCells)
    const durable = sequence <= last.durableSequence
    if (durable) return from >= this.#untouchedFrom(newest) ? 'damaged' : 'lapped'
    if (from >= this.#safeFrom(newest)) return 'lost'
    // A writer that came round would have met what lies before it first.
    for (const entry of entries) {
      if (entry.sequence >= sequence || entry.position >= last.position) continue
      if (await this.isThere(entry, deadline)) return 'lost'
    }
    return 'lapped'
  }

  /**
   * A writer may go on as far as to the segment of the newest durable record, and a crash may take all that but leave what it
   * did to the lap before: from here on, in the newest record's segment and behind, nothing can have been overwritten.
   */
  #untouchedFrom({ parts }: Found): number {
    const { segmentCells } = this.#geometry
    return Math.floor(parts[0].position / segmentCells) * segmentCells
  }

  /** A record being written, or left torn, may reach as far as the largest would: nothing is safe below this position. */
  #safeFrom({ last }: Found): number {
    const { segmentCells, segments, area } = this.#geometry
    const reach = last.position + last.cells + area.maximumCells - 1
    return (Math.floor(reach / segmentCells) - segments + 1) * segmentCells
  }

  async #snapshot(deadline: Deadline, writing: boolean): Promise<Snapshot> {
    const { directoryOffset, segments, marks } = this.#geometry
    const bytes = new Uint8Array(directoryOffset + (segments + marks) * entryBytes)
    await this.#access.readInto([{ offset: 0, bytes }], deadline.rest())
    const header = readLogHeader(
      bytes.subarray(0, directoryOffset),
      this.#geometry,
      this.#instance,
      writing,
      this.#crc32c,
    )
    const entries: DirectoryEntry[] = []
    for (let index = 0; index < segments + marks; index++) {
      const start = directoryOffset + index * entryBytes
      const entry = parseEntry(
        bytes.subarray(start, start + entryBytes),
        index,
        this.#geometry,
        this.#instanceCrc,
        this.#crc32c,
      )
      if (entry !== undefined) entries.push(entry)
    }
    return { bytes, header, entries, ordered: orderEntries(entries, this.#geometry) }
  }

  /** Whether the directory read knows the segment of the newest record. */
  #fits({ ordered }: Snapshot, newest: Found | undefined): boolean {
    const top = ordered[0]
    if (top === undefined || newest === undefined) return true
    const { segmentCells } = this.#geometry
    return Math.floor(newest.last.position / segmentCells) <= Math.floor(top.position / segmentCells)
  }

  #surveyOf(snapshot: Snapshot, newest: Found | undefined): AppendSurvey {
    const directory = snapshot.bytes.subarray(this.#geometry.directoryOffset)
    const { header } = snapshot
    if (newest === undefined) {
      return { header, newest, directory, entries: [], entriesBeyond: snapshot.entries, droppedThrough: 0n }
    }
    const { segmentCells, segments } = this.#geometry
    const end = newest.last.position + newest.last.cells
    const keptFrom = (Math.floor((end - 1) / segmentCells) - segments + 1) * segmentCells
    const entries = snapshot.ordered.filter(({ position }) => position < end && position >= keptFrom)
    const oldest = entries.at(-1)
    let droppedThrough = newest.sequence - 1n
    if (oldest !== undefined) droppedThrough = oldest.part > 0 ? oldest.sequence : oldest.previousSequence
    const entriesBeyond = snapshot.entries.filter(({ position }) => position >= end)
    return { header, newest, directory, entries, entriesBeyond, droppedThrough, oldest }
  }

  /** The newest whole checkpoint; certain when it was found by the directory's newest entry. */
  async #newest(
    snapshot: Snapshot,
    deadline: Deadline,
    accept: Accept,
  ): Promise<{ newest: Found | undefined; certain: boolean }> {
    let unfinished: bigint | undefined
    let certain = true
    for (const entry of snapshot.ordered) {
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
          const found = foundOf(group)
          if (found !== undefined && (await accept(found, window))) return { newest: found, certain }
        } else {
          const item = await this.#gather(last.sequence, snapshot.ordered, deadline)
          if (item !== undefined && (await accept(item.found, item.window))) return { newest: item.found, certain }
        }
        end = start
      }
      if (unfinished === unfinishedBefore) certain = false
    }
    return { newest: undefined, certain: snapshot.ordered.length === 0 }
  }

  /** The chain of records from an entry's on; none when the entry's is not there. */
  async #run(entry: DirectoryEntry, until: bigint | undefined, window: RecordWindow): Promise<RecordHeader[]> {
    const run: RecordHeader[] = []
    let header = await window.header(entry.position)
    if (header?.headerCrc !== entry.headerCrc) return run
    while (header !== undefined && header.sequence !== until) {
      run.push(header)
      header = await window.next(header)
    }
    return run
  }

  async #gather(sequence: bigint, ordered: readonly DirectoryEntry[], deadline: Deadline): Promise<Item | undefined> {
    const anchors = ordered.filter(
      (entry) => entry.sequence < sequence || (entry.sequence === sequence && entry.part === 0),
    )
    // The nearest entry may name what a crash took, where the log then went on another way.
    for (const anchor of anchors.slice(0, mostAnchors)) {
      const window = this.#window(deadline)
      const assembler = new Assembler()
      let header = await window.header(anchor.position)
      if (header?.headerCrc !== anchor.headerCrc) continue
      while (header !== undefined && header.sequence <= sequence) {
        const found = assembler.add(header)
        if (found?.sequence === sequence) return { found, window }
        header = await window.next(header)
      }
    }
    return undefined
  }

  #window(deadline: Deadline): RecordWindow {
    return new RecordWindow(this.#access, this.#geometry.area, this.#instance, deadline)
  }
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index])
}

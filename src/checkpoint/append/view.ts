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
  type SurveyOptions,
  type Verdict,
} from '../log-view.js'
import { isHeaderLost, sameMetadata } from '../metadata/copies.js'
import { durableWithin } from '../metadata/directory.js'
import { headerLost } from '../metadata/log-header.js'
import { outrun } from '../missing.js'
import { continues, isBridge, isLast, numberBefore, type RecordHeader } from '../record/header.js'
import { compareOrder, greater, type LogOrder } from '../record/order.js'
import { Assembler, largestAssembledBytes, type StoredCheckpoint, verifyStored } from '../record/stored.js'
import type { RecordWindow } from '../record/window.js'
import type { RegionReadAccess } from '../region-access.js'
import { isVerified, noteVerified } from '../verified.js'
import { findBeyond, findNewest } from './newest.js'
import { Ring } from './ring.js'
import { readSnapshot } from './snapshot.js'
import { type AppendSurvey, anchorsFrom, fits, surveyOf, withOldest } from './survey.js'
import { AppendTail } from './tail.js'
import { verdictOnBase, verdictOnGap } from './verdict.js'

const mostAttempts = 40
/** Then a sound newest is taken with a directory that is behind it. */
const mostAttemptsForDirectory = 5

export class AppendView implements LogView<AppendSurvey> {
  readonly ring: Ring

  constructor(access: RegionReadAccess, geometry: AppendGeometry, instance: Uint8Array) {
    this.ring = new Ring(access, geometry, instance)
  }

  relyOn(durableSequence: () => bigint): void {
    this.ring.durableSequence = durableSequence
  }

  async survey(
    deadline: Deadline,
    { writing = false, newestOnly = false, accept = this.#holds(deadline) }: SurveyOptions = {},
  ): Promise<AppendSurvey> {
    let snapshot = await readSnapshot(this.ring, deadline, writing)
    for (let attempt = 0; ; attempt++) {
      const { newest, certain } = await findNewest(this.ring, snapshot, deadline, accept)
      const { damaged } = lostBehind(newest, snapshot.metadata.header, snapshot.metadata)
      const unheaded = isHeaderLost(snapshot.metadata, newest?.last)
      // It was where the directory says. Else the log may have moved on under this reader's hands.
      if (certain && damaged === undefined && !unheaded && (newestOnly || fits(this.ring, snapshot, newest))) {
        return surveyOf(
          this.ring,
          newestOnly ? snapshot : await withOldest(this.ring, snapshot, newest, deadline),
          newest,
        )
      }
      const again = await readSnapshot(this.ring, deadline, writing)
      if (sameMetadata(again.metadata, snapshot.metadata)) {
        if (unheaded) throw headerLost()
        const behind = damaged === undefined ? newest : await findBeyond(this.ring, snapshot, newest, deadline, accept)
        const end = behind ?? newest
        return surveyOf(this.ring, newestOnly ? snapshot : await withOldest(this.ring, snapshot, end, deadline), end)
      }
      if (newest !== undefined && !unheaded && attempt >= mostAttemptsForDirectory) {
        return { ...surveyOf(this.ring, snapshot, newest), damaged: undefined, missing: undefined }
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
    return (await this.find(baseSequence, deadline, stored))?.stored.parts[0].position ?? position
  }

  /** Whether all of a checkpoint is there, what a delta builds on too. */
  async isWhole(stored: StoredCheckpoint, window: RecordWindow, deadline: Deadline): Promise<boolean> {
    const access = this.ring.access
    if (isVerified(access, stored)) return true
    if (isDelta(stored)) {
      const restorer = new Restorer(access, (base, until, through) => this.find(base, until, through))
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

  async find(sequence: bigint, deadline: Deadline, through?: StoredCheckpoint): Promise<Item | undefined> {
    const { anchors } = await readSnapshot(this.ring, deadline, false)
    if (through === undefined) return this.ring.gather(sequence, anchors, deadline)
    const before = anchors.filter(({ position }) => position < through.parts[0].position)
    return this.ring.gather(sequence, [through.parts[0], ...before], deadline)
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
    const window = this.ring.window(deadline)
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
      return verdictOnGap(this.ring, await this.survey(deadline), { position, sequence, through }, last, next, deadline)
    }
    const anchors = anchorsFrom(survey, entries[index]?.position ?? 0)
    for await (const record of this.ring.walk(anchors, window, survey.metadata)) {
      if (record.position >= end) return
      const before = isBridge(record) ? record.sequence : numberBefore(record)
      if (last === undefined ? record.position !== entries[index]?.position : !continues(last, record)) {
        assembler.reset()
        const gap = await gapBefore(record, before)
        if (gap !== undefined) yield gap
      } else if (isBridge(record)) {
        if (before > seen())
          yield { gap: 'lost', sequence: seen() + 1n, to: before, epoch: last?.epoch ?? record.epoch }
      } else if (last !== undefined && record.durableSequence > seen() && before > seen()) {
        // The owner that went on here knew that there had been others.
        const was = durableWithin(seen() + 1n, before, [record])
        if (was !== undefined) yield { gap: 'damaged', sequence: was.from, to: was.to, epoch: last.epoch }
      }
      last = record
      const whole = assembler.add(record)
      if (whole !== undefined && wanted(whole)) yield { stored: whole, window }
    }
    if (last !== undefined && last.position + last.cells >= end) return
    const gap = await gapBefore(undefined, newest.sequence)
    if (gap !== undefined) yield gap
  }

  tail(survey: AppendSurvey): AppendTail {
    const { access, geometry, instance } = this.ring
    return new AppendTail(access, geometry, instance, survey)
  }

  async judge(header: RecordHeader, deadline: Deadline): Promise<Verdict> {
    const { position, sequence } = header
    const next = await this.ring.window(deadline).next(header)
    const { gap } = await verdictOnGap(
      this.ring,
      await this.survey(deadline),
      { position, sequence, through: sequence },
      header,
      next,
      deadline,
    )
    return gap
  }

  isThere(record: Pick<RecordHeader, 'position' | 'headerCrc'>, deadline: Deadline): Promise<boolean> {
    return this.ring.isThere(record, deadline)
  }

  async judgeBase(sequence: bigint, delta: StoredCheckpoint, deadline: Deadline): Promise<Verdict> {
    const survey = await this.survey(deadline, { accept: async () => true })
    return verdictOnBase(this.ring, survey, sequence, delta, deadline)
  }
}

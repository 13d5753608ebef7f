/** Reading an overwrite region: two slots, of which the newer that is whole counts. */
import { newBytes } from '../../call/new-bytes.js'
import { pause } from '../../call/timer.js'
import type { Deadline } from '../deadline.js'
import { cellBytes, type OverwriteGeometry } from '../geometry.js'
import {
  type Gap,
  type Item,
  type LogView,
  lostBehind,
  type Survey,
  type SurveyOptions,
  type Verdict,
} from '../log-view.js'
import { isHeaderLost, type LogMetadata, metadataRanges, parseMetadata, withDurable } from '../metadata/copies.js'
import { headerLost } from '../metadata/log-header.js'
import { outrun } from '../missing.js'
import type { RecordHeader } from '../record/header.js'
import { compareOrder, greater, type LogOrder } from '../record/order.js'
import { Assembler, type StoredCheckpoint, verifyStored } from '../record/stored.js'
import { RecordWindow } from '../record/window.js'
import type { RegionReadAccess } from '../region-access.js'
import { isVerified, noteVerified } from '../verified.js'
import { OverwriteTail } from './tail.js'

export interface OverwriteSurvey extends Survey {
  readonly window: RecordWindow | undefined
  /** Greatest sequence seen in a record header, whole checkpoint or not, and in the metadata. */
  readonly greatestSequence: bigint
  /** As read. */
  readonly metadata: LogMetadata
}

const slotStartBytes = 16_384
const mostAttempts = 40

export class OverwriteView implements LogView<OverwriteSurvey> {
  readonly #access: RegionReadAccess
  readonly #geometry: OverwriteGeometry
  readonly #instance: Uint8Array
  readonly #instanceCrc: number
  #durableSequence: () => bigint = () => 0n

  constructor(access: RegionReadAccess, geometry: OverwriteGeometry, instance: Uint8Array) {
    this.#access = access
    this.#geometry = geometry
    this.#instance = instance
    this.#instanceCrc = access.crc32c(instance)
  }

  relyOn(durableSequence: () => bigint): void {
    this.#durableSequence = durableSequence
  }

  async survey(
    deadline: Deadline,
    { writing = false, accept = (stored, window) => this.isWhole(stored, window) }: SurveyOptions = {},
  ): Promise<OverwriteSurvey> {
    let previous = ''
    for (let attempt = 0; ; attempt++) {
      const { metadata, items, greatestSequence } = await this.#slots(deadline, writing)
      const { header } = metadata
      const stamp = (stored: StoredCheckpoint) => `${stored.epoch}/${stored.sequence}/${stored.last.headerCrc}`
      const now = [header.generation, metadata.durableSequence, ...items.map(({ stored }) => stamp(stored))].join()
      const survey = (newest: StoredCheckpoint | undefined, window: RecordWindow | undefined): OverwriteSurvey => {
        const durable = metadata.durableSequence
        const lost = lostBehind(newest, header, { ...metadata, durableSequence: greatestDurable(items, durable) })
        const droppedThrough = newest === undefined ? 0n : newest.sequence - 1n
        return { header, newest, window, greatestSequence, metadata, droppedThrough, witnesses: metadata.tips, ...lost }
      }
      // The same headers twice: nobody wrote meanwhile.
      const still = (now === previous && attempt > 0) || attempt >= mostAttempts
      previous = now
      for (const [index, { stored, window }] of items.entries()) {
        if (!(await accept(stored, window))) continue
        const result = survey(stored, window)
        const unheaded = isHeaderLost(metadata, stored.last)
        if ((result.damaged !== undefined || unheaded) && !still) break
        if (unheaded) throw headerLost()
        // The other slot holds no older checkpoint, so it was being written, and more than once if this slot was read
        // first. Only while this slot stays as it is can no newer checkpoint have been whole before.
        const newest = index === 0 && items.length === 2
        if (!newest && attempt < mostAttempts && !(await this.isThere(stored.last, deadline))) break
        return result
      }
      // Both torn: a writer went round while this was reading.
      if (still) {
        if (isHeaderLost(metadata, undefined)) throw headerLost()
        const result = survey(undefined, undefined)
        // A writer that never rests: what it made durable is not damaged.
        if (result.damaged !== undefined && attempt >= mostAttempts) throw outrun()
        return result
      }
      if (attempt > 2) await pause(1, deadline.signal)
    }
  }

  async find(sequence: bigint, deadline: Deadline): Promise<Item | undefined> {
    const { items } = await this.#slots(deadline, false)
    return items.find(({ stored }) => stored.sequence === sequence)
  }

  async *checkpoints(survey: OverwriteSurvey, after: LogOrder | undefined): AsyncGenerator<Item | Gap> {
    const { newest, window, header, damaged } = survey
    if (newest !== undefined && window !== undefined && newest.sequence >= header.firstSequence) {
      if (after === undefined || compareOrder(newest, after) > 0) yield { stored: newest, window }
    }
    if (damaged === undefined || damaged.to <= (after?.sequence ?? 0n)) return
    const sequence = greater(damaged.from, (after?.sequence ?? 0n) + 1n)
    yield { gap: 'damaged', sequence, to: damaged.to, epoch: (newest ?? after)?.epoch ?? 0n }
  }

  async isWhole(stored: StoredCheckpoint, window: RecordWindow): Promise<boolean> {
    const access = this.#access
    if (isVerified(access, stored)) return true
    const { unitStart } = access
    const whole = await verifyStored(stored, window)
    if (whole) noteVerified(access, unitStart, stored)
    return whole
  }

  async isThere(record: RecordHeader, deadline: Deadline): Promise<boolean> {
    const { items } = await this.#slots(deadline, false)
    return items.some(
      ({ stored: { last } }) => last.position === record.position && last.headerCrc === record.headerCrc,
    )
  }

  /** There are no deltas in two slots. */
  async judgeBase(): Promise<Verdict> {
    return 'lapped'
  }

  tail(survey: OverwriteSurvey): OverwriteTail {
    return new OverwriteTail(this.#access, this.#geometry, this.#instance, survey)
  }

  async judge(header: RecordHeader, deadline: Deadline): Promise<Verdict> {
    const { newest, damaged } = await this.survey(deadline)
    if (damaged !== undefined && header.sequence >= damaged.from && header.sequence <= damaged.to) return 'damaged'
    if (newest === undefined) return 'lost'
    return compareOrder(newest, header) > 0 ? 'lapped' : 'lost'
  }

  /** What the two slots hold, newer first. */
  async #slots(deadline: Deadline, writing: boolean) {
    const { area, slotCells } = this.#geometry
    const { copies, ranges } = metadataRanges(this.#geometry)
    const starts = [0, 1].map(() => newBytes(Math.min(slotStartBytes, slotCells * cellBytes)))
    const durableSequence = this.#durableSequence()
    await this.#access.readInto(
      [...ranges, ...starts.map((bytes, slot) => ({ offset: area.offset + slot * slotCells * cellBytes, bytes }))],
      deadline.rest(),
    )
    const read = parseMetadata(copies, this.#geometry, this.#instance, this.#instanceCrc, writing, (bytes, seed) =>
      this.#access.crc32c(bytes, seed),
    )
    const metadata = withDurable(read, durableSequence)
    const items: { stored: StoredCheckpoint; window: RecordWindow }[] = []
    let { greatestSequence } = metadata
    for (const [slot, bytes] of starts.entries()) {
      const window = new RecordWindow(this.#access, area, this.#instance, deadline)
      window.adopt(slot * slotCells, bytes)
      const assembler = new Assembler()
      let record = await window.header(slot * slotCells)
      while (record !== undefined) {
        if (record.sequence > greatestSequence) greatestSequence = record.sequence
        const end = record.position + record.cells
        if (end > (slot + 1) * slotCells) break
        const stored = assembler.add(record)
        if (stored !== undefined) items.push({ stored, window })
        if (stored !== undefined || end === (slot + 1) * slotCells) break
        record = await window.next(record)
      }
    }
    items.sort((a, b) => compareOrder(b.stored, a.stored))
    return { metadata, items, greatestSequence }
  }
}

/** What the slots' headers and the tips say. */
function greatestDurable(items: readonly { stored: StoredCheckpoint }[], durableSequence: bigint): bigint {
  return items.reduce((most, { stored }) => greater(most, stored.last.durableSequence), durableSequence)
}

/** Reading an overwrite region: two slots, of which the newer that is whole counts. */

import { pause } from '../call/timer.js'
import type { Deadline } from './deadline.js'
import { cellBytes, logHeaderBytes, type OverwriteGeometry } from './geometry.js'
import { readLogHeader } from './log-header.js'
import {
  type Age,
  Assembler,
  type Found,
  type Gap,
  type Item,
  type LogView,
  type Survey,
  type SurveyOptions,
  type Verdict,
  verifyFound,
} from './log-view.js'
import { OverwriteTail } from './overwrite-tail.js'
import { compareAge, type RecordHeader } from './record-header.js'
import { RecordWindow } from './record-window.js'
import type { RegionReadAccess } from './region-access.js'
import { isVerified, noteVerified } from './verified.js'

export interface OverwriteSurvey extends Survey {
  readonly window: RecordWindow | undefined
  /** Greatest sequence seen in a record header, whole checkpoint or not. */
  readonly greatestSequence: bigint
}

const slotStartBytes = 16_384
const mostAttempts = 40

export class OverwriteView implements LogView<OverwriteSurvey> {
  readonly #access: RegionReadAccess
  readonly #geometry: OverwriteGeometry
  readonly #instance: Uint8Array

  constructor(access: RegionReadAccess, geometry: OverwriteGeometry, instance: Uint8Array) {
    this.#access = access
    this.#geometry = geometry
    this.#instance = instance
  }

  async survey(
    deadline: Deadline,
    { writing = false, accept = (found, window) => this.isWhole(found, window) }: SurveyOptions = {},
  ): Promise<OverwriteSurvey> {
    let previous = ''
    for (let attempt = 0; ; attempt++) {
      const { header, items, greatestSequence } = await this.#slots(deadline, writing)
      for (const [index, { found, window }] of items.entries()) {
        if (!(await accept(found, window))) continue
        // The other slot holds no older checkpoint, so it was being written, and more than once if this slot was read
        // first. Only while this slot stays as it is can no newer checkpoint have been whole before.
        const newest = index === 0 && items.length === 2
        if (!newest && attempt < mostAttempts && !(await this.isThere(found.last, deadline))) break
        return { header, newest: found, window, greatestSequence, droppedThrough: found.sequence - 1n }
      }
      // Both torn: a writer went round while this was reading. The same headers twice: nobody did.
      const now = items.map(({ found }) => `${found.epoch}/${found.sequence}/${found.last.headerCrc}`).join()
      if ((now === previous && attempt > 0) || attempt >= mostAttempts) {
        return { header, newest: undefined, window: undefined, greatestSequence, droppedThrough: 0n }
      }
      previous = now
      if (attempt > 2) await pause(1, deadline.signal)
    }
  }

  async find(sequence: bigint, deadline: Deadline): Promise<Item | undefined> {
    const { items } = await this.#slots(deadline, false)
    return items.find(({ found }) => found.sequence === sequence)
  }

  async *checkpoints(survey: OverwriteSurvey, after: Age | undefined): AsyncGenerator<Item | Gap> {
    const { newest, window, header } = survey
    if (newest === undefined || window === undefined || newest.sequence < header.firstSequence) return
    if (after === undefined || compareAge(newest, after) > 0) yield { found: newest, window }
  }

  async isWhole(found: Found, window: RecordWindow): Promise<boolean> {
    const access = this.#access
    if (isVerified(access, found)) return true
    const { unitStart } = access
    const whole = await verifyFound(found, window)
    if (whole) noteVerified(access, unitStart, found)
    return whole
  }

  async isThere(record: RecordHeader, deadline: Deadline): Promise<boolean> {
    const { items } = await this.#slots(deadline, false)
    return items.some(({ found: { last } }) => last.position === record.position && last.headerCrc === record.headerCrc)
  }

  /** There are no deltas in two slots. */
  async judgeBase(): Promise<Verdict> {
    return 'lapped'
  }

  tail(survey: OverwriteSurvey): OverwriteTail {
    return new OverwriteTail(this.#access, this.#geometry, this.#instance, survey)
  }

  async judge(header: RecordHeader, deadline: Deadline): Promise<Verdict> {
    const { newest } = await this.survey(deadline)
    if (newest === undefined) return header.sequence <= header.durableSequence ? 'damaged' : 'lost'
    return compareAge(newest, header) > 0 ? 'lapped' : 'lost'
  }

  /** What the two slots hold, newer first. */
  async #slots(deadline: Deadline, writing: boolean) {
    const { area, slotCells } = this.#geometry
    const copies = new Uint8Array(2 * logHeaderBytes)
    const starts = [0, 1].map(() => new Uint8Array(Math.min(slotStartBytes, slotCells * cellBytes)))
    await this.#access.readInto(
      [
        { offset: 0, bytes: copies },
        ...starts.map((bytes, slot) => ({ offset: area.offset + slot * slotCells * cellBytes, bytes })),
      ],
      deadline.rest(),
    )
    const header = readLogHeader(copies, this.#geometry, this.#instance, writing, (bytes, seed) =>
      this.#access.crc32c(bytes, seed),
    )
    const items: { found: Found; window: RecordWindow }[] = []
    let greatestSequence = 0n
    for (const [slot, bytes] of starts.entries()) {
      const window = new RecordWindow(this.#access, area, this.#instance, deadline)
      window.adopt(slot * slotCells, bytes)
      const assembler = new Assembler()
      let record = await window.header(slot * slotCells)
      while (record !== undefined) {
        if (record.sequence > greatestSequence) greatestSequence = record.sequence
        const end = record.position + record.cells
        if (end > (slot + 1) * slotCells) break
        const found = assembler.add(record)
        if (found !== undefined) items.push({ found, window })
        if (found !== undefined || end === (slot + 1) * slotCells) break
        record = await window.next(record)
      }
    }
    items.sort((a, b) => compareAge(b.found, a.found))
    return { header, items, greatestSequence }
  }
}

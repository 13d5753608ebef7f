/** Where a follower of an append log waits: the place behind the last record, and what shows that the log went another way. */
import { newBytes } from '../../call/new-bytes.js'
import type { Deadline } from '../deadline.js'
import { type AppendGeometry, cellBytes, physicalRanges, recordHeaderBytes } from '../geometry.js'
import type { Item, Survey, Tail } from '../log-view.js'
import { headersBytes, readHeaders } from '../metadata/copies.js'
import type { LogHeader } from '../metadata/log-header.js'
import { type Crc32c, continues, isBridge, isLast, parseRecordHeader, type RecordHeader } from '../record/header.js'
import { type StoredCheckpoint, storedOf } from '../record/stored.js'
import { RecordWindow } from '../record/window.js'
import type { RegionReadAccess } from '../region-access.js'

/** Read ahead of the place while records keep coming; only the header where they do not. */
const leastAheadBytes = 4096
const mostAheadBytes = 262_144
/** What was read ahead is used this long: a clear or a loss since then is seen no later. */
const freshMs = 20

export class AppendTail implements Tail {
  header: LogHeader
  readonly #access: RegionReadAccess
  readonly #geometry: AppendGeometry
  readonly #instance: Uint8Array
  readonly #instanceCrc: number
  readonly #crc32c: Crc32c
  readonly #copies: [Uint8Array, Uint8Array] = [new Uint8Array(headersBytes), new Uint8Array(headersBytes)]
  /** The last record that belongs to a whole checkpoint; undefined in an empty log. */
  #anchor: RecordHeader | undefined
  /** Parts behind it of a stream that has no end yet. */
  #parts: RecordHeader[] = []
  #aheadBytes = recordHeaderBytes
  #window: RecordWindow | undefined
  #readAt = 0

  constructor(access: RegionReadAccess, geometry: AppendGeometry, instance: Uint8Array, survey: Survey) {
    this.#access = access
    this.#geometry = geometry
    this.#instance = instance
    this.#instanceCrc = access.crc32c(instance)
    this.#crc32c = (bytes, seed) => access.crc32c(bytes, seed)
    this.header = survey.header
    this.#anchor = survey.newest?.last
  }

  async poll(deadline: Deadline): Promise<Item | 'moved' | undefined> {
    return (await this.#fromWindow(deadline)) ?? this.#look(deadline)
  }

  advance(stored: StoredCheckpoint): void {
    this.#anchor = stored.last
    this.#parts = []
  }

  get #tip(): RecordHeader | undefined {
    return this.#parts.at(-1) ?? this.#anchor
  }

  async #fromWindow(deadline: Deadline): Promise<Item | 'moved' | undefined> {
    const [window, tip] = [this.#window, this.#tip]
    if (window === undefined || tip === undefined || performance.now() - this.#readAt > freshMs) return undefined
    if (!window.holds(tip.position + tip.cells)) return undefined
    window.renew(deadline)
    return this.#walk(window, tip)
  }

  async #look(deadline: Deadline): Promise<Item | 'moved' | undefined> {
    const { area } = this.#geometry
    const [anchor, tip] = [this.#anchor, this.#tip]
    const place = tip === undefined ? this.header.position : tip.position + tip.cells
    const ahead = newBytes(Math.min(this.#aheadBytes, area.cells * cellBytes))
    const witnesses = new Set([anchor, tip].filter((record) => record !== undefined))
    const images = [...witnesses].map((record) => ({ record, bytes: new Uint8Array(recordHeaderBytes) }))
    await this.#access.readInto(
      [
        ...this.#ranges(place, ahead),
        ...images.flatMap(({ record, bytes }) => this.#ranges(record.position, bytes)),
        ...this.#copies.map((bytes, copy) => ({ offset: this.#geometry.metadata.offsets[copy as 0 | 1], bytes })),
      ],
      deadline.rest(),
    )
    this.header = readHeaders(
      this.#copies,
      this.#geometry,
      this.#instance,
      this.#instanceCrc,
      false,
      this.#crc32c,
    ).header
    const window = new RecordWindow(this.#access, area, this.#instance, deadline)
    window.adopt(place, ahead)
    if (anchor === undefined || tip === undefined) {
      return (await window.header(place)) === undefined ? undefined : 'moved'
    }
    for (const { record, bytes } of images) {
      const now = parseRecordHeader(bytes, record.position, area, this.#instance, this.#crc32c)
      if (now?.headerCrc === record.headerCrc) continue
      if (record === anchor) return 'moved'
      // The stream was given up, and its place is taken by something else.
      this.#parts = []
      return undefined
    }
    this.#readAt = performance.now()
    const item = await this.#walk(window, tip)
    if (item === 'moved') return item
    this.#window = item === undefined ? undefined : window
    if (item === undefined) this.#aheadBytes = recordHeaderBytes
    else this.#aheadBytes = Math.min(Math.max(2 * this.#aheadBytes, leastAheadBytes), mostAheadBytes)
    return item
  }

  async #walk(window: RecordWindow, tip: RecordHeader): Promise<Item | 'moved' | undefined> {
    const first = await window.header(tip.position + tip.cells)
    let current = first !== undefined && continues(tip, first) ? first : undefined
    for (; current !== undefined; current = await window.next(current)) {
      // What it stands for has to be told.
      if (isBridge(current)) return 'moved'
      const parts = current.part === 0 ? [current] : [...this.#parts, current]
      if (isLast(current)) {
        const stored = storedOf(parts)
        return stored === undefined ? undefined : { stored, window }
      }
      this.#parts = parts
    }
    return undefined
  }

  #ranges(position: number, target: Uint8Array): { offset: number; bytes: Uint8Array }[] {
    let done = 0
    return physicalRanges(this.#geometry.area, position, target.length).map(({ offset, length }) => {
      done += length
      return { offset, bytes: target.subarray(done - length, done) }
    })
  }
}

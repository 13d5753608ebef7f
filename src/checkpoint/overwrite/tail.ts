/** Where a follower of an overwrite region waits: for a header in one of the two slots that is newer than what it has seen. */
import type { Deadline } from '../deadline.js'
import { cellBytes, type OverwriteGeometry, recordHeaderBytes } from '../geometry.js'
import type { Survey, Tail } from '../log-view.js'
import { headersBytes, readHeaders } from '../metadata/copies.js'
import type { LogHeader } from '../metadata/log-header.js'
import { type Crc32c, parseRecordHeader } from '../record/header.js'
import { compareOrder, type LogOrder } from '../record/order.js'
import type { RegionReadAccess } from '../region-access.js'

export class OverwriteTail implements Tail {
  header: LogHeader
  readonly #access: RegionReadAccess
  readonly #geometry: OverwriteGeometry
  readonly #instance: Uint8Array
  readonly #instanceCrc: number
  readonly #crc32c: Crc32c
  readonly #newest: LogOrder | undefined

  constructor(access: RegionReadAccess, geometry: OverwriteGeometry, instance: Uint8Array, survey: Survey) {
    this.#access = access
    this.#geometry = geometry
    this.#instance = instance
    this.#instanceCrc = access.crc32c(instance)
    this.#crc32c = (bytes, seed) => access.crc32c(bytes, seed)
    this.header = survey.header
    this.#newest = survey.newest
  }

  async poll(deadline: Deadline): Promise<'moved' | undefined> {
    const { area, slotCells } = this.#geometry
    const copies: [Uint8Array, Uint8Array] = [new Uint8Array(headersBytes), new Uint8Array(headersBytes)]
    const slots = [0, slotCells].map((position) => ({ position, bytes: new Uint8Array(recordHeaderBytes) }))
    await this.#access.readInto(
      [
        ...slots.map(({ position, bytes }) => ({ offset: area.offset + position * cellBytes, bytes })),
        ...copies.map((bytes, copy) => ({ offset: this.#geometry.metadata.offsets[copy as 0 | 1], bytes })),
      ],
      deadline.rest(),
    )
    this.header = readHeaders(copies, this.#geometry, this.#instance, this.#instanceCrc, false, this.#crc32c).header
    for (const { position, bytes } of slots) {
      const record = parseRecordHeader(bytes, position, area, this.#instance, this.#crc32c)
      if (record === undefined) continue
      if (this.#newest === undefined || compareOrder(record, this.#newest) > 0) return 'moved'
    }
    return undefined
  }

  advance(): void {
    // A survey finds what is next.
  }
}

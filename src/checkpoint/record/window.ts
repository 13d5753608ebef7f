/**
 * A copy of a stretch of a region's records, from which headers and payloads are taken. It reads on in growing chunks
 * while a chain of small records is followed, and only headers where records are large.
 */

import { newBytes } from '../../call/new-bytes.js'
import type { Deadline } from '../deadline.js'
import { cellBytes, type DataArea, physicalRanges, recordHeaderBytes } from '../geometry.js'
import type { RegionReadAccess } from '../region-access.js'
import { type Crc32c, continues, parseRecordHeader, type RecordHeader, recordMagic, safeNumber } from './header.js'

const firstWindowBytes = 65_536
const largestWindowBytes = 8 * 1024 * 1024
const headersOnlyBytes = 4096
/** Records from this size on are stepped over, not read through. */
const largeRecordBytes = 262_144
const verifyBytes = 4 * 1024 * 1024
const scanCells = verifyBytes / cellBytes

export class RecordWindow {
  readonly #access: RegionReadAccess
  readonly #area: DataArea
  readonly #instance: Uint8Array
  readonly #crc32c: Crc32c
  #deadline: Deadline
  #bytes = new Uint8Array(0)
  #position = 0
  #nextBytes = firstWindowBytes

  constructor(access: RegionReadAccess, area: DataArea, instance: Uint8Array, deadline: Deadline) {
    this.#access = access
    this.#area = area
    this.#instance = instance
    this.#crc32c = (bytes, seed) => access.crc32c(bytes, seed)
    this.#deadline = deadline
  }

  /** Goes on under another call's deadline. */
  renew(deadline: Deadline): void {
    this.#deadline = deadline
  }

  /** Reads these cells in one batch. */
  async fill(position: number, bytes: number): Promise<void> {
    this.#bytes = await this.#read(position, 0, Math.min(bytes, this.#area.cells * cellBytes))
    this.#position = position
  }

  /** Takes bytes that were read from there already. */
  adopt(position: number, bytes: Uint8Array<ArrayBuffer>): void {
    this.#bytes = bytes
    this.#position = position
  }

  /** Whether the header at a position can be had without a read. */
  holds(position: number): boolean {
    return this.#held(position, 0, recordHeaderBytes) !== undefined
  }

  /** The header at a position, if there is a sound one. */
  async header(position: number, afterLarge = false): Promise<RecordHeader | undefined> {
    let bytes = this.#held(position, 0, recordHeaderBytes)
    if (bytes === undefined) {
      await this.fill(position, afterLarge ? headersOnlyBytes : this.#nextBytes)
      if (!afterLarge) this.#nextBytes = Math.min(this.#nextBytes * 2, largestWindowBytes)
      bytes = this.#held(position, 0, recordHeaderBytes)
    }
    if (bytes === undefined) return undefined
    return parseRecordHeader(bytes, position, this.#area, this.#instance, this.#crc32c)
  }

  /** The record behind this one, if the log goes on there. */
  async next(header: RecordHeader): Promise<RecordHeader | undefined> {
    const following = await this.header(header.position + header.cells, header.payloadBytes >= largeRecordBytes)
    return following !== undefined && continues(header, following) ? following : undefined
  }

  /** Every sound header at a cell from one position to before another, in order. It reads all of it. */
  async scan(from: number, to: number): Promise<RecordHeader[]> {
    const found: RecordHeader[] = []
    for (let at = from; at < to; at += scanCells) {
      const cells = Math.min(scanCells, to - at)
      const bytes = await this.#read(at, 0, cells * cellBytes)
      const view = new DataView(bytes.buffer)
      for (let cell = 0; cell < cells; cell++) {
        const start = cell * cellBytes
        if (view.getUint32(start, true) !== recordMagic) continue
        const header = bytes.subarray(start, start + recordHeaderBytes)
        const record = parseRecordHeader(header, at + cell, this.#area, this.#instance, this.#crc32c)
        if (record !== undefined) found.push(record)
      }
    }
    return found
  }

  /** Every sound header in the area, whatever lap it is of. It reads all of the area. */
  async scanAll(): Promise<RecordHeader[]> {
    const found: RecordHeader[] = []
    const { cells } = this.#area
    for (let at = 0; at < cells; at += scanCells) {
      const bytes = await this.#read(at, 0, Math.min(scanCells, cells - at) * cellBytes)
      const view = new DataView(bytes.buffer)
      for (let start = 0; start < bytes.length; start += cellBytes) {
        if (view.getUint32(start, true) !== recordMagic) continue
        const position = safeNumber(view.getBigUint64(start + 112, true))
        if (position === undefined || position % cells !== at + start / cellBytes) continue
        const header = bytes.subarray(start, start + recordHeaderBytes)
        const record = parseRecordHeader(header, position, this.#area, this.#instance, this.#crc32c)
        if (record !== undefined) found.push(record)
      }
    }
    return found
  }

  /** Copies the payload to target; false when its checksum does not hold. */
  async payloadInto(header: RecordHeader, target: Uint8Array): Promise<boolean> {
    const held = this.#held(header.position, recordHeaderBytes, header.payloadBytes)
    if (held !== undefined) target.set(held)
    else await this.#readInto(header.position, recordHeaderBytes, target)
    return this.#crc32c(target) === header.payloadCrc
  }

  /** All payloads of one checkpoint, in one batch of reads; undefined when a checksum does not hold. */
  async payloads(parts: readonly RecordHeader[], bytes: number): Promise<Uint8Array<ArrayBuffer> | undefined> {
    const whole = newBytes(bytes, 'Read it with stream().')
    const targets = parts.map((part) => whole.subarray(part.offset, part.offset + part.payloadBytes))
    const wanted: { offset: number; bytes: Uint8Array }[] = []
    parts.forEach((part, index) => {
      const target = targets[index] as Uint8Array
      const held = this.#held(part.position, recordHeaderBytes, part.payloadBytes)
      if (held !== undefined) target.set(held)
      else wanted.push(...this.#ranges(part.position, recordHeaderBytes, target))
    })
    if (wanted.length > 0) await this.#access.readInto(wanted, this.#deadline.rest())
    const sound = parts.every((part, index) => this.#crc32c(targets[index] as Uint8Array) === part.payloadCrc)
    return sound ? whole : undefined
  }

  /** Whether the payload's checksum holds, without holding all of it. */
  async verify(header: RecordHeader): Promise<boolean> {
    const held = this.#held(header.position, recordHeaderBytes, header.payloadBytes)
    if (held !== undefined) return this.#crc32c(held) === header.payloadCrc
    let crc: number | undefined
    const buffer = newBytes(Math.min(verifyBytes, header.payloadBytes))
    for (let from = 0; from < header.payloadBytes; from += verifyBytes) {
      const chunk = buffer.subarray(0, Math.min(verifyBytes, header.payloadBytes - from))
      await this.#readInto(header.position, recordHeaderBytes + from, chunk)
      crc = this.#crc32c(chunk, crc)
    }
    return (crc ?? this.#crc32c(buffer)) === header.payloadCrc
  }

  /** Bytes of the record at position, if the window has them. */
  #held(position: number, from: number, length: number): Uint8Array | undefined {
    const start = (position - this.#position) * cellBytes + from
    if (start < 0 || start + length > this.#bytes.length) return undefined
    return this.#bytes.subarray(start, start + length)
  }

  async #read(position: number, from: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    const bytes = newBytes(length)
    await this.#readInto(position, from, bytes)
    return bytes
  }

  async #readInto(position: number, from: number, target: Uint8Array): Promise<void> {
    if (target.length === 0) return
    await this.#access.readInto(this.#ranges(position, from, target), this.#deadline.rest())
  }

  #ranges(position: number, from: number, target: Uint8Array): { offset: number; bytes: Uint8Array }[] {
    let done = 0
    return physicalRanges(this.#area, position, target.length, from)
      .filter((range) => range.length > 0)
      .map(({ offset, length }) => {
        const bytes = target.subarray(done, done + length)
        done += length
        return { offset, bytes }
      })
  }
}

/**
 * What an owner writes before it goes on, so that both copies of a log's metadata are whole and say the same: at first the log
 * header of a new log, later what was damaged in one copy or differs from the other.
 */
import type { RangeBytes } from '../../region-range.js'
import { entriesOffset, entryBytes, type Geometry, tipBytes, tipOffset } from '../geometry.js'
import type { Crc32c } from '../record/header.js'
import { entryIn, equal, isZero, type LogMetadata } from './copies.js'
import { parseEntry, writeTip } from './directory.js'
import { firstHeader, type LogHeader, logHeaderUsedBytes, writeLogHeader } from './log-header.js'

export interface Mending {
  readonly writes: RangeBytes[]
  /** As it is then. */
  readonly header: LogHeader
  readonly headers: number
  readonly entries: number
}

/** @param directory the entries as they are to be; in overwrite mode there are none */
export function mendMetadata(
  { copies, header: found, sound, tips, tipCopies }: LogMetadata,
  geometry: Geometry,
  instance: Uint8Array,
  instanceCrc: number,
  crc32c: Crc32c,
  directory: Uint8Array = new Uint8Array(0),
): Mending {
  const { offsets } = geometry.metadata
  const writes: RangeBytes[] = []
  const header = found.generation > 0n ? found : firstHeader
  let headers = 0
  let entries = 0
  for (const [copy, isSound] of sound.entries()) {
    if (isSound && found.generation > 0n) continue
    const bytes = new Uint8Array(logHeaderUsedBytes)
    writeLogHeader(bytes, header, geometry, instance, crc32c)
    writes.push({ offset: offsets[copy as 0 | 1], bytes })
    if (!isSound) headers++
  }
  for (const [copy, tip] of tipCopies.entries()) {
    const offset = offsets[copy as 0 | 1] + tipOffset
    const outOfDate = tip !== undefined && tip.header.generation < header.generation
    const lost = tip === undefined && !isZero(copies[copy as 0 | 1].subarray(tipOffset, tipOffset + tipBytes))
    if (!outOfDate && !lost) continue
    const bytes = new Uint8Array(tipBytes)
    const said = tip ?? tips[0]
    if (said !== undefined) writeTip(bytes, { ...said, header }, instanceCrc, crc32c)
    writes.push({ offset, bytes })
    if (lost) entries++
  }
  if (geometry.mode === 'overwrite') return { writes, header, headers, entries }
  for (let index = 0; index * entryBytes < directory.length; index++) {
    const wanted = directory.subarray(index * entryBytes, (index + 1) * entryBytes)
    const wrong = offsets.filter((_, copy) => !equal(entryIn(copies[copy as 0 | 1], index), wanted))
    if (wrong.length === 0) continue
    const both = copies.map((copy) => parseEntry(entryIn(copy, index), index, geometry, instanceCrc, crc32c))
    // What was there in both copies and is not wanted any more goes with the next append.
    if (isZero(wanted) && both.some((entry) => entry !== undefined)) continue
    const bytes = wanted.slice()
    for (const offset of wrong) writes.push({ offset: offset + entriesOffset + index * entryBytes, bytes })
    entries++
  }
  return { writes, header, headers, entries }
}

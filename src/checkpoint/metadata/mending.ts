/** What an owner writes so that both copies of a log's metadata are whole and say the same, before it goes on. */
import { entriesOffset, entryBytes, type Geometry, type RegionWrite, tipBytes, tipOffset } from '../geometry.js'
import type { Crc32c } from '../record/header.js'
import { entryIn, equal, isZero, type LogMetadata } from './copies.js'
import { parseEntry, writeTip } from './directory.js'
import { logHeaderUsedBytes, writeLogHeader } from './log-header.js'

export interface Mending {
  readonly writes: RegionWrite[]
  readonly headers: number
  readonly entries: number
}

/** @param directory the entries as they are to be; in overwrite mode there are none */
export function mendMetadata(
  { copies, header, sound, tips, tipCopies }: LogMetadata,
  geometry: Geometry,
  instance: Uint8Array,
  instanceCrc: number,
  crc32c: Crc32c,
  directory: Uint8Array = new Uint8Array(0),
): Mending {
  const { offsets } = geometry.metadata
  const writes: RegionWrite[] = []
  let headers = 0
  let entries = 0
  for (const [copy, isSound] of sound.entries()) {
    if (isSound) continue
    const bytes = new Uint8Array(logHeaderUsedBytes)
    if (header.generation > 0n) writeLogHeader(bytes, header, geometry, instance, crc32c)
    writes.push({ offset: offsets[copy as 0 | 1], bytes })
    headers++
  }
  for (const [copy, tip] of tipCopies.entries()) {
    const offset = offsets[copy as 0 | 1] + tipOffset
    if (tip !== undefined || isZero(copies[copy as 0 | 1].subarray(tipOffset, tipOffset + tipBytes))) continue
    const bytes = new Uint8Array(tipBytes)
    if (tips[0] !== undefined) writeTip(bytes, tips[0], instanceCrc, crc32c)
    writes.push({ offset, bytes })
    entries++
  }
  if (geometry.mode === 'overwrite') return { writes, headers, entries }
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
  return { writes, headers, entries }
}

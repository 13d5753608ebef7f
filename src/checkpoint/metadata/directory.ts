/**
 * What a log's metadata says of its records: for each segment of the ring the first record that starts in it, finer marks of
 * the segment being written, and the tip, the record that the log ended with when that was last written down. All are
 * hints as far as they name records: one is used only when the record is found at its place. What they say was durable is so.
 */
import type { SequenceRange } from '../findings.js'
import { type AppendGeometry, entryBytes, tipBytes } from '../geometry.js'
import { type Crc32c, safeNumber } from '../record/header.js'
import { compareOrder, greater, lesser } from '../record/order.js'

import type { LogHeader } from './log-header.js'

const entryMagic = 0x444b4352 // "RCKD"
const tipMagic = 0x544b4352 // "RCKT"

/** Something written after `durableSequence` had become durable, in a log that is unbroken from `unbrokenFrom` to there. */
export interface Witness {
  readonly durableSequence: bigint
  readonly unbrokenFrom: bigint
}

/** Names a record. */
export interface Anchor extends Witness {
  readonly sequence: bigint
  readonly epoch: bigint
  readonly part: number
  readonly position: number
  readonly headerCrc: number
}

export interface DirectoryEntry extends Anchor {
  readonly index: number
  /** Sequence of the record before it in the log; 0 for the first. */
  readonly previousSequence: bigint
}

export interface Tip extends Anchor {
  /** The greatest sequence number of an append that was to become durable with this tip, or before. */
  readonly promisedSequence: bigint
  /** In cells: no record reaches up to here before a tip that says so is durable. */
  readonly reserved: number
  /** The log header, once more; of generation 0 in tips of a log that had none. */
  readonly header: LogHeader
}

/** The entry's checksum continues from that of the instance id, so that it is good for one region only. */
export function writeEntry(
  target: Uint8Array,
  record: Anchor,
  previousSequence: bigint,
  instanceCrc: number,
  crc32c: Crc32c,
): void {
  const view = new DataView(target.buffer, target.byteOffset, entryBytes)
  target.fill(0, 0, entryBytes)
  view.setUint32(0, entryMagic, true)
  view.setUint32(4, record.part, true)
  view.setBigUint64(8, record.sequence, true)
  view.setBigUint64(16, record.epoch, true)
  view.setBigUint64(24, record.durableSequence, true)
  view.setBigUint64(32, BigInt(record.position), true)
  view.setBigUint64(40, previousSequence, true)
  view.setUint32(48, record.headerCrc, true)
  view.setBigUint64(52, record.unbrokenFrom, true)
  view.setUint32(60, crc32c(target.subarray(0, 60), instanceCrc), true)
}

export function parseEntry(
  bytes: Uint8Array,
  index: number,
  geometry: AppendGeometry,
  instanceCrc: number,
  crc32c: Crc32c,
): DirectoryEntry | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, entryBytes)
  if (view.getUint32(0, true) !== entryMagic) return undefined
  if (crc32c(bytes.subarray(0, 60), instanceCrc) !== view.getUint32(60, true)) return undefined
  const position = safeNumber(view.getBigUint64(32, true))
  if (position === undefined || !indexesOf(geometry, position).includes(index)) return undefined
  return {
    index,
    sequence: view.getBigUint64(8, true),
    epoch: view.getBigUint64(16, true),
    part: view.getUint32(4, true),
    position,
    previousSequence: view.getBigUint64(40, true),
    headerCrc: view.getUint32(48, true),
    durableSequence: view.getBigUint64(24, true),
    unbrokenFrom: view.getBigUint64(52, true),
  }
}

export function writeTip(target: Uint8Array, tip: Tip, instanceCrc: number, crc32c: Crc32c): void {
  const view = new DataView(target.buffer, target.byteOffset, tipBytes)
  target.fill(0, 0, tipBytes)
  view.setUint32(0, tipMagic, true)
  view.setUint32(4, tip.part, true)
  view.setBigUint64(8, tip.sequence, true)
  view.setBigUint64(16, tip.epoch, true)
  view.setBigUint64(24, tip.durableSequence, true)
  view.setBigUint64(32, BigInt(tip.position), true)
  view.setBigUint64(40, tip.promisedSequence, true)
  view.setUint32(48, tip.headerCrc, true)
  view.setBigUint64(56, BigInt(tip.reserved), true)
  view.setBigUint64(64, tip.unbrokenFrom, true)
  view.setBigUint64(72, tip.header.generation, true)
  view.setBigUint64(80, tip.header.firstSequence, true)
  view.setBigUint64(88, BigInt(tip.header.position), true)
  view.setUint32(124, crc32c(target.subarray(0, 124), instanceCrc), true)
}

export function parseTip(bytes: Uint8Array, instanceCrc: number, crc32c: Crc32c): Tip | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, tipBytes)
  if (view.getUint32(0, true) !== tipMagic) return undefined
  if (crc32c(bytes.subarray(0, 124), instanceCrc) !== view.getUint32(124, true)) return undefined
  const position = safeNumber(view.getBigUint64(32, true))
  const reserved = safeNumber(view.getBigUint64(56, true))
  const logPosition = safeNumber(view.getBigUint64(88, true))
  if (position === undefined || reserved === undefined || logPosition === undefined) return undefined
  return {
    part: view.getUint32(4, true),
    sequence: view.getBigUint64(8, true),
    epoch: view.getBigUint64(16, true),
    durableSequence: view.getBigUint64(24, true),
    position,
    promisedSequence: view.getBigUint64(40, true),
    headerCrc: view.getUint32(48, true),
    reserved,
    unbrokenFrom: view.getBigUint64(64, true),
    header: {
      generation: view.getBigUint64(72, true),
      firstSequence: view.getBigUint64(80, true),
      position: logPosition,
    },
  }
}

/** Of the numbers from one to another, the first and the last that are known to have been durable. */
export function durableWithin(from: bigint, to: bigint, witnesses: Iterable<Witness>): SequenceRange | undefined {
  let found: SequenceRange | undefined
  for (const { durableSequence, unbrokenFrom } of witnesses) {
    const first = greater(from, unbrokenFrom + 1n)
    const last = lesser(to, durableSequence)
    if (first > last) continue
    found = { from: lesser(found?.from ?? first, first), to: greater(found?.to ?? last, last) }
  }
  return found
}

/** The entries (segment, then mark) that a record at this position may be named by. */
export function indexesOf(geometry: AppendGeometry, position: number): number[] {
  const segment = Math.floor(position / geometry.segmentCells) % geometry.segments
  if (geometry.marks === 0) return [segment]
  const inSegment = position % geometry.segmentCells
  return [segment, geometry.segments + Math.floor(inSegment / geometry.markCells)]
}

/** Which segments and marks a record opens, being the first to start in them. */
export function opens(geometry: AppendGeometry, previousPosition: number | undefined, position: number): number[] {
  const indexes = indexesOf(geometry, position)
  if (previousPosition === undefined) return indexes
  const newSegment =
    Math.floor(previousPosition / geometry.segmentCells) !== Math.floor(position / geometry.segmentCells)
  if (newSegment) return indexes
  return indexesOf(geometry, previousPosition)[1] === indexes[1] ? [] : indexes.slice(1)
}

/**
 * Newest first, and only those that can belong to one log: the older, the farther back in the ring. What an undone
 * stream or a lost suffix left behind does not fit in.
 */
export function orderAnchors<A extends Anchor>(anchors: readonly A[], geometry: AppendGeometry): A[] {
  const sorted = [...anchors].sort((a, b) => compareOrder(b, a) || b.part - a.part || b.position - a.position)
  const ordered: A[] = []
  for (const anchor of sorted) {
    const last = ordered.at(-1)
    if (last === undefined) ordered.push(anchor)
    else if (anchor.position < last.position && anchor.position > (ordered[0]?.position ?? 0) - geometry.area.cells) {
      ordered.push(anchor)
    }
  }
  return ordered
}

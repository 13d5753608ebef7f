/**
 * The directory of an append log: for each segment of the ring the first record that starts in it, and finer marks of the
 * segment being written. Hints: an entry is used only when the record it names is found at its place.
 */
import { type AppendGeometry, entryBytes } from './geometry.js'
import { type Crc32c, compareAge, type RecordHeader, safeNumber } from './record-header.js'

const entryMagic = 0x444b4352 // "RCKD"

export interface DirectoryEntry {
  readonly index: number
  readonly sequence: bigint
  readonly epoch: bigint
  readonly part: number
  readonly position: number
  /** Sequence of the record before it in the log; 0 for the first. */
  readonly previousSequence: bigint
  readonly headerCrc: number
}

/** The entry's checksum continues from that of the instance id, so that it is good for one region only. */
export function writeEntry(
  target: Uint8Array,
  record: RecordHeader,
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
  view.setBigUint64(24, record.generation, true)
  view.setBigUint64(32, BigInt(record.position), true)
  view.setBigUint64(40, previousSequence, true)
  view.setUint32(48, record.headerCrc, true)
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
  }
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
export function orderEntries(entries: readonly DirectoryEntry[], geometry: AppendGeometry): DirectoryEntry[] {
  const sorted = [...entries].sort((a, b) => compareAge(b, a) || b.part - a.part || b.position - a.position)
  const ordered: DirectoryEntry[] = []
  for (const entry of sorted) {
    const last = ordered.at(-1)
    if (last === undefined) ordered.push(entry)
    else if (entry.position < last.position && entry.position > (ordered[0]?.position ?? 0) - geometry.area.cells) {
      ordered.push(entry)
    }
  }
  return ordered
}

/**
 * Where things lie in a region of checkpoints: a pure function of the region's size, so that a region full of zeros is an
 * empty log. docs/checkpoint-format.md is the specification. Places of records count in cells of 128 bytes.
 */
import { CheckpointError } from '../errors.js'

export const cellBytes = 128
export const recordHeaderBytes = 128
export const entryBytes = 64
export const logHeaderBytes = 4096
export const minimumRegionBytes = 32_768

const blockBytes = 4096
const fewestSegments = 8
const mostSegments = 256
const mostMarks = 256
const smallestMarkBytes = 65_536

/** The part of a region that holds records: a ring (append) or two slots (overwrite). */
export interface DataArea {
  /** Of its first byte in the region. */
  readonly offset: number
  /** Its length in cells; a position is taken modulo this. */
  readonly cells: number
  /** The largest checkpoint, all its headers included, in cells. */
  readonly maximumCells: number
}

export interface AppendGeometry {
  readonly mode: 'append'
  readonly area: DataArea
  readonly directoryOffset: number
  /** Number of segments, each of segmentCells; the ring is exactly these. */
  readonly segments: number
  readonly segmentCells: number
  /** Marks divide the segment that is being written, so that its end is found as fast; 0: none. */
  readonly marks: number
  readonly markCells: number
}

export interface OverwriteGeometry {
  readonly mode: 'overwrite'
  readonly area: DataArea
  readonly slotCells: number
}

export type Geometry = AppendGeometry | OverwriteGeometry

/** @throws CheckpointError `REGION_TOO_SMALL` below 32 KiB */
export function appendGeometry(regionBytes: number): AppendGeometry {
  requireSize(regionBytes)
  const afterHeaders = regionBytes - 2 * logHeaderBytes
  const segments = Math.min(Math.max(Math.round(afterHeaders / blockBytes), fewestSegments), mostSegments)
  const wanted = Math.min(Math.floor(afterHeaders / segments / smallestMarkBytes), mostMarks)
  const marks = wanted < 2 ? 0 : wanted
  const directoryBytes = Math.ceil(((segments + marks) * entryBytes) / blockBytes) * blockBytes
  const offset = 2 * logHeaderBytes + directoryBytes
  const segmentCells = Math.floor((regionBytes - offset) / segments / cellBytes)
  const cells = segmentCells * segments
  return {
    mode: 'append',
    // A checkpoint and the one before it must fit beside the segment that a third may have to enter.
    area: { offset, cells, maximumCells: Math.floor((cells - segmentCells) / 2) },
    directoryOffset: 2 * logHeaderBytes,
    segments,
    segmentCells,
    marks,
    markCells: marks === 0 ? 0 : Math.ceil(segmentCells / marks),
  }
}

/** @throws CheckpointError `REGION_TOO_SMALL` below 32 KiB */
export function overwriteGeometry(regionBytes: number): OverwriteGeometry {
  requireSize(regionBytes)
  const offset = 2 * logHeaderBytes
  // Whole blocks, so that writing one slot back never writes back a part of the other.
  const slotBytes = Math.floor((regionBytes - offset) / 2 / blockBytes) * blockBytes
  const slotCells = slotBytes / cellBytes
  return { mode: 'overwrite', area: { offset, cells: 2 * slotCells, maximumCells: slotCells }, slotCells }
}

export function geometryOf(mode: 'append' | 'overwrite', regionBytes: number): Geometry {
  return mode === 'append' ? appendGeometry(regionBytes) : overwriteGeometry(regionBytes)
}

/** Cells of a record with that many bytes of payload. */
export function cellsOf(payloadBytes: number): number {
  return 1 + Math.ceil(payloadBytes / cellBytes)
}

/** The ranges of the region that hold these cells and bytes of them: two when they wrap around the area's end. */
export function physicalRanges(
  area: DataArea,
  position: number,
  bytes: number,
  from = 0,
): { offset: number; length: number }[] {
  const areaBytes = area.cells * cellBytes
  const start = ((position % area.cells) * cellBytes + from) % areaBytes
  const first = Math.min(bytes, areaBytes - start)
  const ranges = [{ offset: area.offset + start, length: first }]
  if (bytes > first) ranges.push({ offset: area.offset, length: bytes - first })
  return ranges
}

function requireSize(regionBytes: number): void {
  if (regionBytes >= minimumRegionBytes) return
  throw new CheckpointError(
    'REGION_TOO_SMALL',
    `A region for checkpoints has at least ${minimumRegionBytes} bytes, and this one has ${regionBytes}.`,
    { help: 'Delete the region and create it larger, or with mode raw if it is not meant for checkpoints.' },
  )
}

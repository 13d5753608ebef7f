/**
 * Where things lie in a region of checkpoints: a pure function of the region's size, so that a region full of zeros is an
 * empty log. docs/checkpoint-format.md is the specification. Places of records count in cells of 128 bytes.
 */

import { CheckpointError } from '../errors.js'
import type { RegionRange } from '../region-range.js'
import type { RegionMode } from '../types.js'

export const cellBytes = 128
export const recordHeaderBytes = 128
export const entryBytes = 64
export const tipBytes = 128
/** In each copy of the metadata, in front of which the log header lies. */
export const tipOffset = 128
export const entriesOffset = 256
export const minimumRegionBytes = 32_768

const blockBytes = 4096
const fewestSegments = 8
const mostSegments = 252
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

/** Log header, tip and directory, in two copies at the two ends of the region, so that no block of a medium holds both. */
export interface Metadata {
  /** Of each copy in the region. */
  readonly offsets: readonly [number, number]
  /** Of one copy: whole blocks. */
  readonly bytes: number
}

export interface AppendGeometry {
  readonly mode: 'append'
  readonly metadata: Metadata
  readonly area: DataArea
  /** Number of segments, each of segmentCells; the ring is exactly these. */
  readonly segments: number
  readonly segmentCells: number
  /** Marks divide the segment that is being written, so that its end is found as fast; 0: none. */
  readonly marks: number
  readonly markCells: number
}

export interface OverwriteGeometry {
  readonly mode: 'overwrite'
  readonly metadata: Metadata
  readonly area: DataArea
  readonly slotCells: number
}

export type Geometry = AppendGeometry | OverwriteGeometry

/** @throws CheckpointError `REGION_TOO_SMALL` below 32 KiB */
export function appendGeometry(regionBytes: number): AppendGeometry {
  requireSize(regionBytes)
  const forRecords = regionBytes - 2 * blockBytes
  const segments = Math.min(Math.max(Math.round(forRecords / blockBytes), fewestSegments), mostSegments)
  const wanted = Math.min(Math.floor(forRecords / segments / smallestMarkBytes), mostMarks)
  const marks = wanted < 2 ? 0 : wanted
  const metadata = metadataOf(regionBytes, segments + marks)
  const offset = metadata.bytes
  const segmentCells = Math.floor((metadata.offsets[1] - offset) / segments / cellBytes)
  const cells = segmentCells * segments
  return {
    mode: 'append',
    metadata,
    // A checkpoint and the one before it must fit beside the segment that a third may have to enter.
    area: { offset, cells, maximumCells: Math.floor((cells - segmentCells) / 2) },
    segments,
    segmentCells,
    marks,
    markCells: marks === 0 ? 0 : Math.ceil(segmentCells / marks),
  }
}

/** @throws CheckpointError `REGION_TOO_SMALL` below 32 KiB */
export function overwriteGeometry(regionBytes: number): OverwriteGeometry {
  requireSize(regionBytes)
  const metadata = metadataOf(regionBytes, 0)
  const offset = metadata.bytes
  // Whole blocks, so that writing one slot back never writes back a part of the other.
  const slotBytes = Math.floor((metadata.offsets[1] - offset) / 2 / blockBytes) * blockBytes
  const slotCells = slotBytes / cellBytes
  const area = { offset, cells: 2 * slotCells, maximumCells: slotCells }
  return { mode: 'overwrite', metadata, area, slotCells }
}

function metadataOf(regionBytes: number, entries: number): Metadata {
  const bytes = Math.ceil((entriesOffset + entries * entryBytes) / blockBytes) * blockBytes
  return { offsets: [0, Math.floor(regionBytes / blockBytes) * blockBytes - bytes], bytes }
}

export function geometryOf(mode: 'append' | 'overwrite', regionBytes: number): Geometry {
  return mode === 'append' ? appendGeometry(regionBytes) : overwriteGeometry(regionBytes)
}

/** Cells of a record with that many bytes of payload. */
export function cellsOf(payloadBytes: number): number {
  return 1 + Math.ceil(payloadBytes / cellBytes)
}

/** The ranges of the region that hold these cells and bytes of them: two when they wrap around the area's end. */
export function physicalRanges(area: DataArea, position: number, bytes: number, from = 0): RegionRange[] {
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

/** @throws CheckpointError `REGION_TOO_SMALL` where a region of that size could never hold one checkpoint */
export function requireRoom(mode: RegionMode, bytes: number): void {
  if (mode !== 'raw') geometryOf(mode, bytes)
}

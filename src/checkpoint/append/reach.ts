/**
 * How far back in the ring what was written is sure to be there still: the invariants of what a writer may overwrite, as a reader
 * relies on them. All are positions; from there on the statement holds.
 */
import type { AppendGeometry } from '../geometry.js'
import type { LogMetadata } from '../metadata/copies.js'
import type { StoredCheckpoint } from '../record/stored.js'

/** What is kept. The writer drops a segment as a whole when it reserves its place. */
export function keptFrom(
  { segmentCells, segments, area }: AppendGeometry,
  { last }: StoredCheckpoint,
  metadata: LogMetadata,
): number {
  const end = last.position + last.cells
  const within = (Math.floor((end - 1) / segmentCells) - segments + 1) * segmentCells
  // What is reserved may be overwritten at any moment, or have been before a crash.
  return Math.max(within, metadata.reserved - area.cells)
}

/**
 * Nothing can have been overwritten. A writer may have gone on as far as it had reserved, and a crash may have taken all of that
 * but left what it did to the lap before. The segment of the newest durable record is never entered.
 */
export function untouchedFrom(
  { segmentCells, area }: AppendGeometry,
  { parts }: StoredCheckpoint,
  { reserved }: LogMetadata,
): number {
  return Math.min(Math.floor(parts[0].position / segmentCells) * segmentCells, reserved - area.cells)
}

/** No record that is being written, or was left torn, reaches: one may be as long as the largest. */
export function safeFrom({ segmentCells, segments, area }: AppendGeometry, { last }: StoredCheckpoint): number {
  const reach = last.position + last.cells + area.maximumCells - 1
  return (Math.floor(reach / segmentCells) - segments + 1) * segmentCells
}

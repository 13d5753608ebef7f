/** The metadata of an append log as read at one moment, and the records that it names. */
import { newBytes } from '../../call/new-bytes.js'
import type { Deadline } from '../deadline.js'
import { isZero, type LogMetadata, metadataRanges, parseMetadata, withDurable } from '../metadata/copies.js'
import { type Anchor, type DirectoryEntry, orderAnchors } from '../metadata/directory.js'
import { numberBefore } from '../record/header.js'
import type { Ring } from './ring.js'

export interface Snapshot {
  readonly metadata: LogMetadata
  readonly rebuilt: boolean
  /** Newest first. */
  readonly entries: readonly DirectoryEntry[]
  /** With the tips. */
  readonly anchors: readonly Anchor[]
}

const ringStartBytes = 4096

export async function readSnapshot(ring: Ring, deadline: Deadline, writing: boolean): Promise<Snapshot> {
  const geometry = ring.geometry
  const { copies, ranges } = metadataRanges(geometry)
  const durableSequence = ring.durableSequence()
  await ring.access.readInto(ranges, deadline.rest())
  const read = parseMetadata(copies, geometry, ring.instance, ring.instanceCrc, writing, ring.crc32c)
  const metadata = withDurable(read, durableSequence)
  // A tip alone leads to the newest and says nothing of what is kept before it; what was durable had its entries.
  if (metadata.entries.length === 0 && (metadata.tips.length === 0 || metadata.durableSequence > 0n)) {
    return fromRecords(ring, metadata, deadline)
  }
  return {
    metadata,
    rebuilt: false,
    entries: orderAnchors(metadata.entries, geometry),
    anchors: orderAnchors<Anchor>(
      [...metadata.entries, ...metadata.tips.filter(({ sequence }) => sequence > 0n)],
      geometry,
    ),
  }
}

/** An empty log, or one that has lost all that names its records: then there is something at the ring's beginning. */
async function fromRecords(ring: Ring, metadata: LogMetadata, deadline: Deadline): Promise<Snapshot> {
  const geometry = ring.geometry
  const start = newBytes(ringStartBytes)
  await ring.access.readInto([{ offset: geometry.area.offset, bytes: start }], deadline.rest())
  const empty = metadata.damaged + metadata.tips.length === 0 && isZero(start)
  const records = empty ? [] : await ring.window(deadline).scanAll()
  const anchors = orderAnchors(
    records.map((record) => ({
      ...record,
      index: Math.floor(record.position / geometry.segmentCells) % geometry.segments,
      previousSequence: numberBefore(record),
    })),
    geometry,
  )
  const segmentOf = ({ position }: Anchor) => Math.floor(position / geometry.segmentCells)
  const entries = anchors.filter((anchor, at) => {
    const older = anchors[at + 1]
    return older === undefined || segmentOf(older) !== segmentOf(anchor)
  })
  return { metadata, rebuilt: records.length > 0, entries, anchors }
}

/** What an append log held when it was looked at: its newest checkpoint, and the entries of what is kept before it. */
import type { Deadline } from '../deadline.js'
import { lostBehind, type Survey } from '../log-view.js'
import type { LogMetadata } from '../metadata/copies.js'
import type { Anchor, DirectoryEntry } from '../metadata/directory.js'
import { numberBefore, type RecordHeader } from '../record/header.js'
import { compareOrder } from '../record/order.js'
import type { StoredCheckpoint } from '../record/stored.js'
import { keptFrom } from './reach.js'
import type { Named, Ring } from './ring.js'
import type { Snapshot } from './snapshot.js'

export interface AppendSurvey extends Survey {
  /** Entries of what is kept, newest first. */
  readonly entries: readonly DirectoryEntry[]
  /** Entries left over from an undone stream or a lost suffix, which name places behind the newest record. */
  readonly entriesBeyond: readonly DirectoryEntry[]
  /** As read. */
  readonly metadata: LogMetadata
  /** Both copies of the directory are gone: the entries were made from the records. */
  readonly rebuilt: boolean
}

export function surveyOf(
  ring: Ring,
  { metadata, rebuilt, ...snapshot }: Snapshot,
  newest: StoredCheckpoint | undefined,
): AppendSurvey {
  const { header } = metadata
  const witnesses = [...metadata.tips, ...metadata.entries]
  const lost = lostBehind(newest, header, metadata)
  if (newest === undefined) {
    const entriesBeyond = metadata.entries
    return { header, newest, metadata, rebuilt, entries: [], entriesBeyond, droppedThrough: 0n, witnesses, ...lost }
  }
  const end = newest.last.position + newest.last.cells
  const from = keptFrom(ring.geometry, newest, metadata)
  const entries = snapshot.entries.filter(({ position }) => position < end && position >= from)
  const oldest = entries.at(-1)
  let droppedThrough = newest.sequence - 1n
  if (oldest !== undefined) droppedThrough = oldest.part > 0 ? oldest.sequence : oldest.previousSequence
  const entriesBeyond = metadata.entries.filter(({ position }) => position >= end)
  const known = [...witnesses, newest.last]
  return {
    header,
    newest,
    metadata,
    rebuilt,
    entries,
    entriesBeyond,
    droppedThrough,
    oldest,
    witnesses: known,
    ...lost,
  }
}

/** What names records of the log from a position on, up to the newest, in their order. */
export function anchorsFrom({ newest, entries, metadata }: AppendSurvey, from: number): Named[] {
  if (newest === undefined) return []
  // What lies between two holes may be named by nothing else than the tip of its last durable append.
  const tips = metadata.tips.filter((tip) => tip.sequence > 0n && compareOrder(tip, newest) < 0)
  return [...entries, ...tips, newest.parts[0]]
    .filter(({ position }) => position >= from)
    .sort((a, b) => a.position - b.position)
}

/**
 * With entries for the oldest segments that are kept, if both copies have lost these: what lies in front of the oldest entry
 * is not led to by any other. Most often one large record reaches over the segments that have none.
 */
export async function withOldest(
  ring: Ring,
  snapshot: Snapshot,
  newest: StoredCheckpoint | undefined,
  deadline: Deadline,
): Promise<Snapshot> {
  if (newest === undefined || snapshot.rebuilt) return snapshot
  const { metadata, entries } = snapshot
  const { segmentCells, segments } = ring.geometry
  const from = Math.max(0, keptFrom(ring.geometry, newest, metadata))
  const oldest = entries.findLast(({ position }) => position >= from)
  const first: Pick<Anchor, 'position' | 'headerCrc'> = oldest ?? newest.parts[0]
  if (oldest !== undefined && oldest.part === 0 && oldest.previousSequence === 0n) return snapshot
  const segmentOf = (position: number) => ring.segmentOf(position)
  const named = new Set(metadata.entries.map(({ index }) => index))
  let segment = Math.ceil(from / segmentCells)
  while (segment < segmentOf(first.position) && named.has(segment % segments)) segment++
  if (segment >= segmentOf(first.position) && oldest !== undefined) return snapshot
  const window = ring.window(deadline)
  const record = await window.header(first.position)
  if (record?.headerCrc !== first.headerCrc) return snapshot
  const found: DirectoryEntry[] = []
  let before: RecordHeader | undefined
  for (const header of [...(await ring.leadingTo(record, from, window)), ...(oldest ? [] : [record])]) {
    if (before === undefined || segmentOf(before.position) !== segmentOf(header.position)) {
      const previousSequence = before?.sequence ?? numberBefore(header)
      found.unshift({ ...header, index: segmentOf(header.position) % segments, previousSequence })
    }
    before = header
  }
  return { ...snapshot, entries: [...entries, ...found] }
}

/** Whether the directory read knows the segment of the newest record. */
export function fits(ring: Ring, { entries }: Snapshot, newest: StoredCheckpoint | undefined): boolean {
  const top = entries[0]
  if (top === undefined || newest === undefined) return true
  return ring.segmentOf(newest.last.position) <= ring.segmentOf(top.position)
}

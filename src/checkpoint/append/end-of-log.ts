/** What only an owner asks when it looks for the end of its log, to go on behind it. */
import type { Deadline } from '../deadline.js'
import type { RecordHeader } from '../record/header.js'
import type { SegmentStart } from './holes.js'
import type { Ring } from './ring.js'
import type { AppendSurvey } from './survey.js'

/** The greatest sequence among headers that go on behind the newest whole checkpoint: torn records, unfinished streams. */
export async function greatestBehind(ring: Ring, newest: RecordHeader, deadline: Deadline): Promise<bigint> {
  const window = ring.window(deadline)
  let last = newest
  for (let next = await window.next(last); next !== undefined; next = await window.next(last)) last = next
  return last.sequence
}

/**
 * For each kept segment whose entry a crash took, and whose records it left: the first record that starts there, found
 * by the chain from the entry before it. Oldest first.
 */
export async function unnamedSegments(
  ring: Ring,
  { newest, entries }: AppendSurvey,
  deadline: Deadline,
): Promise<SegmentStart[]> {
  if (newest === undefined) return []
  const { segments, segmentCells } = ring.geometry
  const segmentOf = (position: number) => Math.floor(position / segmentCells)
  const end = newest.last.position + newest.last.cells
  const unnamed: SegmentStart[] = []
  const bySegment = entries.filter(({ index }) => index < segments).toReversed()
  for (const [index, entry] of bySegment.entries()) {
    const following = bySegment[index + 1]
    const lastSegment = following === undefined ? segmentOf(newest.last.position) : segmentOf(following.position) - 1
    if (lastSegment === segmentOf(entry.position)) continue
    const through = following?.position ?? end
    const window = ring.window(deadline)
    // Most often one large record reaches over the segments between, and its header is all there is to read.
    let last = await window.header(entry.position, true)
    if (last?.headerCrc !== entry.headerCrc || last.position + last.cells >= through) continue
    for (let next = await window.next(last); next !== undefined && next.position < through; ) {
      if (segmentOf(next.position) > segmentOf(last.position)) {
        unnamed.push({ first: next, previousSequence: last.sequence })
      }
      last = next
      next = await window.next(last)
    }
  }
  return unnamed
}

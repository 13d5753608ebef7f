/** The newest whole checkpoint of an append log. */
import type { Deadline } from '../deadline.js'
import type { Accept } from '../log-view.js'
import { continues, isLast, type RecordHeader } from '../record/header.js'
import { compareOrder } from '../record/order.js'
import { Assembler, type StoredCheckpoint, storedOf } from '../record/stored.js'
import type { Ring } from './ring.js'
import type { Snapshot } from './snapshot.js'

/** The newest whole checkpoint; certain when it was found by the directory's newest entry. */
export async function findNewest(
  ring: Ring,
  snapshot: Snapshot,
  deadline: Deadline,
  accept: Accept,
): Promise<{ newest: StoredCheckpoint | undefined; certain: boolean }> {
  let unfinished: bigint | undefined
  let certain = true
  for (const entry of snapshot.anchors) {
    // Earlier parts of a stream that has no end yet lead nowhere.
    if (entry.sequence === unfinished) continue
    const window = ring.window(deadline)
    const unfinishedBefore = unfinished
    const run = await ring.run(entry, unfinished, window)
    for (let end = run.length; end > 0; ) {
      let start = end - 1
      while (start > 0 && (run[start]?.part ?? 0) > 0) start--
      const group = run.slice(start, end)
      const last = group.at(-1) as RecordHeader
      if (!isLast(last)) {
        if (end === run.length) unfinished = last.sequence
      } else if (group[0]?.part === 0) {
        const stored = storedOf(group)
        if (stored !== undefined && (await accept(stored, window))) return { newest: stored, certain }
      } else {
        const item = await ring.gather(last.sequence, snapshot.anchors, deadline)
        if (item !== undefined && (await accept(item.stored, item.window))) return { newest: item.stored, certain }
      }
      end = start
    }
    if (unfinished === unfinishedBefore) certain = false
  }
  return { newest: undefined, certain: snapshot.anchors.length === 0 }
}

/**
 * Where what was durable is not there: the newest of what was written after it in the same segment. (What came into a later
 * one has an entry.)
 */
export async function findBeyond(
  ring: Ring,
  { anchors, metadata }: Snapshot,
  newest: StoredCheckpoint | undefined,
  deadline: Deadline,
  accept: Accept,
): Promise<StoredCheckpoint | undefined> {
  const [top] = anchors
  if (top === undefined) return undefined
  const { segmentCells } = ring.geometry
  const from = newest === undefined ? top.position : newest.last.position + newest.last.cells
  const to = (Math.floor(top.position / segmentCells) + 1) * segmentCells
  const window = ring.window(deadline)
  const assembler = new Assembler()
  const candidates: StoredCheckpoint[] = []
  let last: RecordHeader | undefined
  for (const record of await window.scan(from, to)) {
    if (last !== undefined && !continues(last, record)) assembler.reset()
    last = record
    const stored = assembler.add(record)
    if (stored !== undefined && stored.sequence > metadata.durableSequence) candidates.push(stored)
  }
  candidates.sort((a, b) => compareOrder(b, a))
  for (const stored of candidates) if (await accept(stored, window)) return stored
  return undefined
}

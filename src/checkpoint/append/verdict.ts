/**
 * Why a record of an append log is not there: overwritten, lost before it was durable, or damaged.
 *
 * Damaged is only what a witness says was durable, and what no writer can have overwritten yet. docs/checkpoint-format.md,
 * "Loss and damage", has the rules.
 */
import type { Deadline } from '../deadline.js'
import type { Gap, Verdict } from '../log-view.js'
import { durableWithin } from '../metadata/directory.js'
import type { RecordHeader } from '../record/header.js'
import type { StoredCheckpoint } from '../record/stored.js'
import { safeFrom, untouchedFrom } from './reach.js'
import type { Ring } from './ring.js'
import type { AppendSurvey } from './survey.js'

/**
 * @param survey made after the record was not found
 * @param missing the first that is, and the last that may be
 * @param before the sound record in front of it, or its own header when only the payload fails
 * @param next the first sound record behind what is missing
 */
export async function verdictOnGap(
  ring: Ring,
  { newest, oldest, header, metadata, witnesses, damaged }: AppendSurvey,
  missing: { position: number; sequence: bigint; through: bigint },
  before: RecordHeader | undefined,
  next: RecordHeader | undefined,
  deadline: Deadline,
): Promise<Gap> {
  const { position, sequence, through } = missing
  // With nothing in front, a cursor behind it shall not look like one of an owner before all that is kept.
  const epoch = before?.epoch ?? next?.epoch ?? oldest?.epoch ?? 0n
  const gap = (verdict: Verdict, from = sequence, to = through): Gap => ({ gap: verdict, sequence: from, to, epoch })
  if (newest === undefined) return damaged === undefined ? gap('lost') : gap('damaged')
  if (through < header.firstSequence) return gap('lost')
  const durable = durableWithin(sequence, through, next === undefined ? witnesses : [next, ...witnesses])
  if (durable === undefined && position >= safeFrom(ring.geometry, newest)) return gap('lost')
  if (durable !== undefined && position >= untouchedFrom(ring.geometry, newest, metadata)) {
    return gap('damaged', durable.from, durable.to)
  }
  if (durable !== undefined || before === undefined) return gap('lapped')
  // A writer that came round would have met the record before it first.
  return gap((await ring.isThere(before, deadline)) ? 'lost' : 'lapped')
}

/** Why the checkpoint of that number, which a delta builds on, cannot be found. */
export async function verdictOnBase(
  ring: Ring,
  { newest, entries, metadata, witnesses, droppedThrough }: AppendSurvey,
  sequence: bigint,
  { last }: StoredCheckpoint,
  deadline: Deadline,
): Promise<Verdict> {
  if (newest === undefined) return 'lost'
  // A chain is no longer than the largest checkpoint.
  const from = Math.max(0, last.position + last.cells - ring.geometry.area.maximumCells)
  const durable = durableWithin(sequence, sequence, [last, ...witnesses]) !== undefined
  const untouched = sequence > droppedThrough || from >= untouchedFrom(ring.geometry, newest, metadata)
  if (durable) return untouched ? 'damaged' : 'lapped'
  if (from >= safeFrom(ring.geometry, newest)) return 'lost'
  // A writer that came round would have met what lies before it first.
  for (const entry of entries) {
    if (entry.sequence >= sequence || entry.position >= last.position) continue
    if (await ring.isThere(entry, deadline)) return 'lost'
  }
  return 'lapped'
}

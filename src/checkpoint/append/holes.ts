/**
 * What a crash took from the middle of a log. An owner that looks for the log's end goes through all that is not known to be
 * durable, and writes a bridge over each hole that it finds, before it appends. From then on the log is one chain again, and
 * what lies between two holes does not depend on the entries and tips that happen to name it.
 */
import { newBytes } from '../../call/new-bytes.js'
import type { RangeBytes } from '../../region-range.js'
import type { Deadline } from '../deadline.js'
import { cellBytes, physicalRanges, recordHeaderBytes } from '../geometry.js'
import { durableWithin, type Witness } from '../metadata/directory.js'
import {
  continues,
  isBridge,
  isLast,
  lastPartFlag,
  numberBefore,
  parseRecordHeader,
  type RecordHeader,
  recordKind,
  writeRecordHeader,
} from '../record/header.js'
import { greater } from '../record/order.js'
import type { RecordWindow } from '../record/window.js'
import { mostScannedCells, type Ring } from './ring.js'
import { type AppendSurvey, anchorsFrom } from './survey.js'

/** An owner makes sure that nothing is missing from what is not known to be durable, up to this much. */
const mostTailCells = mostScannedCells

/** The first record that starts in a segment. */
export interface SegmentStart {
  readonly first: RecordHeader
  /** Sequence of the record before it in the log. */
  readonly previousSequence: bigint
}

export interface Holes {
  /** Behind which sequence number nothing is missing, for what is written next. */
  readonly unbrokenFrom: bigint
  readonly bridges: readonly RangeBytes[]
  /** Of the segments that begin in or behind a hole, as far as the newest. Their entries may name what is gone. */
  readonly starts: readonly SegmentStart[]
}

export async function findHoles(ring: Ring, survey: AppendSurvey, deadline: Deadline): Promise<Holes> {
  const { newest, entries, metadata, witnesses } = survey
  if (newest === undefined) return { unbrokenFrom: 0n, bridges: [], starts: [] }
  const { last, sequence } = newest
  const known = witnesses.map(({ unbrokenFrom }) => unbrokenFrom).filter((from) => from <= sequence)
  let unbrokenFrom = known.reduce(greater, 0n)
  const durable = greater(metadata.durableSequence, last.durableSequence)
  if (durable >= sequence) return { unbrokenFrom, bridges: [], starts: [] }
  const unknown = { unbrokenFrom: sequence, bridges: [], starts: [] }
  const window = ring.window(deadline)
  const anchor = entries.find((entry) => entry.sequence <= durable) ?? entries.at(-1)
  if (anchor === undefined || last.position - anchor.position > mostTailCells) return unknown

  const bridges: RangeBytes[] = []
  const starts: SegmentStart[] = []
  let before: RecordHeader | undefined
  let previous: RecordHeader | undefined
  for await (const record of ring.walk(anchorsFrom(survey, anchor.position), window, metadata)) {
    if (previous === undefined && record.headerCrc !== anchor.headerCrc) return unknown
    if (previous !== undefined && !continues(previous, record)) {
      // A record that reaches up to here and is not the one that was here was taken by a crash, which gave this header back.
      const front = previous.position + previous.cells < record.position ? previous : before
      const bridge = front === undefined ? undefined : await bridgeOver(ring, front, record, witnesses, deadline)
      if (front !== undefined && bridge !== undefined) {
        bridges.push(...bridge.writes)
        if (opensSegment(ring, front, bridge.header)) {
          starts.push({ first: bridge.header, previousSequence: front.sequence })
        }
        previous = bridge.header
      }
      unbrokenFrom = greater(unbrokenFrom, numberBefore(record))
    }
    if (record.sequence > durable) {
      // A crash may have left the header and taken the payload.
      const taken = isBridge(record) || (record.headerCrc !== last.headerCrc && !(await window.verify(record)))
      if (taken) unbrokenFrom = greater(unbrokenFrom, record.sequence)
    }
    if (bridges.length > 0 && previous !== undefined && opensSegment(ring, previous, record)) {
      starts.push({ first: record, previousSequence: previous.sequence })
    }
    before = previous
    previous = record
    if (record.position >= last.position) break
  }
  return previous?.headerCrc === last.headerCrc ? { unbrokenFrom, bridges, starts } : unknown
}

function opensSegment(ring: Ring, previous: RecordHeader, record: RecordHeader): boolean {
  return ring.segmentOf(previous.position) !== ring.segmentOf(record.position)
}

/** What closes the hole between two records; undefined where it holds what was durable, and so is damage. */
async function bridgeOver(
  ring: Ring,
  front: RecordHeader,
  behind: RecordHeader,
  witnesses: readonly Witness[],
  deadline: Deadline,
): Promise<{ header: RecordHeader; writes: RangeBytes[] } | undefined> {
  const position = front.position + front.cells
  const through = numberBefore(behind)
  const from = isLast(front) ? front.sequence + 1n : front.sequence
  if (durableWithin(from, through, [...witnesses, behind]) !== undefined) return undefined
  if (through < front.sequence || behind.epoch < front.epoch) return undefined
  // What is written over is looked at twice.
  const window = ring.window(deadline)
  if (!(await isStillOpen(window, front, behind))) return undefined
  const bytes = newBytes(recordHeaderBytes)
  writeRecordHeader(
    bytes,
    {
      kind: recordKind.bridge,
      flags: lastPartFlag,
      codec: 0,
      schema: 0,
      part: through === front.sequence ? front.part + 1 : 0,
      previousCrc: front.headerCrc,
      unbrokenFrom: through,
      epoch: behind.epoch,
      sequence: through,
      baseSequence: 0n,
      offset: 0,
      timeMs: behind.timeMs,
      payloadBytes: (behind.position - position - 1) * cellBytes,
      totalBytes: 0,
      durableSequence: front.durableSequence,
      position,
      payloadCrc: behind.headerCrc,
    },
    ring.instance,
    ring.crc32c,
  )
  const header = parseRecordHeader(bytes, position, ring.geometry.area, ring.instance, ring.crc32c)
  if (header === undefined) return undefined
  const writes = physicalRanges(ring.geometry.area, position, recordHeaderBytes).map(({ offset }) => ({
    offset,
    bytes,
  }))
  return { header, writes }
}

async function isStillOpen(window: RecordWindow, front: RecordHeader, behind: RecordHeader): Promise<boolean> {
  if ((await window.header(front.position))?.headerCrc !== front.headerCrc) return false
  const next = await window.next(front)
  if (next !== undefined && next.position + next.cells < behind.position) return false
  return (await window.header(behind.position))?.headerCrc === behind.headerCrc
}

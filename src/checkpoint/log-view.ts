/** What the append and the overwrite format have in common for those who read them. */
import { CheckpointError } from '../errors.js'
import type { Deadline } from './deadline.js'
import type { Witness } from './metadata/directory.js'
import type { LogHeader } from './metadata/log-header.js'
import { greater, isLast, type RecordHeader, recordKind } from './record/header.js'
import type { RecordWindow } from './record/window.js'

/** A place in the order of records. */
export interface Age {
  readonly epoch: bigint
  readonly sequence: bigint
}

/** A whole checkpoint as found: one record, or all parts of a stream. Its payload may still prove damaged. */
export interface Found extends Age {
  readonly parts: readonly [RecordHeader, ...RecordHeader[]]
  readonly last: RecordHeader
  /** Of the checkpoint. */
  readonly bytes: number
  /** Of the payloads that hold it: fewer for a delta. */
  readonly storedBytes: number
}

/** From the first to the last of them. */
export interface SequenceRange {
  readonly from: bigint
  readonly to: bigint
}

/** What a log held when it was looked at. */
export interface Survey {
  readonly header: LogHeader
  /** The newest checkpoint whose checksums hold, cleared or not. */
  readonly newest: Found | undefined
  /** Sequence of the newest that is dropped; 0 when none was. What is kept begins behind it. */
  readonly droppedThrough: bigint
  /** The first record that is kept, as far as the directory knows. */
  readonly oldest?: Age | undefined
  /** Behind the newest there were checkpoints, the last of them certainly durable, and none is there whole. */
  readonly damaged?: SequenceRange | undefined
  /** Behind the newest some were to become durable. A crash took them before they were acknowledged, or they are damaged. */
  readonly missing?: SequenceRange | undefined
  /** Of what was durable. */
  readonly witnesses: readonly Witness[]
}

/** What a survey's newest is followed by that should be there, and is not. */
export function lostBehind(
  newest: Found | undefined,
  { firstSequence }: LogHeader,
  { durableSequence, promisedSequence }: { durableSequence: bigint; promisedSequence: bigint },
): Pick<Survey, 'damaged' | 'missing'> {
  const from = greater((newest?.sequence ?? 0n) + 1n, firstSequence)
  const damaged = durableSequence >= from ? { damaged: { from, to: durableSequence } } : {}
  const behind = greater(from, durableSequence + 1n)
  return promisedSequence >= behind ? { ...damaged, missing: { from: behind, to: promisedSequence } } : damaged
}

/**
 * Why a record that a reader came for is not there: overwritten since, or about to be (lapped); never durable and gone with
 * the unit (lost); damaged, since it was durable and nothing may overwrite it yet.
 */
export type Verdict = 'lapped' | 'lost' | 'damaged'

export interface Item {
  readonly found: Found
  /** Has at least the headers, and the payload if it is small. */
  readonly window: RecordWindow
}
export interface Gap {
  readonly gap: Verdict
  /** The first that is missing. */
  readonly sequence: bigint
  /** The last that is, as far as it matters: of what is damaged, the last that was durable. */
  readonly to: bigint
  /** Of what lies in front of it, or else behind it; 0 when nothing does. */
  readonly epoch: bigint
}

/** Whether a checkpoint's payload holds. */
export type Accept = (found: Found, window: RecordWindow) => Promise<boolean>

export interface SurveyOptions {
  /** Refuse what may be read but not written. */
  writing?: boolean
  /** What else is kept does not matter. */
  newestOnly?: boolean
  /** Default: verifies the checksums without keeping the bytes. */
  accept?: Accept
}

/** A place behind the newest checkpoint of a survey, to wait at for the next. */
export interface Tail {
  /** Of the log when it was last polled. */
  readonly header: LogHeader
  /**
   * One small batch of reads where the log would go on. Gives the next checkpoint, whose payload may not have landed yet;
   * `moved` when the log may go on elsewhere, so that it has to be surveyed again; undefined when there is nothing new.
   */
  poll(deadline: Deadline): Promise<Item | 'moved' | undefined>
  /** Goes on behind a checkpoint that poll gave. Until then poll gives it again. */
  advance(found: Found): void
}

export interface LogView<S extends Survey = Survey> {
  survey(deadline: Deadline, options?: SurveyOptions): Promise<S>
  /** The checkpoint of that number, if all of it is there. */
  find(sequence: bigint, deadline: Deadline): Promise<Item | undefined>
  /**
   * Whole checkpoints in order, cleared ones left out, from the first after `after` to the survey's newest, and gaps
   * where records are missing. With `wholeBatch` everything is read in one batch first.
   */
  checkpoints(survey: S, after: Age | undefined, deadline: Deadline, wholeBatch: boolean): AsyncGenerator<Item | Gap>
  /** Looks again for a record that was found and then failed its checksum. */
  judge(header: RecordHeader, deadline: Deadline): Promise<Verdict>
  /** Whether its checksums hold, and those of all that it builds on. */
  isWhole(found: Found, window: RecordWindow, deadline: Deadline): Promise<boolean>
  /** Whether a record that was read is still in its place. */
  isThere(record: RecordHeader, deadline: Deadline): Promise<boolean>
  /** Why the checkpoint of that number, which a delta builds on, cannot be found. */
  judgeBase(sequence: bigint, delta: Found, deadline: Deadline): Promise<Verdict>
  tail(survey: S): Tail
}

export const largestAssembledBytes = 2 ** 31

export function foundOf(parts: readonly RecordHeader[]): Found | undefined {
  const first = parts[0]
  const last = parts.at(-1)
  if (first === undefined || last === undefined || first.part !== 0 || !isLast(last)) return undefined
  const storedBytes = last.offset + last.payloadBytes
  return {
    parts: parts as readonly [RecordHeader, ...RecordHeader[]],
    last,
    sequence: first.sequence,
    epoch: first.epoch,
    bytes: first.kind === recordKind.delta ? (first.totalBytes ?? 0) : storedBytes,
    storedBytes,
  }
}

/** Records of one chain in, whole checkpoints out; parts without their first or last are left out. */
export class Assembler {
  #parts: RecordHeader[] = []

  add(header: RecordHeader): Found | undefined {
    if (header.part === 0) this.#parts = [header]
    else if (this.#parts.at(-1)?.part === header.part - 1) this.#parts.push(header)
    else return undefined
    if (!isLast(header)) return undefined
    const found = foundOf(this.#parts)
    this.#parts = []
    return found
  }

  /** The chain was interrupted. */
  reset(): void {
    this.#parts = []
  }
}

/** Whether the checksums hold of all that is stored of it. */
export async function verifyFound(found: Found, window: RecordWindow): Promise<boolean> {
  for (const part of found.parts.toReversed()) if (!(await window.verify(part))) return false
  return true
}

/** @throws CheckpointError `LIMIT_REACHED` beyond 2 GiB */
export function requireAssemblable(found: Found): void {
  if (found.bytes <= largestAssembledBytes) return
  throw new CheckpointError(
    'LIMIT_REACHED',
    `Checkpoint ${found.sequence} has ${found.bytes} bytes; more than ${largestAssembledBytes} are not put together in memory.`,
    { help: `Read it with stream(${found.sequence}n).`, details: { sequence: found.sequence, bytes: found.bytes } },
  )
}

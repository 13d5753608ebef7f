/** What the append and the overwrite format have in common for those who read them. */
import { pause } from '../call/timer.js'
import type { Deadline } from './deadline.js'
import type { SequenceRange } from './findings.js'
import type { Witness } from './metadata/directory.js'
import type { LogHeader } from './metadata/log-header.js'
import type { RecordHeader } from './record/header.js'
import { greater, type LogOrder } from './record/order.js'
import type { StoredCheckpoint } from './record/stored.js'
import type { RecordWindow } from './record/window.js'

/** What a log held when it was looked at. */
export interface Survey {
  readonly header: LogHeader
  /** The newest checkpoint whose checksums hold, cleared or not. */
  readonly newest: StoredCheckpoint | undefined
  /** Sequence of the newest that is dropped; 0 when none was. What is kept begins behind it. */
  readonly droppedThrough: bigint
  /** The first record that is kept, as far as the directory knows. */
  readonly oldest?: LogOrder | undefined
  /** Behind the newest there were checkpoints, the last of them certainly durable, and none is there whole. */
  readonly damaged?: SequenceRange | undefined
  /** Behind the newest some were to become durable. A crash took them before they were acknowledged, or they are damaged. */
  readonly missing?: SequenceRange | undefined
  /** Of what was durable. */
  readonly witnesses: readonly Witness[]
}

/** The newest that is not cleared. */
export function newestKept({ newest, header }: Survey): StoredCheckpoint | undefined {
  return newest === undefined || newest.sequence < header.firstSequence ? undefined : newest
}

/** What a survey's newest is followed by that should be there, and is not. */
export function lostBehind(
  newest: StoredCheckpoint | undefined,
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
  readonly stored: StoredCheckpoint
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

/**
 * A living owner that appends nothing writes down what is durable within 25 ms; see writer/rest.ts. Looks, not time: an event
 * loop that was blocked may have kept an owner in this process from it, too.
 */
const mostLooks = 7
const lookAgainMs = 10

/** A survey; where something is missing at the end, it looks again for a while, in case the owner says that it was durable. */
export async function settledSurvey<S extends Survey>(
  view: LogView<S>,
  deadline: Deadline,
  options?: SurveyOptions,
): Promise<S> {
  for (let looks = 1; ; looks++) {
    const survey = await view.survey(deadline, options)
    if (survey.missing === undefined || looks === mostLooks) return survey
    await pause(lookAgainMs, deadline.signal)
  }
}

/** Whether a checkpoint's payload holds. */
export type Accept = (stored: StoredCheckpoint, window: RecordWindow) => Promise<boolean>

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
  advance(stored: StoredCheckpoint): void
}

export interface LogView<S extends Survey = Survey> {
  /** From now on the view relies on this, too: everything up to what it gives is durable. Of an owner, who knows more than is written down. */
  relyOn(durableSequence: () => bigint): void
  survey(deadline: Deadline, options?: SurveyOptions): Promise<S>
  /**
   * The checkpoint of that number, if all of it is there.
   * @param through a checkpoint of the log: what lies behind it is not looked at, since a crash may have left it there
   */
  find(sequence: bigint, deadline: Deadline, through?: StoredCheckpoint): Promise<Item | undefined>
  /**
   * Whole checkpoints in order, cleared ones left out, from the first after `after` to the survey's newest, and gaps
   * where records are missing. With `wholeBatch` everything is read in one batch first.
   */
  checkpoints(
    survey: S,
    after: LogOrder | undefined,
    deadline: Deadline,
    wholeBatch: boolean,
  ): AsyncGenerator<Item | Gap>
  /** Looks again for a record that was found and then failed its checksum. */
  judge(header: RecordHeader, deadline: Deadline): Promise<Verdict>
  /** Whether its checksums hold, and those of all that it builds on. */
  isWhole(stored: StoredCheckpoint, window: RecordWindow, deadline: Deadline): Promise<boolean>
  /** Whether a record that was read is still in its place. */
  isThere(record: Pick<RecordHeader, 'position' | 'headerCrc'>, deadline: Deadline): Promise<boolean>
  /** Why the checkpoint of that number, which a delta builds on, cannot be found. */
  judgeBase(sequence: bigint, delta: StoredCheckpoint, deadline: Deadline): Promise<Verdict>
  tail(survey: S): Tail
}

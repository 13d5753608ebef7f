/** Finds one checkpoint of a log by its number, or says why it is not there. */
import { invalid, show } from '../call/check.js'
import type { CheckpointError } from '../errors.js'
import type { Deadline } from './deadline.js'
import { isCut, Restorer, type Unrestorable } from './delta/restore.js'
import type { SequenceRange } from './findings.js'
import { type Item, type LogView, newestKept, type Survey, settledSurvey, type Verdict } from './log-view.js'
import { damaged, lapped, notFound } from './missing.js'
import type { LogOrder } from './record/order.js'
import type { StoredCheckpoint } from './record/stored.js'
import type { RegionReadAccess } from './region-access.js'

export class Finder {
  readonly #access: RegionReadAccess
  readonly #view: LogView

  constructor(access: RegionReadAccess, view: LogView) {
    this.#access = access
    this.#view = view
  }

  /** @throws CheckpointError as of `CheckpointReader.at` */
  async find(sequence: bigint, deadline: Deadline): Promise<Item> {
    if (typeof sequence !== 'bigint' || sequence < 1n || sequence >= 2n ** 64n) {
      throw invalid(`A sequence number must be a bigint from 1 to 2^64-1; it is ${show(sequence)}.`)
    }
    let item = await this.#view.find(sequence, deadline)
    const survey = await settledSurvey(this.#view, deadline)
    const { newest, header, droppedThrough } = survey
    const isAppended = this.#access.mode === 'append'
    if (isAppended && item !== undefined && newest !== undefined && item.stored.last.position > newest.last.position) {
      // A crash left it behind, and its number may have been used again.
      item = await this.#view.find(sequence, deadline, newest)
    }
    if (sequence < header.firstSequence) throw notFound(sequence, survey, 'was cleared')
    const { damaged: end, missing } = survey
    if (missing !== undefined && sequence >= missing.from && sequence <= missing.to) {
      throw notFound(sequence, survey, 'was to become durable and is not intact: a crash took it, or it is damaged')
    }
    if (end !== undefined && sequence >= end.from && sequence <= end.to) throw this.damagedEnd(survey)
    if (newest === undefined || sequence > newest.sequence) throw notFound(sequence, survey, 'was not written yet')
    if (item !== undefined && isCut(item.stored, survey)) throw lapped(sequence, survey)
    if (item !== undefined && (sequence > droppedThrough || this.#access.mode === 'overwrite')) return item
    if (sequence <= droppedThrough) throw lapped(sequence, survey)
    for await (const part of this.#view.checkpoints(survey, undefined, deadline, false)) {
      if (!('gap' in part) || part.sequence > sequence) continue
      if (part.gap === 'damaged' && sequence <= part.to) {
        throw this.damaged({ from: part.sequence, to: part.to }, part)
      }
      if (part.gap === 'lapped') throw lapped(sequence, survey)
    }
    throw notFound(sequence, survey, 'is not in the log: a writer gave it up, or it was lost before it was durable')
  }

  restorer(remembers = false): Restorer {
    return new Restorer(this.#access, (base, deadline, through) => this.#view.find(base, deadline, through), remembers)
  }

  /** Why a checkpoint that was found has no bytes. */
  async verdict(stored: StoredCheckpoint, why: Unrestorable, deadline: Deadline): Promise<Verdict> {
    if (why.why !== 'base') return why.why === 'torn' ? this.#view.judge(stored.last, deadline) : 'damaged'
    if (isCut(stored, await this.#view.survey(deadline, { accept: async () => true }))) return 'lapped'
    const base = await this.#view.find(why.missing, deadline, stored)
    if (base !== undefined) return this.#view.judge(base.stored.last, deadline)
    return this.#view.judgeBase(why.missing, stored, deadline)
  }

  /** The error for a checkpoint that was found and has no bytes. */
  async missing(stored: StoredCheckpoint, why: Unrestorable, deadline: Deadline): Promise<CheckpointError> {
    const verdict = await this.verdict(stored, why, deadline)
    if (verdict === 'damaged') return this.damaged(rangeOf(stored), stored)
    const survey = await this.#view.survey(deadline)
    return verdict === 'lapped'
      ? lapped(stored.sequence, survey)
      : notFound(stored.sequence, survey, 'was not written whole, or lost before it was durable')
  }

  async lapped(sequence: bigint, deadline: Deadline): Promise<CheckpointError> {
    return lapped(sequence, await this.#view.survey(deadline))
  }

  /** @param place where to go on, and the newest whole checkpoint before a damaged end */
  damaged(range: SequenceRange, place: { newest?: LogOrder | undefined; epoch?: bigint }): CheckpointError {
    return damaged(range, { region: this.#access.id, ...place })
  }

  damagedEnd(survey: Survey): CheckpointError {
    return this.damaged(survey.damaged ?? { from: 0n, to: 0n }, { newest: newestKept(survey) })
  }
}

export function rangeOf({ sequence }: LogOrder): SequenceRange {
  return { from: sequence, to: sequence }
}

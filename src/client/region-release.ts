/**
 * The end of a handle at the unit: the unit is told that it is closed, in the background as well, and what becomes of the release
 * of an owner's region is found out.
 *
 * A release is failed when the unit says so; when another session has come and the region still has this owner; and when the
 * session ends before the unit has confirmed it. It is told once: by the close that waits for it, or by an event later.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Request } from '../control/messages.js'
import { isPassing } from '../error-traits.js'
import { CheckpointError } from '../errors.js'
import type { RegionInfo } from '../types.js'
import { Backoff } from './backoff.js'
import type { UnitSession } from './unit-session.js'

/** Whoever closes a region waits no longer for the unit to confirm it. */
const closeMs = 500
const firstBackoffMs = 50

export interface Closing {
  readonly session: bigint
  /** The handle that is closed, or the open without an answer that is given up. */
  readonly what: Partial<Omit<Request<'CloseRegion'>, 'session'>>
}

/** What the unit has on record is to be compared with it. */
export interface Owned {
  readonly session: bigint
  readonly info: RegionInfo
  readonly epoch: bigint
}

export class RegionRelease {
  readonly #session: UnitSession
  readonly #name: string
  readonly #onUnreleased: (error: CheckpointError, epoch: bigint) => void
  #told = false

  /** @param onUnreleased a release has failed that no close waits for any more */
  constructor(session: UnitSession, name: string, onUnreleased: (error: CheckpointError, epoch: bigint) => void) {
    this.#session = session
    this.#name = name
    this.#onUnreleased = onUnreleased
  }

  /**
   * Never rejects. A later call closes what was opened meanwhile.
   * @param owned what is released by it; undefined: nothing
   * @param awaited false: nobody looks at the result, and a failure is told as one of later is
   * @returns why the release is not on record, if the unit said so
   */
  async close(
    closings: readonly Closing[],
    owned: Owned | undefined,
    awaited: boolean,
  ): Promise<CheckpointError | undefined> {
    const errors = await Promise.all(closings.map((closing) => this.#tellClosed(closing)))
    const open = closings.filter((_, at) => isUnanswered(errors[at]))
    const refused = errors.find((error) => error !== undefined && !isPassing(error.code) && error.code !== 'CLOSED')
    const last = errors.find(isUnanswered)
    if (last !== undefined) void this.#closeLater(open, owned, last)
    if (owned === undefined || refused === undefined) return undefined
    if (!awaited) this.#tell(refused, owned)
    if (this.#told) return undefined
    this.#told = true
    return unreleased(this.#name, refused)
  }

  #tell(cause: CheckpointError, { epoch }: Owned): void {
    if (this.#told) return
    this.#told = true
    this.#onUnreleased(unreleased(this.#name, cause), epoch)
  }

  /** @returns why the unit has not closed it */
  async #tellClosed({ session, what }: Closing): Promise<CheckpointError | undefined> {
    try {
      await this.#session.callAs(session, 'CloseRegion', what, { timeoutMs: closeMs })
      return undefined
    } catch (error) {
      return asError(error)
    }
  }

  /**
   * For as long as the session lives its heartbeats keep what it has open: a unit that has not heard of the close would refuse the
   * region to everybody else.
   */
  async #closeLater(closings: readonly Closing[], owned: Owned | undefined, first: CheckpointError): Promise<void> {
    let last = first
    // One try without an answer may have released it, whatever became of the others.
    let doubtful = first.outcome === 'unknown'
    const forget = this.#session.onEnd((session, error) => {
      if (owned === undefined || (error === undefined && session === owned.session)) return
      const cause = error ?? last
      this.#tell(doubtful ? cause.withOutcome('unknown') : cause, owned)
    })
    const backoff = new Backoff(firstBackoffMs)
    let left = closings
    while (left.length > 0) {
      await sleep(backoff.next(), undefined, { ref: false })
      try {
        const session = await this.#session.ready()
        const here = left.find((closing) => closing.session === session)
        // In another session there are no handles of this one.
        if (here === undefined) {
          if (owned !== undefined && (await this.#isOwned(owned))) this.#tell(last.withOutcome('none'), owned)
          break
        }
        await this.#session.callAs(session, 'CloseRegion', here.what, { timeoutMs: closeMs })
        left = left.filter((closing) => closing !== here)
      } catch (error) {
        last = asError(error)
        doubtful ||= last.outcome === 'unknown'
        // The end of the session tells.
        if (last.code === 'CLOSED') return
        if (isUnanswered(last)) continue
        if (owned !== undefined) this.#tell(last, owned)
        break
      }
    }
    forget()
  }

  /** The unit has this owner on record. */
  async #isOwned({ info, epoch }: Owned): Promise<boolean> {
    try {
      const region = await this.#session.call('GetRegion', { name: this.#name }, { timeoutMs: closeMs })
      return region.id === info.id && region.epoch === epoch && region.owner !== ''
    } catch (error) {
      if (asError(error).code === 'REGION_NOT_FOUND') return false
      throw error
    }
  }
}

function unreleased(name: string, cause: CheckpointError): CheckpointError {
  const { code, outcome, retryable, details } = cause
  return new CheckpointError(
    code,
    `Region '${name}' has been closed, and the unit could not record that nobody owns it: ${cause.message}`,
    {
      cause,
      outcome,
      retryable,
      help: 'Acknowledged writes keep their durability. After a restart of the unit the region stays owned until its lease expires.',
      ...(details === undefined ? {} : { details }),
    },
  )
}

/** The unit, or the session, is away: nothing is known of the release. */
function isUnanswered(error: CheckpointError | undefined): error is CheckpointError {
  return error !== undefined && isPassing(error.code)
}

function asError(error: unknown): CheckpointError {
  return error instanceof CheckpointError ? error : new CheckpointError('INTERNAL', String(error), { cause: error })
}

/** Opens a region over the control plane, the first time and again, for its data connection. */
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { Secret } from '../call/printed.js'
import type { Reply, Request } from '../control/messages.js'
import { isPassing } from '../error-traits.js'
import { CheckpointError, type ErrorCode } from '../errors.js'
import type { Lease, RegionInfo } from '../types.js'
import { Backoff } from './backoff.js'
import { closedError } from './call-errors.js'
import type { Opened, Opener } from './region-connection.js'
import { fromMessage } from './region-info.js'
import type { UnitSession } from './unit-session.js'

/** A unit answers a new owner when what was left is durable, which may take seconds if it is a large region whole. */
const takeMs = 60_000
/** Whoever closes a region waits no longer for the unit to confirm it. */
const closeMs = 500
const firstBackoffMs = 50

export type OpenMode = 'READ' | 'WRITE' | 'TAKE_OVER'

/** How a region is to be opened. */
export interface OpenTerms {
  readonly name: string
  readonly mode: OpenMode
  readonly lease: Lease
}

export interface OpenedRegion extends Opened {
  session: bigint
  info: RegionInfo
  epoch: bigint
  slot: number
  /** Told only where this open became the owner. */
  ownerSecret: Secret | undefined
}

/** The handle that is closed, or the open without an answer that is given up. */
type Closing = Partial<Omit<Request<'CloseRegion'>, 'session'>>

export class RegionOpener implements Opener<OpenedRegion> {
  readonly what: string
  readonly region: string
  readonly #session: UnitSession
  readonly #name: string
  readonly #mode: OpenMode
  readonly #lease: Lease
  /** By it the unit knows an open that is made again, since its answer was lost on the way. */
  readonly #attempt = randomBytes(16)
  readonly #onFenced: (epoch: bigint) => void
  /** The session in which an open has had no answer yet, or none at all: the unit may have done it. */
  #inDoubt: bigint | undefined
  #closed = false

  /** @param onFenced the unit says over the session that a later epoch owns the region */
  constructor(session: UnitSession, { name, mode, lease }: OpenTerms, onFenced: (epoch: bigint) => void) {
    this.what = `region '${name}'`
    this.region = name
    this.#session = session
    this.#name = name
    this.#mode = mode
    this.#lease = lease
    this.#onFenced = onFenced
  }

  get changes(): boolean {
    return this.#mode !== 'READ'
  }

  async open(previous: OpenedRegion | undefined, timeoutMs: number): Promise<OpenedRegion> {
    const session = this.#session
    const id = await session.ready(timeoutMs)
    if (this.#closed) throw closedError(this.what)
    // What was taken over once is opened again as its owner; taking it over again would fence whoever came after us.
    const mode = previous !== undefined && this.#mode === 'TAKE_OVER' ? 'WRITE' : this.#mode
    const request = {
      name: this.#name,
      mode,
      lease: this.#lease,
      attempt: this.#attempt,
      ...(previous && again(previous, id, mode)),
    }
    const takes = mode !== 'READ' && previous === undefined
    const reply = await this.#call(id, request, takes ? takeMs : timeoutMs)
    if (previous !== undefined) session.offFence(previous.handle)
    const { handle } = reply
    if (mode !== 'READ') session.onFence(handle, this.#onFenced)
    return {
      handle,
      session: id,
      token: new Secret(reply.token),
      endpoints: reply.endpoints,
      info: fromMessage(reply.region),
      epoch: reply.epoch,
      slot: reply.slot,
      ownerSecret: reply.ownerSecret.byteLength > 0 ? new Secret(reply.ownerSecret) : previous?.ownerSecret,
    }
  }

  async #call(
    session: bigint,
    request: Omit<Request<'OpenRegion'>, 'session'>,
    timeoutMs: number,
  ): Promise<Reply<'OpenRegion'>> {
    const before = this.#inDoubt
    this.#inDoubt = session
    try {
      const reply = await this.#session.callAs(session, 'OpenRegion', request, { timeoutMs })
      this.#inDoubt = undefined
      return reply
    } catch (error) {
      if (error instanceof CheckpointError && error.outcome === 'none') this.#inDoubt = before
      throw error
    }
  }

  async close(opened: OpenedRegion | undefined): Promise<CheckpointError | undefined> {
    this.#closed = true
    const cancelled =
      this.#inDoubt === undefined ? undefined : this.#tell(this.#inDoubt, { name: this.#name, attempt: this.#attempt })
    let refused: CheckpointError | undefined
    if (opened !== undefined) {
      this.#session.offFence(opened.handle)
      refused = await this.#tell(opened.session, { handle: opened.handle })
    }
    await cancelled
    return refused === undefined || !this.changes ? undefined : unreleased(this.#name, refused)
  }

  /** @returns what the unit could not do of it, as it says */
  async #tell(session: bigint, what: Closing): Promise<CheckpointError | undefined> {
    try {
      await this.#tellClosed(session, what)
    } catch (error) {
      if (isAway(error)) void this.#tellClosedLater(session, what)
      else if (error instanceof CheckpointError && !unsaid.has(error.code)) return error
    }
    return undefined
  }

  async #tellClosed(session: bigint, what: Closing): Promise<void> {
    await this.#session.callAs(session, 'CloseRegion', what, { timeoutMs: closeMs })
  }

  /**
   * For as long as the session lives its heartbeats keep what it has open: a unit that has not heard of the close would refuse the
   * region to everybody else.
   */
  async #tellClosedLater(session: bigint, what: Closing): Promise<void> {
    const backoff = new Backoff(firstBackoffMs)
    for (;;) {
      await sleep(backoff.next(), undefined, { ref: false })
      try {
        // In another session there are no handles of this one.
        if ((await this.#session.ready()) === session) await this.#tellClosed(session, what)
        return
      } catch (error) {
        if (!isAway(error)) return
      }
    }
  }
}

/** They say nothing of a release: the session is gone, or this client. */
const unsaid: ReadonlySet<ErrorCode> = new Set(['SESSION_EXPIRED', 'CLOSED'])

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

function isAway(error: unknown): boolean {
  return error instanceof CheckpointError && isPassing(error.code) && error.code !== 'SESSION_EXPIRED'
}

function again(previous: OpenedRegion, session: bigint, mode: OpenMode): Partial<Request<'OpenRegion'>> {
  return {
    regionId: previous.info.id,
    previousHandle: previous.session === session ? previous.handle : 0n,
    ...(mode === 'READ' || previous.ownerSecret === undefined
      ? {}
      : { ownerSecret: previous.ownerSecret.reveal(), ownerEpoch: previous.epoch }),
  }
}

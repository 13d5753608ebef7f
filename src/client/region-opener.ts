/** Opens a region over the control plane, the first time and again, for its data connection. */
import { randomBytes } from 'node:crypto'
import { Secret } from '../call/printed.js'
import type { Reply, Request } from '../control/messages.js'
import { CheckpointError } from '../errors.js'
import type { Lease, RegionInfo } from '../types.js'
import { closedError } from './call-errors.js'
import type { Opened, Opener } from './region-connection.js'
import { fromMessage } from './region-info.js'
import { type Closing, RegionRelease } from './region-release.js'
import type { UnitSession } from './unit-session.js'

/** A unit answers a new owner when what was left is durable, which may take seconds if it is a large region whole. */
const takeMs = 60_000

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
  readonly #release: RegionRelease

  /**
   * @param onFenced the unit says over the session that a later epoch owns the region
   * @param onUnreleased as of {@link RegionRelease}
   */
  constructor(
    session: UnitSession,
    { name, mode, lease }: OpenTerms,
    onFenced: (epoch: bigint) => void,
    onUnreleased: (error: CheckpointError, epoch: bigint) => void,
  ) {
    this.what = `region '${name}'`
    this.region = name
    this.#session = session
    this.#name = name
    this.#mode = mode
    this.#lease = lease
    this.#onFenced = onFenced
    this.#release = new RegionRelease(session, name, onUnreleased)
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

  async close(opened: OpenedRegion | undefined, awaited: boolean): Promise<CheckpointError | undefined> {
    this.#closed = true
    const closings: Closing[] = []
    if (this.#inDoubt !== undefined) {
      closings.push({ session: this.#inDoubt, what: { name: this.#name, attempt: this.#attempt } })
    }
    if (opened !== undefined) {
      this.#session.offFence(opened.handle)
      closings.push({ session: opened.session, what: { handle: opened.handle } })
    }
    return await this.#release.close(closings, this.changes ? opened : undefined, awaited)
  }
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

/** Opens a region over the control plane, the first time and again, for its data link. */
import { Secret } from '../call/printed.js'
import type { Request } from '../control/messages.js'
import type { CheckpointError } from '../errors.js'
import type { NativeGrant } from '../native.js'
import type { Lease, RegionInfo } from '../types.js'
import type { LinkOpener, Opened } from './data-link.js'
import { fromMessage } from './region-info.js'
import type { UnitSession } from './unit-session.js'

/** A unit answers a new owner when what was left is durable, which may take seconds if it is a large region whole. */
const takeMs = 60_000

export type OpenMode = 'READ' | 'WRITE' | 'TAKE_OVER'

export interface OpenedRegion extends Opened {
  session: bigint
  info: RegionInfo
  epoch: bigint
  slot: number
  /** Told only where this open became the owner. */
  ownerSecret: Secret | undefined
}

export interface RegionOpenerEvents {
  onFailed(error: CheckpointError): void
  onWritesLost(error: CheckpointError): void
  onOpened(opened: OpenedRegion, grant: NativeGrant): void
  onFenced(epoch: bigint): void
}

export class RegionOpener implements LinkOpener<OpenedRegion> {
  readonly what: string
  readonly region: string
  #session: UnitSession
  #name: string
  #mode: OpenMode
  #lease: Lease
  #events: RegionOpenerEvents | undefined

  constructor(session: UnitSession, name: string, mode: OpenMode, lease: Lease) {
    this.what = `region '${name}'`
    this.region = name
    this.#session = session
    this.#name = name
    this.#mode = mode
    this.#lease = lease
  }

  /** Before the link opens. */
  tell(events: RegionOpenerEvents): void {
    this.#events = events
  }

  async open(previous: OpenedRegion | undefined, timeoutMs: number): Promise<OpenedRegion> {
    const session = this.#session
    const id = await session.ready(timeoutMs)
    // What was taken over once is opened again as its owner; taking it over again would fence whoever came after us.
    const mode = previous !== undefined && this.#mode === 'TAKE_OVER' ? 'WRITE' : this.#mode
    const request = { name: this.#name, mode, lease: this.#lease, ...(previous && again(previous, id, mode)) }
    const takes = mode !== 'READ' && previous === undefined
    const reply = await session.callAs(id, 'OpenRegion', request, { timeoutMs: takes ? takeMs : timeoutMs })
    if (previous !== undefined) session.offFence(previous.handle)
    const { handle } = reply
    if (mode !== 'READ') session.onFence(handle, (epoch) => this.#events?.onFenced(epoch))
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

  async close(opened: OpenedRegion): Promise<void> {
    this.#session.offFence(opened.handle)
    await this.#session.callAs(opened.session, 'CloseRegion', { handle: opened.handle }, { timeoutMs: 1_000 })
  }

  onFailed(error: CheckpointError): void {
    this.#events?.onFailed(error)
  }

  onWritesLost(error: CheckpointError): void {
    this.#events?.onWritesLost(error)
  }

  onOpened(opened: OpenedRegion, grant: NativeGrant): void {
    this.#events?.onOpened(opened, grant)
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

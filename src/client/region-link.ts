/** Opens a region over the control plane, the first time and again, for its data link. */
import type { OpenRegionMessage } from '../control/messages.js'
import type { CheckpointError } from '../errors.js'
import type { NativeGrant } from '../native.js'
import type { Lease, RegionInfo } from '../types.js'
import type { LinkOpener, Opened } from './data-link.js'
import { fromMessage } from './region-info.js'
import type { UnitSession } from './unit-session.js'

export interface OpenedRegion extends Opened {
  session: string
  info: RegionInfo
  epoch: bigint
  slot: number
  ownerSecret: Uint8Array
}

export interface RegionOpenerEvents {
  onFailed(error: CheckpointError): void
  onWritesLost(error: CheckpointError): void
  onOpened(opened: OpenedRegion, grant: NativeGrant): void
  onFenced(epoch: bigint): void
}

export class RegionOpener implements LinkOpener<OpenedRegion> {
  readonly what: string
  #events: RegionOpenerEvents | undefined

  constructor(
    private readonly session: UnitSession,
    private readonly name: string,
    private readonly mode: 'READ' | 'WRITE',
    private readonly lease: Lease,
  ) {
    this.what = `region '${name}'`
  }

  /** Before the link opens. */
  tell(events: RegionOpenerEvents): void {
    this.#events = events
  }

  async open(previous: OpenedRegion | undefined, timeoutMs: number): Promise<OpenedRegion> {
    const { session, name, mode, lease } = this
    const id = await session.ready(timeoutMs)
    const again =
      previous === undefined
        ? {}
        : {
            regionId: previous.info.id,
            previousHandle: previous.session === id ? String(previous.handle) : '0',
            ...(mode === 'WRITE' ? { ownerSecret: previous.ownerSecret, ownerEpoch: String(previous.epoch) } : {}),
          }
    const answer = await session.call('OpenRegion', { name, mode, lease, ...again }, { timeoutMs })
    if (previous !== undefined) session.offFence(previous.handle)
    return this.#opened(answer.reply, answer.session)
  }

  async close(opened: OpenedRegion): Promise<void> {
    this.session.offFence(opened.handle)
    await this.session.call('CloseRegion', { handle: String(opened.handle) }, { timeoutMs: 1_000 })
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

  #opened(reply: OpenRegionMessage, session: string): OpenedRegion {
    const handle = BigInt(reply.handle)
    if (this.mode === 'WRITE') this.session.onFence(handle, (epoch) => this.#events?.onFenced(epoch))
    return {
      handle,
      session,
      token: reply.token,
      endpoints: reply.endpoints,
      info: fromMessage(reply.region),
      epoch: BigInt(reply.epoch),
      slot: reply.slot,
      ownerSecret: reply.ownerSecret,
    }
  }
}

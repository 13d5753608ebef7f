/** What an open region asks of its unit besides moving bytes: its entry in the tables, cursors, notes. */
import { unlessAborted } from '../call/call.js'
import type { CheckpointError } from '../errors.js'
import { withOutcome } from '../outcome.js'
import type { CallOptions, RegionInfo } from '../types.js'
import type { ClientCore } from './client-core.js'
import type { OpenedRegion } from './region-opener.js'

export interface SavedCursor {
  readonly name: string
  readonly epoch: bigint
  readonly sequence: bigint
}

export class RegionControl {
  readonly #core: ClientCore
  /** Calls that change something: a close waits for them. */
  readonly #calls = new Set<Promise<unknown>>()
  readonly #givenUp = new AbortController()

  constructor(core: ClientCore) {
    this.#core = core
  }

  /** Read from the pool's tables by RDMA. */
  metadata({ slot, info }: OpenedRegion, options: CallOptions): Promise<RegionInfo> {
    return this.#core.tables.read(slot, info, options)
  }

  async saveCursor(
    { info: { name: region, id: regionId } }: OpenedRegion,
    { name, epoch, sequence }: SavedCursor,
    options: CallOptions | undefined,
  ): Promise<void> {
    const request = { region, regionId, cursor: { name, epoch, sequence } }
    const call = unlessAborted(this.#givenUp.signal, this.#core.session.call('SaveCursor', request, options))
    this.#calls.add(call)
    try {
      await call
    } finally {
      this.#calls.delete(call)
    }
  }

  /** The log was cleared. Nothing depends on it; a unit of an earlier release does not know the call. */
  noteCleared({ session, handle }: OpenedRegion): void {
    this.#core.session.callAs(session, 'NoteCleared', { handle }).catch(() => undefined)
  }

  /** Resolves when no call is without an answer. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#calls)
  }

  /** Calls without an answer reject with that. */
  giveUp(reason: CheckpointError): void {
    // The unit may have done what they asked for.
    this.#givenUp.abort(withOutcome(reason, 'unknown'))
  }
}

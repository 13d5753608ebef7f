/**
 * The regions that the data plane reaches: for each its number there, its open handles and its owner.
 *
 * Invariants: a region is here from serve() until unserve(), and its record is in the catalogue meanwhile. A handle is in
 * its region and in its session, or in neither. Calls about one region come one at a time (its lock is the caller's).
 */

import { CheckpointError } from '../errors.js'
import type { NativeResponder } from '../native.js'
import { callNative, rethrow } from '../native-error.js'
import type { RegionRecord } from '../pool/slot.js'
import type { RegionCatalogue } from './catalogue.js'
import { LoopClock } from './loop-clock.js'
import { Ownership, type SessionStates } from './ownership.js'
import type { Handle, Session, Sessions } from './sessions.js'

export interface ServedRegion {
  /** The responder's number of it. */
  readonly nativeId: bigint
  readonly handles: Set<Handle>
  readonly ownership: Ownership
}

const maxTokenLifeMs = 600_000

export class ServedRegions {
  readonly #catalogue: RegionCatalogue
  readonly #responder: NativeResponder
  readonly #sessions: Sessions
  readonly #served = new Map<string, ServedRegion>()
  /** Since clients can come; it runs as long as an owner is awaited. */
  readonly sinceReady = new LoopClock()
  /** 1 is the pool's tables. */
  #nextNativeId = 2n

  constructor(catalogue: RegionCatalogue, responder: NativeResponder, sessions: Sessions) {
    this.#catalogue = catalogue
    this.#responder = responder
    this.#sessions = sessions
  }

  /** Makes a region of the catalogue reachable. */
  serve(record: RegionRecord): ServedRegion {
    const nativeId = this.#nextNativeId++
    const extents = record.extents.flatMap((extent) => [extent.offset, extent.length])
    callNative(() => this.#responder.addRegion(nativeId, extents, record.bytes, record.epoch, false))
    const ownership = new Ownership(record.owner !== undefined)
    const served: ServedRegion = { nativeId, handles: new Set(), ownership }
    this.#served.set(record.id, served)
    return served
  }

  /** Ends all its connections first, so that nobody reads or writes what its space holds next. */
  async unserve(record: RegionRecord): Promise<void> {
    const served = this.of(record)
    await this.#responder.removeRegion(served.nativeId).catch(rethrow)
    this.#served.delete(record.id)
    for (const handle of served.handles) handle.session.handles.delete(handle.id)
  }

  /** @param regionId UUID of the region */
  get(regionId: string): ServedRegion | undefined {
    return this.#served.get(regionId)
  }

  of(record: RegionRecord): ServedRegion {
    const served = this.#served.get(record.id)
    if (served === undefined) throw new CheckpointError('INTERNAL', `Region "${record.name}" is not being served.`)
    return served
  }

  /** What can be opened, with its record. */
  *all(): Iterable<{ record: RegionRecord; served: ServedRegion }> {
    let after = ''
    for (;;) {
      const { records, more } = this.#catalogue.list('', after, 1000)
      for (const record of records) {
        const served = this.#served.get(record.id)
        if (served !== undefined) yield { record, served }
      }
      if (!more) return
      after = records.at(-1)?.name ?? ''
    }
  }

  /**
   * The record of a region.
   * @param regionId when set, the region must still be this one
   * @throws CheckpointError `REGION_NOT_FOUND`; `REGION_DAMAGED`, `POOL_DAMAGED`
   */
  find(name: string, regionId: string | undefined): RegionRecord {
    const record = this.#catalogue.get(name)
    if (record === undefined) {
      const damage = this.#catalogue.damageOf(name)
      if (damage !== undefined) throw damage
      throw new CheckpointError('REGION_NOT_FOUND', `There is no region named "${name}".`, {
        help: 'Create it, or list the regions there are.',
      })
    }
    if (regionId !== undefined && regionId !== record.id) {
      throw new CheckpointError(
        'REGION_NOT_FOUND',
        `Region "${name}" was deleted and made again: it is ${record.id} now, not ${regionId}.`,
        { details: { id: record.id } },
      )
    }
    return record
  }

  /** @throws CheckpointError `POOL_READ_ONLY` */
  assertWritable(): void {
    const { readOnly } = this.#catalogue
    if (readOnly !== undefined) {
      throw new CheckpointError('POOL_READ_ONLY', `The pool cannot be changed: ${readOnly}.`, {
        help: 'Regions can be read. Restart the unit once its medium is sound.',
      })
    }
  }

  /** Milliseconds that the owner on record can live on without being heard; 0 when there is none, or it is lost. */
  ownerLivesMs(record: RegionRecord, states: SessionStates = this.#sessions.states()): number {
    if (record.owner === undefined) return 0
    return this.#served.get(record.id)?.ownership.livesMs(record.lease, states, this.sinceReady.look()) ?? 0
  }

  /** @throws CheckpointError `LIMIT_REACHED` */
  addHandle(session: Session, record: RegionRecord, rights: Handle['rights'], opening?: Handle['opening']): Handle {
    const handle = this.#sessions.addHandle(session, {
      region: record.name,
      regionId: record.id,
      rights,
      epoch: record.epoch,
      ...(opening === undefined ? {} : { opening }),
    })
    this.of(record).handles.add(handle)
    return handle
  }

  /** What a data connection of the handle has to show. It works once. */
  token(handle: Handle, lifeMs: number | undefined): Uint8Array {
    const served = this.#served.get(handle.regionId)
    if (served === undefined) throw new CheckpointError('INTERNAL', `Region "${handle.region}" is not being served.`)
    return callNative(() =>
      this.#responder.issueToken({
        kind: 'data',
        session: handle.session.id,
        region: served.nativeId,
        handle: handle.id,
        rights: handle.rights,
        epoch: handle.epoch,
        ...tokenLife(lifeMs),
      }),
    )
  }

  /** Ends the handle's connections. */
  async disconnect(handle: Handle): Promise<void> {
    const served = this.#served.get(handle.regionId)
    if (served?.handles.has(handle)) await this.#responder.dropHandle(served.nativeId, handle.id).catch(rethrow)
  }

  /** Takes the handle out; its connections have ended, or never were. */
  forget(handle: Handle): void {
    const served = this.#served.get(handle.regionId)
    served?.handles.delete(handle)
    served?.ownership.end(handle)
    handle.session.handles.delete(handle.id)
  }

  async drop(handle: Handle): Promise<void> {
    await this.disconnect(handle)
    this.forget(handle)
  }
}

export function tokenLife(ms: number | undefined): { lifeMs?: number } {
  return ms === undefined || ms === 0 ? {} : { lifeMs: Math.min(ms, maxTokenLifeMs) }
}

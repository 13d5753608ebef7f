/**
 * Opening and closing of regions: who may read one, who owns it, and how it changes hands.
 *
 * Invariants: the epoch of a new owner is on record, durably, before anybody below it is cut off; and everybody below it
 * is cut off, and what they left is durable, before the new owner is answered. Changes of one region come one at a time;
 * what was begun is finished, whether or not the client still waits.
 */

import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { CheckpointError } from '../errors.js'
import type { NativeResponder } from '../native.js'
import { rethrow } from '../native-error.js'
import { afterEffect } from '../outcome.js'
import type { RegionChange } from '../pool/pool.js'
import type { RegionRecord } from '../pool/slot.js'
import type { RegionCatalogue } from './catalogue.js'
import type { KeyLock } from './key-lock.js'
import { type LeaseChange, mergedLease } from './lease.js'
import type { OwnerWatch } from './owner-watch.js'
import { leaseMs } from './ownership.js'
import type { RegionNews } from './region-news.js'
import type { ServedRegion, ServedRegions } from './served-regions.js'
import type { Handle, Opening, Session, Sessions } from './sessions.js'

/** Attempts given up that a session remembers: those may still arrive, on a connection that is slower than the one that cancelled them. */
const mostCancelled = 64

export interface OpenRequest {
  name: string
  mode: 'read' | 'write' | 'takeOver'
  /** The handle this session already has, when it opens again. */
  previousHandle?: bigint
  /** What the first open answered, when a client whose session is gone opens again what it owned. */
  resume?: { secret: Uint8Array; epoch: bigint }
  /** When set, the region must still be this one. */
  regionId?: string
  lease: LeaseChange
  tokenLifeMs?: number
  /** The same when a client makes an open again, whose answer it did not get. */
  attempt?: string
}
export interface OpenedRegion {
  record: RegionRecord
  handle: Handle
  token: Uint8Array
  /** Only where this open became owner. */
  ownerSecret?: Uint8Array
  /** Which of the answers to the same attempt it is; undefined without one. */
  answer?: number
  /** It was owned before, by whom asks. */
  resumed?: true
}
/** What the parts of the unit that deal with regions share. */
export interface RegionParts {
  catalogue: RegionCatalogue
  responder: NativeResponder
  sessions: Sessions
  served: ServedRegions
  owners: OwnerWatch
  news: RegionNews
  /** One at a time for each name. */
  locks: KeyLock
}

export class RegionOpenings {
  readonly #parts: RegionParts

  constructor(parts: RegionParts) {
    this.#parts = parts
  }

  /** @throws CheckpointError `REGION_NOT_FOUND`, `REGION_BUSY`, `FENCED`, `LIMIT_REACHED`, `POOL_READ_ONLY` */
  async open(session: Session, request: OpenRequest): Promise<OpenedRegion> {
    const { served, owners, locks } = this.#parts
    return await locks.run(request.name, async () => {
      if (request.attempt !== undefined && session.cancelled.has(request.attempt)) throw givenUp(request.name)
      const record = served.find(request.name, request.regionId)
      const previous = request.previousHandle === undefined ? undefined : session.handles.get(request.previousHandle)
      if (previous !== undefined && previous.regionId === record.id) return await this.#openAgain(previous, request)
      const made = this.#madeBy(session, record, request)
      if (request.mode !== 'read') served.assertWritable()
      if (made !== undefined) return await this.#answerAgain(made, request)
      if (request.mode === 'read') return this.#openForReading(session, record, request)
      if (request.resume !== undefined) return await this.#resume(session, record, request, request.resume)
      // It had the region and has it no more: it may not win it back by asking again.
      if (request.previousHandle !== undefined) throw fenced(record)
      if (request.mode === 'write') {
        const left = served.ownerLivesMs(record)
        if (left > 0) {
          served.of(record).ownership.tellNextLoss()
          owners.within(left)
          throw busy(record)
        }
      }
      return await this.#take(session, record, request)
    })
  }

  /** @throws CheckpointError `MEDIUM_FAILED`, `POOL_READ_ONLY` when it is closed, and an owner's release is not on record */
  async close(handle: Handle): Promise<void> {
    await this.#parts.locks.run(handle.region, () => this.#close(handle))
  }

  /** For who asks again, since the answer was lost or late. @throws CheckpointError what the {@link close} of that handle throws */
  async closed(session: Session, handle: bigint): Promise<void> {
    for (const [{ id }, closing] of session.closings) if (id === handle) await closing
  }

  /**
   * Closes what was opened, and whose token nobody was given. An owner that came back stays one: whoever asked for it did not give up
   * the region, and asks again.
   */
  async withdraw({ handle, answer, resumed }: OpenedRegion): Promise<void> {
    if (resumed) return
    await this.#parts.locks.run(handle.region, async () => {
      // Its client has asked again, and may have it.
      if (handle.opening?.answers !== answer) return
      this.#parts.served.get(handle.regionId)?.ownership.withdraw(handle)
      await this.#close(handle)
    })
  }

  /** A client has given up an open without having its answer: what that has opened is closed, and it opens nothing any more. */
  async cancel(session: Session, name: string, attempt: string): Promise<void> {
    await this.#parts.locks.run(name, async () => {
      session.cancelled.add(attempt)
      const [oldest] = session.cancelled
      if (session.cancelled.size > mostCancelled && oldest !== undefined) session.cancelled.delete(oldest)
      for (const handle of [...regionsOf(session), ...session.closings.keys()]) {
        if (handle.region === name && handle.opening?.attempt === attempt) await this.#close(handle)
      }
    })
  }

  /** Gives up everything the session has open, and the session. @throws CheckpointError the first of what {@link close} throws */
  async closeSession(session: Session): Promise<void> {
    const failures: unknown[] = []
    for (const handle of regionsOf(session)) await this.close(handle).catch((error: unknown) => failures.push(error))
    for (const closing of session.closings.values()) await closing.catch((error: unknown) => failures.push(error))
    this.#parts.sessions.remove(session)
    if (failures.length > 0) throw failures[0]
  }

  /** Ends a session whose client is gone. Its ownerships stay on record, as lost. */
  async expire(session: Session): Promise<void> {
    const { served, sessions, locks } = this.#parts
    for (const handle of regionsOf(session)) await locks.run(handle.region, () => served.drop(handle))
    sessions.remove(session)
  }

  async #openAgain(handle: Handle, request: OpenRequest): Promise<OpenedRegion> {
    const { served } = this.#parts
    const record = served.find(handle.region, handle.regionId)
    const { owner } = served.of(record).ownership
    if (handle.rights === 'readWrite' && (owner !== handle || record.epoch !== handle.epoch)) throw fenced(record)
    // Bytes that its earlier connection still buffers could land on top of newer ones.
    await served.disconnect(handle)
    return { record, handle, token: served.token(handle, request.tokenLifeMs) }
  }

  /** What this very open has made already, and of which its client does not know. */
  #madeBy(
    session: Session,
    record: RegionRecord,
    { mode, attempt, previousHandle, resume }: OpenRequest,
  ): Handle | undefined {
    if (attempt === undefined || previousHandle !== undefined || resume !== undefined) return undefined
    const { owner } = this.#parts.served.of(record).ownership
    const candidates = mode !== 'read' ? [owner] : [...session.handles.values()]
    return candidates.find(
      (handle) => handle?.session === session && handle.regionId === record.id && handle.opening?.attempt === attempt,
    )
  }

  async #answerAgain(handle: Handle, request: OpenRequest): Promise<OpenedRegion> {
    const { opening } = handle
    if (opening === undefined) throw new CheckpointError('INTERNAL', 'An open without a mark was found by it.')
    const answer = ++opening.answers
    const { secret } = opening
    return {
      ...(await this.#openAgain(handle, request)),
      answer,
      ...(secret === undefined ? {} : { ownerSecret: secret }),
    }
  }

  #openForReading(session: Session, record: RegionRecord, request: OpenRequest): OpenedRegion {
    const handle = this.#parts.served.addHandle(session, record, 'read', openingOf(request))
    return { record, handle, token: this.#tokenOrUndo(handle, request), ...firstAnswer(handle) }
  }

  /** An owner comes back after the unit, or its session, was lost: nobody took the region in between. */
  async #resume(
    session: Session,
    record: RegionRecord,
    request: OpenRequest,
    { secret, epoch }: { secret: Uint8Array; epoch: bigint },
  ): Promise<OpenedRegion> {
    const { served, news } = this.#parts
    const hash = hashOf(secret)
    if (record.epoch !== epoch || record.owner === undefined || !timingSafeEqual(record.owner.secretHash, hash)) {
      throw fenced(record)
    }
    const { owner } = served.of(record).ownership
    if (owner !== undefined) await served.drop(owner)
    const handle = served.addHandle(session, record, 'readWrite', openingOf(request, secret))
    const token = this.#tokenOrUndo(handle, request)
    this.#own(record, handle)
    news.log('resumed', record, { owner: session.identity })
    return { record, handle, token, ownerSecret: secret, resumed: true }
  }

  /**
   * Raises the epoch durably, then ends every writer below it, then makes durable what they left visible (the new owner
   * builds on what it reads, and that may not vanish with the unit), and only then answers.
   */
  async #take(session: Session, record: RegionRecord, request: OpenRequest): Promise<OpenedRegion> {
    const { catalogue, sessions, served, owners, news } = this.#parts
    const lease = mergedLease(record.lease, request.lease)
    const secret = randomBytes(32)
    const epoch = record.epoch + 1n
    const owner = { identity: session.identity, secretHash: hashOf(secret), sinceMs: Date.now() }
    const change: RegionChange = { epoch, owner, lease }
    sessions.requireRoom(session)
    const taken = await catalogue.update(record.name, change)
    const region = served.of(taken)
    const former = region.ownership.beginTakeover()
    try {
      return await afterEffect(async () => {
        await this.#endFormer(taken, region, former)
        if (record.owner !== undefined) news.log('fenced', record, { owner: record.owner.identity })
        const handle = served.addHandle(session, taken, 'readWrite', openingOf(request, secret))
        const token = this.#tokenOrUndo(handle, request)
        this.#own(taken, handle)
        news.tell(record.owner === undefined ? 'opened' : 'taken-over', taken, {
          owner: session.identity,
          ...(record.owner === undefined ? {} : { former: record.owner.identity }),
        })
        return { record: taken, handle, token, ownerSecret: secret, ...firstAnswer(handle) }
      })
    } catch (error) {
      // The epoch has an owner on record who never came to be.
      region.ownership.tellNextLoss()
      owners.look()
      throw error
    }
  }

  async #endFormer(taken: RegionRecord, region: ServedRegion, former: Handle | undefined): Promise<void> {
    const { responder, served } = this.#parts
    await responder.fence(region.nativeId, taken.epoch).catch(rethrow)
    if (former !== undefined) served.forget(former)
    await responder.makeDurable(region.nativeId).catch(rethrow)
    region.ownership.madeDurable()
  }

  async #close(handle: Handle): Promise<void> {
    const { closings } = handle.session
    let closing = closings.get(handle)
    if (closing === undefined) {
      closing = this.#release(handle)
      closings.set(handle, closing)
    }
    try {
      await closing
      closings.delete(handle)
    } catch (error) {
      // It is still open, and may be closed by another try.
      if (handle.session.handles.has(handle.id)) closings.delete(handle)
      throw error
    }
  }

  async #release(handle: Handle): Promise<void> {
    const { catalogue, served, news } = this.#parts
    const ownership = served.get(handle.regionId)?.ownership
    const owned = ownership?.owner === handle
    if (owned) ownership?.beginRelease()
    await served.drop(handle)
    const record = catalogue.get(handle.region)
    if (!owned || record === undefined || record.id !== handle.regionId) return
    await afterEffect(async () => {
      served.assertWritable()
      await catalogue.update(record.name, { owner: null })
    })
    news.tell('released', record, { owner: handle.session.identity })
  }

  #own(record: RegionRecord, handle: Handle): void {
    const { served, owners } = this.#parts
    served.of(record).ownership.own(handle)
    owners.within(leaseMs(record.lease))
  }

  #tokenOrUndo(handle: Handle, request: OpenRequest): Uint8Array {
    const { served } = this.#parts
    try {
      return served.token(handle, request.tokenLifeMs)
    } catch (error) {
      served.forget(handle)
      throw error
    }
  }
}

/** All but the pool's tables, which are nobody's. */
function regionsOf(session: Session): Handle[] {
  return [...session.handles.values()].filter((handle) => handle.regionId !== '')
}

function openingOf({ attempt }: OpenRequest, secret?: Uint8Array): Opening | undefined {
  return attempt === undefined ? undefined : { attempt, secret, answers: 1 }
}

function firstAnswer({ opening }: Handle): { answer?: number } {
  return opening === undefined ? {} : { answer: opening.answers }
}

function givenUp(name: string): CheckpointError {
  return new CheckpointError('ABORTED', `The open of "${name}" was given up by its client.`)
}

function hashOf(secret: Uint8Array): Buffer {
  return createHash('sha256').update(secret).digest()
}

function ownerDetails(record: RegionRecord): Record<string, unknown> {
  return {
    epoch: record.epoch,
    ...(record.owner === undefined
      ? {}
      : { owner: record.owner.identity, since: new Date(record.owner.sinceMs).toISOString() }),
  }
}

function busy(record: RegionRecord): CheckpointError {
  const { owner, since } = ownerDetails(record)
  return new CheckpointError(
    'REGION_BUSY',
    `Region "${record.name}" is open for writing by ${owner}, which is alive, since ${since} (epoch ${record.epoch}).`,
    {
      retryable: true,
      details: ownerDetails(record),
      help: 'Read it, wait until its owner closes it or is lost, or open it with mode takeOver.',
    },
  )
}

function fenced(record: RegionRecord): CheckpointError {
  return new CheckpointError(
    'FENCED',
    `Region "${record.name}" has been given up or taken over since it was opened; its epoch is ${record.epoch} now.`,
    {
      details: ownerDetails(record),
      help: 'Open the region again to own it anew, and read what was written meanwhile.',
    },
  )
}

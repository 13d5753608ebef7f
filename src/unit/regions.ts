/**
 * Regions as the control service deals with them: made, opened, owned, given up, deleted. Changes of one region are one
 * at a time; what was begun is finished, whether or not the client still waits.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { maxLeaseMs, minSilenceMs, requireRoom } from '../call/options.js'
import { CheckpointError } from '../errors.js'
import type { NativeResponder, NativeSessionState } from '../native.js'
import { fromNative } from '../native-error.js'
import { afterEffect } from '../outcome.js'
import type { NewRegion, RegionChange } from '../pool/pool.js'
import { labelsProblem, type RegionRecord, type SavedCursor, limits as slotLimits } from '../pool/slot.js'
import type { RegionEventType } from '../types.js'
import type { RegionCatalogue } from './catalogue.js'
import type { LoggedEvent, RegionEventLog, Standing } from './event-log.js'
import type { UnitEventFacts, UnitJournal } from './journal.js'
import { KeyLock } from './key-lock.js'
import { LoopClock } from './loop-clock.js'
import { OwnerWatch } from './owner-watch.js'
import { comeBackMs, inheritedOwnerLivesMs, ownerLivesMs } from './ownership.js'
import { type Handle, native, type Session, type SessionTable } from './sessions.js'

export interface LeaseChange {
  silenceMs?: number
  stallMs?: number
}
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
  /** The same when a client makes an open for writing again, whose answer it did not get. */
  attempt?: string
}
export interface OpenedRegion {
  record: RegionRecord
  handle: Handle
  token: Uint8Array
  /** Only where this open became owner. */
  ownerSecret?: Uint8Array
}

/** What the unit keeps of a region in memory, beside its record. */
interface LiveRegion {
  /** The responder's number of it. */
  readonly nativeId: bigint
  readonly handles: Set<Handle>
  owner?: Handle
  /** The owner on record was there when the unit started, and has not come back yet. */
  inherited: boolean
  /** Somebody could write it since a takeover last made it durable, or the unit started. */
  written: boolean
  /** The same before its present owner came. */
  writtenBefore: boolean
  /** Watchers know that its owner is lost. */
  lossTold: boolean
}

const defaultLease = { silenceMs: 1000, stallMs: 10_000 }
/** How often an owner that is lost is looked at: less than the shortest lease. */
const lookAgainMs = 100
const maxTokenLifeMs = 600_000
const mostDeleted = 1_000

export class RegionService {
  readonly #catalogue: RegionCatalogue
  readonly #responder: NativeResponder
  readonly #sessions: SessionTable
  readonly #locks = new KeyLock()
  readonly #live = new Map<string, LiveRegion>()
  /** Ids of the latest deleted regions, the oldest first: a create that is repeated late does not bring one back. */
  readonly #deleted = new Set<string>()
  readonly #maxBytes: number
  readonly #events: RegionEventLog
  /** Since clients can come; it runs as long as an owner is awaited. */
  readonly #sinceReady = new LoopClock()
  readonly #owners = new OwnerWatch(() => this.#tellLost())
  /** 1 is the pool's tables. */
  #nextNativeId = 2n
  readonly #journal: Pick<UnitJournal, 'tell'> | undefined

  constructor(
    catalogue: RegionCatalogue,
    responder: NativeResponder,
    sessions: SessionTable,
    events: RegionEventLog,
    maxBytes: number,
    journal?: Pick<UnitJournal, 'tell'>,
  ) {
    this.#journal = journal
    this.#catalogue = catalogue
    this.#events = events
    this.#responder = responder
    this.#sessions = sessions
    this.#maxBytes = maxBytes
  }

  get catalogue(): RegionCatalogue {
    return this.#catalogue
  }

  /** Makes a region of the catalogue reachable. */
  serve(record: RegionRecord): void {
    const nativeId = this.#nextNativeId++
    const extents = record.extents.flatMap((extent) => [extent.offset, extent.length])
    native(() => this.#responder.addRegion(nativeId, extents, record.bytes, record.epoch, false))
    const inherited = record.owner !== undefined
    this.#live.set(record.id, {
      nativeId,
      handles: new Set(),
      inherited,
      written: false,
      writtenBefore: false,
      lossTold: false,
    })
    if (inherited) this.#owners.within(record.lease.silenceMs + comeBackMs)
  }

  /** Clients can come from now on; so can owners of before. */
  ready(): void {
    this.#sinceReady.start()
    this.#owners.look()
  }

  /** Sessions may have lost their connections. */
  lookAtOwners(): void {
    this.#owners.look()
  }

  /**
   * The life of the region of that name, which need not be there (yet).
   * @throws CheckpointError `UNIT_STOPPING` once {@link stopWatches} was called
   */
  watch(name: string, since: bigint | undefined, signal: AbortSignal): AsyncIterable<LoggedEvent> {
    checkName(name)
    const damage = this.#catalogue.get(name) === undefined ? this.#catalogue.damageOf(name) : undefined
    if (damage !== undefined) throw damage
    return this.#events.watch(name, since, () => this.#standing(name), signal)
  }

  /** The owner tells that it has cleared its log. */
  noteCleared(handle: Handle): void {
    const record = this.#catalogue.get(handle.region)
    if (record === undefined || this.#live.get(handle.regionId)?.owner !== handle) return
    this.#tell('cleared', record, { owner: handle.session.identity })
  }

  stopWatches(): void {
    this.#sinceReady.stop()
    this.#owners.close()
    this.#events.close()
  }

  /** Whether the region has an owner on record that is silent, stalled or gone. */
  ownerLost(record: RegionRecord, states = this.#sessions.states()): boolean {
    if (!this.#live.has(record.id)) return record.owner !== undefined
    return record.owner !== undefined && this.#ownerLivesMs(record, states) === 0
  }

  /** Regions that may hold what is visible and not durable. */
  *written(): Iterable<RegionRecord> {
    for (const record of this.#records()) if (this.#live.get(record.id)?.written) yield record
  }

  *#records(): Iterable<RegionRecord> {
    let after = ''
    for (;;) {
      const { records, more } = this.#catalogue.list('', after, 1000)
      yield* records
      if (!more) return
      after = records.at(-1)?.name ?? ''
    }
  }

  /** @throws CheckpointError `INVALID_ARGUMENT`, `REGION_TOO_SMALL`, `LIMIT_REACHED`, `REGION_EXISTS`, `POOL_FULL`, `POOL_READ_ONLY` */
  async create(region: Omit<NewRegion, 'lease'> & { lease: LeaseChange }): Promise<RegionRecord> {
    checkName(region.name)
    if (!Number.isSafeInteger(region.bytes) || region.bytes < 1) {
      throw new CheckpointError('INVALID_ARGUMENT', `A region has at least 1 byte; ${region.bytes} were asked for.`)
    }
    if (region.bytes > this.#maxBytes) {
      throw new CheckpointError(
        'LIMIT_REACHED',
        `A region of ${region.bytes} bytes was asked for, and this unit allows ${this.#maxBytes}.`,
        { details: { maxRegionBytes: this.#maxBytes } },
      )
    }
    const problem = labelsProblem(region.labels)
    if (problem !== undefined) throw new CheckpointError('INVALID_ARGUMENT', `${problem}.`)
    const lease = mergedLease(defaultLease, region.lease)
    requireRoom(region.mode, region.bytes)
    return await this.#locks.run(region.name, async () => {
      const { id } = region
      const made = this.#catalogue.get(region.name)
      // The same call once more: its answer was lost.
      if (made !== undefined && made.id === id) return made
      if (id !== undefined && (this.#live.has(id) || this.#deleted.has(id))) {
        throw new CheckpointError(
          'REGION_NOT_FOUND',
          `Region "${region.name}" (${id}) was made before, and deleted since.`,
        )
      }
      const record = await this.#catalogue.create({ ...region, lease })
      try {
        this.serve(record)
      } catch (error) {
        await afterEffect(() => this.#catalogue.remove(record.name))
        throw error
      }
      this.#tell('created', record, { bytes: BigInt(record.bytes) })
      return record
    })
  }

  /** Fences readers and writers first, so that nobody reads or writes what the space holds next. */
  async delete(name: string, regionId: string | undefined): Promise<void> {
    await this.#locks.run(name, async () => {
      const record = this.#find(name, regionId)
      this.#assertWritable()
      const live = this.#liveOf(record)
      await afterEffect(async () => {
        await this.#responder.removeRegion(live.nativeId).catch(rethrow)
        this.#live.delete(record.id)
        for (const handle of live.handles) handle.session.handles.delete(handle.id)
        try {
          await this.#catalogue.remove(name)
        } catch (error) {
          this.serve(record)
          throw error
        }
      })
      this.#noteDeleted(record.id)
      this.#tell('deleted', record)
    })
  }

  #noteDeleted(id: string): void {
    this.#deleted.add(id)
    for (const oldest of this.#deleted) {
      if (this.#deleted.size <= mostDeleted) return
      this.#deleted.delete(oldest)
    }
  }

  /** @throws CheckpointError `REGION_NOT_FOUND`, `REGION_BUSY`, `FENCED`, `LIMIT_REACHED`, `POOL_READ_ONLY` */
  async open(session: Session, request: OpenRequest): Promise<OpenedRegion> {
    return await this.#locks.run(request.name, async () => {
      const record = this.#find(request.name, request.regionId)
      const previous = request.previousHandle === undefined ? undefined : session.handles.get(request.previousHandle)
      if (previous !== undefined && previous.regionId === record.id) return await this.#openAgain(previous, request)
      if (request.mode === 'read') return this.#openForReading(session, record, request)
      this.#assertWritable()
      const answered = this.#ownedBy(session, record, request)
      if (answered !== undefined) return await this.#answerAgain(answered, request)
      if (request.resume !== undefined) return await this.#resume(session, record, request, request.resume)
      // It had the region and has it no more: it may not win it back by asking again.
      if (request.previousHandle !== undefined) throw fenced(record)
      if (request.mode === 'write') {
        const left = record.owner === undefined ? 0 : this.#ownerLivesMs(record, this.#sessions.states())
        if (left > 0) {
          // Whoever was told that it was lost has to be told when it is again.
          this.#liveOf(record).lossTold = false
          this.#owners.within(left)
          throw busy(record)
        }
      }
      return await this.#take(session, record, request)
    })
  }

  async close(handle: Handle): Promise<void> {
    await this.#locks.run(handle.region, () => this.#close(handle))
  }

  /** Closes what was opened, and whose token nobody was given: it has written nothing, whatever was written before it. */
  async withdraw(handle: Handle): Promise<void> {
    await this.#locks.run(handle.region, async () => {
      // Its client has asked again, and has it.
      if (handle.opening?.again) return
      const live = this.#live.get(handle.regionId)
      if (live?.owner === handle) live.written = live.writtenBefore
      await this.#close(handle)
    })
  }

  /** Gives up everything the session has open, and the session. */
  async closeSession(session: Session): Promise<void> {
    for (const handle of [...session.handles.values()]) {
      if (handle.regionId !== '') await this.close(handle)
    }
    this.#sessions.remove(session)
  }

  /** Ends a session whose client is gone. Its ownerships stay on record, as lost. */
  async expire(session: Session): Promise<void> {
    for (const handle of [...session.handles.values()]) {
      if (handle.regionId !== '') await this.#locks.run(handle.region, () => this.#drop(handle))
    }
    this.#sessions.remove(session)
  }

  /** @throws CheckpointError `REGION_NOT_FOUND`, `CURSOR_INVALID`, `LIMIT_REACHED` */
  async saveCursor(name: string, regionId: string | undefined, cursor: SavedCursor): Promise<void> {
    const bytes = Buffer.byteLength(cursor.name)
    if (bytes < 1 || bytes > slotLimits.cursorNameBytes || !cursor.name.isWellFormed()) {
      throw new CheckpointError(
        'CURSOR_INVALID',
        `The name of a cursor has 1 to ${slotLimits.cursorNameBytes} bytes; it has ${bytes}.`,
      )
    }
    await this.#locks.run(name, async () => {
      const record = this.#find(name, regionId)
      this.#assertWritable()
      const cursors = record.cursors.filter((other) => other.name !== cursor.name)
      if (cursor.epoch !== 0n || cursor.sequence !== 0n) cursors.push(cursor)
      if (cursors.length > slotLimits.cursors) {
        throw new CheckpointError(
          'LIMIT_REACHED',
          `A region keeps ${slotLimits.cursors} cursors, and "${name}" has as many.`,
          {
            help: 'Remove one that is not needed any more.',
          },
        )
      }
      await this.#catalogue.update(name, { cursors })
    })
  }

  get(name: string): RegionRecord {
    return this.#find(name, undefined)
  }

  /** Settles when no change is under way. */
  async idle(): Promise<void> {
    await this.#locks.idle()
  }

  async #openAgain(handle: Handle, request: OpenRequest): Promise<OpenedRegion> {
    const record = this.#find(handle.region, handle.regionId)
    const live = this.#liveOf(record)
    if (handle.rights === 'readWrite' && (live.owner !== handle || record.epoch !== handle.epoch)) throw fenced(record)
    // Bytes that its earlier connection still buffers could land on top of newer ones.
    await this.#responder.dropHandle(live.nativeId, handle.id).catch(rethrow)
    return { record, handle, token: this.#token(live, handle, request) }
  }

  /** The owner that this very open has made already, and of which its client does not know. */
  #ownedBy(
    session: Session,
    record: RegionRecord,
    { attempt, previousHandle, resume }: OpenRequest,
  ): Handle | undefined {
    if (attempt === undefined || previousHandle !== undefined || resume !== undefined) return undefined
    const owner = this.#liveOf(record).owner
    return owner?.session === session && owner.opening?.attempt === attempt ? owner : undefined
  }

  async #answerAgain(handle: Handle, request: OpenRequest): Promise<OpenedRegion> {
    const { opening } = handle
    if (opening === undefined) throw new CheckpointError('INTERNAL', 'An open without a mark was found by it.')
    opening.again = true
    return { ...(await this.#openAgain(handle, request)), ownerSecret: opening.secret }
  }

  #openForReading(session: Session, record: RegionRecord, request: OpenRequest): OpenedRegion {
    const live = this.#liveOf(record)
    const handle = this.#addHandle(session, record, live, 'read')
    return { record, handle, token: this.#tokenOrUndo(live, handle, request) }
  }

  /** An owner comes back after the unit, or its session, was lost: nobody took the region in between. */
  async #resume(
    session: Session,
    record: RegionRecord,
    request: OpenRequest,
    { secret, epoch }: { secret: Uint8Array; epoch: bigint },
  ): Promise<OpenedRegion> {
    const hash = hashOf(secret)
    if (record.epoch !== epoch || record.owner === undefined || !timingSafeEqual(record.owner.secretHash, hash)) {
      throw fenced(record)
    }
    const live = this.#liveOf(record)
    if (live.owner !== undefined) {
      await this.#responder.dropHandle(live.nativeId, live.owner.id).catch(rethrow)
      this.#forget(live, live.owner)
    }
    const handle = this.#addHandle(session, record, live, 'readWrite')
    const token = this.#tokenOrUndo(live, handle, request)
    this.#own(record, live, handle)
    this.#journal?.tell('resumed', { ...factsOf(record), owner: session.identity })
    return { record, handle, token, ownerSecret: secret }
  }

  /**
   * Raises the epoch durably, then ends every writer below it, then makes durable what they left visible (the new owner
   * builds on what it reads, and that may not vanish with the unit), and only then answers.
   */
  async #take(session: Session, record: RegionRecord, request: OpenRequest): Promise<OpenedRegion> {
    const lease = mergedLease(record.lease, request.lease)
    const secret = randomBytes(32)
    const epoch = record.epoch + 1n
    const owner = { identity: session.identity, secretHash: hashOf(secret), sinceMs: Date.now() }
    const change: RegionChange = { epoch, owner, lease }
    this.#sessions.requireRoom(session)
    const taken = await this.#catalogue.update(record.name, change)
    const live = this.#liveOf(taken)
    live.inherited = false
    // Until it is owned again nobody is lost.
    live.lossTold = true
    try {
      return await afterEffect(async () => {
        await this.#endFormer(taken, live)
        if (record.owner !== undefined) {
          this.#journal?.tell('fenced', { ...factsOf(record), owner: record.owner.identity })
        }
        const opening = request.attempt === undefined ? undefined : { attempt: request.attempt, secret, again: false }
        const handle = this.#addHandle(session, taken, live, 'readWrite', opening)
        const token = this.#tokenOrUndo(live, handle, request)
        this.#own(taken, live, handle)
        this.#tell(record.owner === undefined ? 'opened' : 'taken-over', taken, {
          owner: session.identity,
          ...(record.owner === undefined ? {} : { former: record.owner.identity }),
        })
        return { record: taken, handle, token, ownerSecret: secret }
      })
    } catch (error) {
      // The epoch has an owner on record who never came to be.
      live.lossTold = false
      this.#owners.look()
      throw error
    }
  }

  async #endFormer(taken: RegionRecord, live: LiveRegion): Promise<void> {
    const former = live.owner
    delete live.owner
    await this.#responder.fence(live.nativeId, taken.epoch).catch(rethrow)
    if (former !== undefined) this.#forget(live, former)
    await this.#responder.makeDurable(live.nativeId).catch(rethrow)
    live.written = false
  }

  async #close(handle: Handle): Promise<void> {
    const live = this.#live.get(handle.regionId)
    const owned = live?.owner === handle
    if (live !== undefined && owned) live.lossTold = true
    await this.#drop(handle)
    const record = this.#catalogue.get(handle.region)
    if (!owned || record === undefined || record.id !== handle.regionId || this.#catalogue.readOnly !== undefined)
      return
    await afterEffect(() => this.#catalogue.update(record.name, { owner: null }))
    this.#tell('released', record, { owner: handle.session.identity })
  }

  async #drop(handle: Handle): Promise<void> {
    const live = this.#live.get(handle.regionId)
    if (live?.handles.has(handle)) {
      await this.#responder.dropHandle(live.nativeId, handle.id).catch(rethrow)
      if (live.owner === handle) delete live.owner
      live.handles.delete(handle)
    }
    handle.session.handles.delete(handle.id)
  }

  #own(record: RegionRecord, live: LiveRegion, handle: Handle): void {
    live.owner = handle
    live.inherited = false
    live.writtenBefore = live.written
    live.written = true
    live.lossTold = false
    const { silenceMs, stallMs } = record.lease
    this.#owners.within(stallMs === 0 ? silenceMs : Math.min(silenceMs, stallMs))
  }

  #ownerLivesMs(record: RegionRecord, states: ReturnType<SessionTable['states']>): number {
    const live = this.#liveOf(record)
    if (live.inherited) {
      return inheritedOwnerLivesMs(record.lease, this.#sinceReady.look())
    }
    return live.owner === undefined ? 0 : ownerLivesMs(record.lease, states.get(live.owner.session.id))
  }

  /** Tells watchers of owners that are lost. @returns in how many milliseconds another one can be */
  #tellLost(): number {
    const states = this.#sessions.states()
    let next = Number.POSITIVE_INFINITY
    let awaited = false
    for (const record of this.#records()) {
      const live = this.#live.get(record.id)
      if (record.owner === undefined || live === undefined) continue
      const left = this.#ownerLivesMs(record, states)
      awaited ||= live.inherited && left > 0
      if (left > 0) next = Math.min(next, left)
      else if (!live.lossTold) {
        const because = lossOf(record, live, live.owner && states.get(live.owner.session.id))
        this.#tell('owner-lost', record, { owner: record.owner.identity, because })
      }
      live.lossTold = left === 0
      // It may come back, and be lost again.
      if (left === 0 && live.owner !== undefined) next = Math.min(next, lookAgainMs)
    }
    if (!awaited) this.#sinceReady.stop()
    return next
  }

  /** Watchers, listeners and the log. */
  #tell(type: RegionEventType, record: RegionRecord, facts: UnitEventFacts = {}): void {
    this.#events.add(record.name, type, record.epoch)
    this.#journal?.tell(type, { ...factsOf(record), ...facts })
  }

  #standing(name: string): Standing {
    const record = this.#catalogue.get(name)
    if (record === undefined) return { type: 'deleted', epoch: 0n }
    const { epoch } = record
    if (record.owner === undefined) return { type: epoch === 0n ? 'created' : 'released', epoch }
    return { type: this.ownerLost(record) ? 'owner-lost' : 'opened', epoch }
  }

  #addHandle(
    session: Session,
    record: RegionRecord,
    live: LiveRegion,
    rights: Handle['rights'],
    opening?: Handle['opening'],
  ): Handle {
    const handle = this.#sessions.addHandle(session, {
      region: record.name,
      regionId: record.id,
      rights,
      epoch: record.epoch,
      ...(opening === undefined ? {} : { opening }),
    })
    live.handles.add(handle)
    return handle
  }

  #tokenOrUndo(live: LiveRegion, handle: Handle, request: OpenRequest): Uint8Array {
    try {
      return this.#token(live, handle, request)
    } catch (error) {
      this.#forget(live, handle)
      throw error
    }
  }

  #token(live: LiveRegion, handle: Handle, request: OpenRequest): Uint8Array {
    return native(() =>
      this.#responder.issueToken({
        kind: 'data',
        session: handle.session.id,
        region: live.nativeId,
        handle: handle.id,
        rights: handle.rights,
        epoch: handle.epoch,
        ...tokenLife(request.tokenLifeMs),
      }),
    )
  }

  #forget(live: LiveRegion, handle: Handle): void {
    live.handles.delete(handle)
    if (live.owner === handle) delete live.owner
    handle.session.handles.delete(handle.id)
  }

  #find(name: string, regionId: string | undefined): RegionRecord {
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

  #liveOf(record: RegionRecord): LiveRegion {
    const live = this.#live.get(record.id)
    if (live === undefined) throw new CheckpointError('INTERNAL', `Region "${record.name}" is not being served.`)
    return live
  }

  #assertWritable(): void {
    const { readOnly } = this.#catalogue
    if (readOnly !== undefined) {
      throw new CheckpointError('POOL_READ_ONLY', `The pool cannot be changed: ${readOnly}.`, {
        help: 'Regions can be read. Restart the unit once its medium is sound.',
      })
    }
  }
}

export function tokenLife(ms: number | undefined): { lifeMs?: number } {
  return ms === undefined || ms === 0 ? {} : { lifeMs: Math.min(ms, maxTokenLifeMs) }
}

function checkName(name: string): void {
  const bytes = Buffer.byteLength(name)
  if (bytes < 1 || bytes > slotLimits.nameBytes || !name.isWellFormed() || name.includes('\0')) {
    throw new CheckpointError(
      'INVALID_ARGUMENT',
      `The name of a region is 1 to ${slotLimits.nameBytes} bytes of UTF-8 without NUL; it has ${bytes}.`,
    )
  }
}

function mergedLease(lease: { silenceMs: number; stallMs: number }, change: LeaseChange): typeof lease {
  const merged = { silenceMs: change.silenceMs ?? lease.silenceMs, stallMs: change.stallMs ?? lease.stallMs }
  if (merged.silenceMs < minSilenceMs || merged.silenceMs > maxLeaseMs) {
    throw new CheckpointError(
      'INVALID_ARGUMENT',
      `silenceMs is ${minSilenceMs} to ${maxLeaseMs}; it is ${merged.silenceMs}.`,
    )
  }
  if (merged.stallMs > maxLeaseMs) {
    throw new CheckpointError('INVALID_ARGUMENT', `stallMs is 0 (never) to ${maxLeaseMs}; it is ${merged.stallMs}.`)
  }
  return merged
}

function hashOf(secret: Uint8Array): Buffer {
  return createHash('sha256').update(secret).digest()
}

function factsOf(record: RegionRecord): UnitEventFacts {
  return { region: record.name, regionId: record.id, epoch: record.epoch }
}

/** Why an owner counts as lost. */
function lossOf(record: RegionRecord, live: LiveRegion, session: NativeSessionState | undefined): string {
  if (live.inherited) return 'it did not come back after the start of the unit'
  if (session === undefined) return 'its session has ended'
  if (!session.connected && session.everConnected && session.dataConnections === 0) return 'its connections are closed'
  if (session.heardMsAgo >= record.lease.silenceMs) return `it was silent for ${Math.round(session.heardMsAgo)} ms`
  return `its event loop stood still for ${Math.round(session.loopAgeMs)} ms`
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

function rethrow(error: unknown): never {
  throw fromNative(error)
}

/**
 * Regions as the control service deals with them: made, watched, deleted, their cursors saved. Opening and closing is
 * region-openings.ts. Changes of one region are one at a time.
 */
import { requireRoom } from '../checkpoint/geometry.js'
import { CheckpointError } from '../errors.js'
import type { NativeResponder } from '../native.js'
import { afterEffect } from '../outcome.js'
import type { NewRegion } from '../pool/pool.js'
import { labelsProblem, type RegionRecord, type SavedCursor, limits as slotLimits } from '../pool/slot.js'
import type { RegionCatalogue } from './catalogue.js'
import type { LoggedEvent, RegionEventLog, Standing } from './event-log.js'
import type { UnitJournal } from './journal.js'
import { KeyLock } from './key-lock.js'
import { defaultLease, type LeaseChange, mergedLease } from './lease.js'
import { OwnerWatch } from './owner-watch.js'
import { inheritedLeaseMs } from './ownership.js'
import { RegionNews } from './region-news.js'
import { RegionOpenings } from './region-openings.js'
import { ServedRegions } from './served-regions.js'
import type { Handle, Sessions } from './sessions.js'

const mostDeleted = 1_000

export class RegionService {
  readonly catalogue: RegionCatalogue
  readonly openings: RegionOpenings
  readonly #sessions: Sessions
  readonly #maxBytes: number
  readonly #events: RegionEventLog
  readonly #news: RegionNews
  readonly #locks = new KeyLock()
  readonly #served: ServedRegions
  readonly #owners: OwnerWatch
  /** Ids of the latest deleted regions, the oldest first: a create that is repeated late does not bring one back. */
  readonly #deleted = new Set<string>()

  constructor(
    catalogue: RegionCatalogue,
    responder: NativeResponder,
    sessions: Sessions,
    events: RegionEventLog,
    maxBytes: number,
    journal?: Pick<UnitJournal, 'tell'>,
  ) {
    this.catalogue = catalogue
    this.#sessions = sessions
    this.#maxBytes = maxBytes
    this.#events = events
    const news = new RegionNews(events, journal)
    const served = new ServedRegions(catalogue, responder, sessions)
    const owners = new OwnerWatch(served, sessions, (record, because) =>
      news.tell('owner-lost', record, { ...(record.owner && { owner: record.owner.identity }), because }),
    )
    this.#news = news
    this.#served = served
    this.#owners = owners
    this.openings = new RegionOpenings({ catalogue, responder, sessions, served, owners, news, locks: this.#locks })
  }

  /** Makes a region of the catalogue reachable. */
  serve(record: RegionRecord): void {
    this.#served.serve(record)
    if (record.owner !== undefined) this.#owners.within(inheritedLeaseMs(record.lease))
  }

  /** Clients can come from now on; so can owners of before. */
  ready(): void {
    this.#served.sinceReady.start()
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
    const damage = this.catalogue.get(name) === undefined ? this.catalogue.damageOf(name) : undefined
    if (damage !== undefined) throw damage
    return this.#events.watch(name, since, () => this.#standing(name), signal)
  }

  /** The owner tells that it has cleared its log. */
  noteCleared(handle: Handle): void {
    const record = this.catalogue.get(handle.region)
    if (record === undefined || this.#served.get(handle.regionId)?.ownership.owner !== handle) return
    this.#news.tell('cleared', record, { owner: handle.session.identity })
  }

  stopWatches(): void {
    this.#served.sinceReady.stop()
    this.#owners.close()
    this.#events.close()
  }

  /** Whether the region has an owner on record that is silent, stalled or gone. */
  ownerLost(record: RegionRecord, states = this.#sessions.states()): boolean {
    return record.owner !== undefined && this.#served.ownerLivesMs(record, states) === 0
  }

  /** Regions that may hold what is visible and not durable. */
  *written(): Iterable<RegionRecord> {
    for (const { record, served } of this.#served.all()) if (served.ownership.written) yield record
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
      const made = this.catalogue.get(region.name)
      // The same call once more: its answer was lost.
      if (made !== undefined && made.id === id) return made
      if (id !== undefined && (this.#served.get(id) !== undefined || this.#deleted.has(id))) {
        throw new CheckpointError(
          'REGION_NOT_FOUND',
          `Region "${region.name}" (${id}) was made before, and deleted since.`,
        )
      }
      const record = await this.catalogue.create({ ...region, lease })
      try {
        this.serve(record)
      } catch (error) {
        await afterEffect(() => this.catalogue.remove(record.name))
        throw error
      }
      this.#news.tell('created', record, { bytes: BigInt(record.bytes) })
      return record
    })
  }

  /** Fences readers and writers first, so that nobody reads or writes what the space holds next. */
  async delete(name: string, regionId: string | undefined): Promise<void> {
    await this.#locks.run(name, async () => {
      const record = this.#served.find(name, regionId)
      this.#served.assertWritable()
      await afterEffect(async () => {
        await this.#served.unserve(record)
        try {
          await this.catalogue.remove(name)
        } catch (error) {
          this.serve(record)
          throw error
        }
      })
      this.#noteDeleted(record.id)
      this.#news.tell('deleted', record)
    })
  }

  #noteDeleted(id: string): void {
    this.#deleted.add(id)
    for (const oldest of this.#deleted) {
      if (this.#deleted.size <= mostDeleted) return
      this.#deleted.delete(oldest)
    }
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
      const record = this.#served.find(name, regionId)
      this.#served.assertWritable()
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
      await this.catalogue.update(name, { cursors })
    })
  }

  get(name: string): RegionRecord {
    return this.#served.find(name, undefined)
  }

  /** Settles when no change is under way. */
  async idle(): Promise<void> {
    await this.#locks.idle()
  }

  #standing(name: string): Standing {
    const record = this.catalogue.get(name)
    if (record === undefined) return { type: 'deleted', epoch: 0n }
    const { epoch } = record
    if (record.owner === undefined) return { type: epoch === 0n ? 'created' : 'released', epoch }
    return { type: this.ownerLost(record) ? 'owner-lost' : 'opened', epoch }
  }
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

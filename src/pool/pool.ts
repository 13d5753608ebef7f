/**
 * A pool: its regions, their space, and how they change so that a crash at any moment leaves the old or the new.
 *
 * Invariants: space is handed out only when no entry of the table, whole or lost, can have it. Once the medium has failed nothing
 * is written.
 *
 * One owner; calls on one region must not overlap (the unit keeps a lock for each region), calls on different regions may.
 */
import { randomUUID } from 'node:crypto'
import { CheckpointError, type Outcome } from '../errors.js'
import { withOutcome } from '../outcome.js'
import { allEnded } from './all-ended.js'
import { ExtentAllocator } from './allocator.js'
import { dataEnd, type Geometry, planGeometry, superblockBytes, superblockOffsets } from './geometry.js'
import type { PoolMedium } from './medium.js'
import { type Lagging, type PoolContents, readPool, type SlotContents } from './open-pool.js'
import { encodeSlot, type RegionRecord } from './slot.js'
import type { MediumKind, Superblock } from './superblock.js'
import { PoolTable } from './table.js'

export interface FormatOptions {
  medium: MediumKind
  maxRegions?: number
  /** Extents begin and end at multiples of it. Default 4096. */
  extentAlignment?: number
  /** The number of starts before this one. Default 0. */
  startsBefore?: bigint
  /** A unit will open the pool later: it counts the first start then, and nothing needs to be written back now. */
  unserved?: boolean
}
/** Callbacks while a pool is opened or in use. They must not throw. */
export interface PoolNotices {
  /** One copy of a structure was rewritten from the other. */
  mended?(what: string, because: string, record: RegionRecord | undefined): void
  /** From now on nothing can be changed. */
  failed?(error: unknown): void
}
/** A region that is in the table and cannot be served. */
export interface DamagedRegion {
  slot: number
  /** Absent if both copies of the entry are lost. */
  record?: RegionRecord
  because: string
}
export type NewRegion = Pick<RegionRecord, 'name' | 'bytes' | 'mode' | 'onFull' | 'lease' | 'labels'> & {
  /** A UUID that no other region has, nor had. Default: a random one. */
  id?: string
}
/** What may change in the life of a region. owner: null for none. */
export type RegionChange = Partial<Pick<RegionRecord, 'epoch' | 'lease' | 'labels' | 'cursors'>> & {
  owner?: RegionRecord['owner'] | null
}

export class Pool {
  readonly #medium: PoolMedium
  readonly #table: PoolTable
  readonly #space: ExtentAllocator
  readonly #byName = new Map<string, number>()
  /** By slot. */
  readonly #damaged = new Map<number, DamagedRegion>()
  readonly #notices: PoolNotices
  /** Why nothing may be written to the pool; undefined if it may. */
  readonly #forbidden: string | undefined
  #failure: Error | undefined
  /** Whether the unit before this one stopped gracefully, with everything written back. */
  readonly wasClean: boolean

  private constructor(medium: PoolMedium, contents: PoolContents, notices: PoolNotices) {
    this.#medium = medium
    this.#notices = notices
    this.#table = new PoolTable(medium, contents)
    this.#forbidden = contents.readOnly
    this.wasClean = contents.superblock.clean
    const extents = []
    for (const [slot, { record, damage }] of contents.slots.entries()) {
      if (damage !== undefined) this.#setApart(slot, record, damage)
      else if (record !== undefined) this.#byName.set(record.name, slot)
      if (record !== undefined) extents.push(...record.extents)
    }
    const { geometry } = contents.superblock
    this.#space = new ExtentAllocator(geometry.firstDataOffset, dataEnd(geometry), geometry.extentAlignment, extents)
  }

  /**
   * Creates a pool on a medium that holds nothing worth keeping. The superblocks come last: without them it is not a pool.
   * @throws CheckpointError `INVALID_ARGUMENT` when it is too small
   */
  static async format(medium: PoolMedium, options: FormatOptions, notices: PoolNotices = {}): Promise<Pool> {
    const geometry = planGeometry(medium.bytes, options.maxRegions, options.extentAlignment)
    await medium.zero(0, geometry.firstDataOffset)
    const [, last] = superblockOffsets(geometry.poolBytes)
    await medium.zero(last, superblockBytes)
    const superblock: Superblock = {
      writeNumber: 0n,
      starts: (options.startsBefore ?? 0n) + (options.unserved ? 0n : 1n),
      id: randomUUID(),
      features: { compatible: 0n, readOnlyCompatible: 0n, incompatible: 0n },
      medium: options.medium,
      clean: options.unserved ?? false,
      createdMs: Date.now(),
      writtenSlots: 0,
      geometry,
    }
    const empty: SlotContents = { copies: { writeNumber: 0n, newest: 1 }, record: undefined }
    const contents: PoolContents = {
      superblock,
      superblockCopies: { writeNumber: 0n, newest: 1 },
      readOnly: undefined,
      slots: Array.from({ length: geometry.slots }, () => empty),
      lagging: [],
    }
    const pool = new Pool(medium, contents, notices)
    await pool.#table.writeMore()
    return pool
  }

  /**
   * Opens a pool and, unless it may only be read, counts the start durably and repairs copies that are damaged or behind.
   * Nothing is written before everything has been read. Regions that cannot be served are set apart: see {@link damaged}.
   * @throws CheckpointError `POOL_DAMAGED`, `POOL_INCOMPATIBLE`
   */
  static async open(medium: PoolMedium, notices: PoolNotices = {}): Promise<Pool> {
    const contents = await readPool(medium)
    const pool = new Pool(medium, contents, notices)
    if (contents.readOnly !== undefined) return pool
    const mend = async ({ slot, because }: Lagging) => {
      if (slot === undefined) return
      const record = contents.slots[slot]?.record
      await pool.#table.write(slot, record)
      notices.mended?.(`entry ${slot} of the region table`, because, record)
    }
    await Promise.all(contents.lagging.map(mend))
    await pool.#table.writeSuperblock({ starts: contents.superblock.starts + 1n, clean: false })
    for (const { slot, because } of contents.lagging) {
      if (slot === undefined) notices.mended?.('the superblock', because, undefined)
    }
    return pool
  }

  get id(): string {
    return this.#table.superblock.id
  }
  /** How often a unit was started on it, this time included. */
  get starts(): bigint {
    return this.#table.superblock.starts
  }
  get geometry(): Geometry {
    return this.#table.superblock.geometry
  }
  /** Why the pool cannot be changed; undefined if it can. */
  get readOnly(): string | undefined {
    const { failure } = this
    return failure === undefined ? this.#forbidden : `its medium failed: ${failure.message}`
  }
  /**
   * The first write or sync of the medium that failed, in any part of the unit. From then on nobody knows what the medium
   * holds: nothing is changed, and nothing reported as durable, until a restart has read it.
   */
  get failure(): Error | undefined {
    return this.#failure ?? this.#medium.failure
  }
  get regions(): number {
    return this.#byName.size
  }
  /** Bytes in use: tables and regions. */
  get used(): number {
    return this.geometry.poolBytes - this.#space.free
  }
  get free(): number {
    return this.#space.free
  }

  get(name: string): RegionRecord | undefined {
    const slot = this.#byName.get(name)
    return slot === undefined ? undefined : this.#table.record(slot)
  }
  /** Why the region of that name cannot be served; undefined if it can. */
  damageOf(name: string): DamagedRegion | undefined {
    return this.damaged.find(({ record }) => record?.name === name)
  }
  /** Regions that are in the table and cannot be served. */
  get damaged(): DamagedRegion[] {
    return [...this.#damaged.values()]
  }
  /** Its entry in the table. */
  slotOf(name: string): number | undefined {
    return this.#byName.get(name)
  }
  *records(): Iterable<RegionRecord> {
    yield* this.#table.records()
  }

  /**
   * The region reads as zeros, durably, before its entry exists.
   * @throws CheckpointError `REGION_EXISTS`, `POOL_FULL`, `POOL_READ_ONLY`, `MEDIUM_FAILED`; `REGION_DAMAGED` when it is
   * there and cannot be served, `POOL_DAMAGED` when an entry of the table is lost
   */
  async create(region: NewRegion): Promise<RegionRecord> {
    this.#assertWritable()
    if (this.#byName.has(region.name)) {
      throw new CheckpointError('REGION_EXISTS', `A region named "${region.name}" exists.`)
    }
    const damage = this.damageOf(region.name)
    if (damage !== undefined) throw regionDamaged(region.name, damage)
    const lost = this.damaged.find(({ record }) => record === undefined)
    if (lost !== undefined) throw entryLost(lost, 'nothing can be made here: what it held could be written over')
    const extents = this.#space.allocate(region.bytes)
    const slot = await this.#table.take().catch((error: unknown) => {
      this.#space.release(extents)
      throw this.#failed(error, 'none')
    })
    if (slot === undefined) {
      this.#space.release(extents)
      throw new CheckpointError('POOL_FULL', `All ${this.geometry.slots} entries of the region table are in use.`, {
        help: 'Delete regions, or create a pool with a larger table (--max-regions).',
        details: { maxRegions: this.geometry.slots },
      })
    }
    const record: RegionRecord = { id: randomUUID(), ...region, epoch: 0n, cursors: [], extents, createdMs: Date.now() }
    try {
      encodeSlot(this.id, slot, 0n, record)
    } catch (error) {
      this.#table.free(slot)
      this.#space.release(extents)
      throw malformed(error)
    }
    this.#byName.set(region.name, slot)
    const undo = (error: unknown, outcome: Outcome) => {
      this.#byName.delete(region.name)
      this.#table.free(slot)
      this.#space.release(extents)
      return this.#failed(error, outcome)
    }
    try {
      await allEnded(extents.map((extent) => this.#medium.zero(extent.offset, extent.length)))
    } catch (error) {
      // The space belongs to nobody: there is no region in it.
      throw undo(error, 'none')
    }
    try {
      await this.#table.write(slot, record)
    } catch (error) {
      throw undo(error, 'unknown')
    }
    return record
  }

  /** @throws CheckpointError `REGION_NOT_FOUND`, `POOL_READ_ONLY`, `MEDIUM_FAILED` */
  async update(name: string, change: RegionChange): Promise<RegionRecord> {
    this.#assertWritable()
    const { slot, record } = this.#find(name)
    const { owner, ...rest } = { ...record, ...change }
    const changed: RegionRecord = owner === undefined || owner === null ? rest : { ...rest, owner }
    try {
      encodeSlot(this.id, slot, 0n, changed)
    } catch (error) {
      throw malformed(error)
    }
    try {
      await this.#table.write(slot, changed)
    } catch (error) {
      throw this.#failed(error, 'unknown')
    }
    return changed
  }

  /**
   * Nobody may have the region open any more: its space is handed out again once this has settled.
   * @throws CheckpointError `REGION_NOT_FOUND`, `POOL_READ_ONLY`, `MEDIUM_FAILED`
   */
  async remove(name: string): Promise<void> {
    this.#assertWritable()
    const { slot, record } = this.#find(name)
    try {
      await this.#table.write(slot, undefined)
    } catch (error) {
      throw this.#failed(error, 'unknown')
    }
    this.#byName.delete(name)
    this.#table.free(slot)
    this.#space.release(record.extents)
  }

  /**
   * Brings a region's content from the medium into memory. An unreadable block is tried once more; then the region is set
   * apart.
   * @returns why, if it is
   */
  async load(record: RegionRecord): Promise<DamagedRegion | undefined> {
    for (const { offset, length } of record.extents) {
      try {
        await this.#medium.load(offset, length).catch(() => this.#medium.load(offset, length))
      } catch (error) {
        const slot = this.#byName.get(record.name)
        if (slot === undefined) throw error
        this.#byName.delete(record.name)
        return this.#setApart(slot, record, `it cannot be read: ${error instanceof Error ? error.message : error}`)
      }
    }
    return undefined
  }

  /** Makes durable what is visible in a region. */
  async flush(record: RegionRecord): Promise<void> {
    if (!this.#medium.durable) return
    await this.#medium.flush(record.extents.flatMap((extent) => [extent.offset, extent.length]))
  }

  /** Notes that everything was written back; the last call. */
  async markClean(): Promise<void> {
    if (this.readOnly !== undefined) return
    await this.#table.writeSuperblock({ clean: true })
  }

  #setApart(slot: number, record: RegionRecord | undefined, because: string): DamagedRegion {
    const damage: DamagedRegion = { slot, because, ...(record === undefined ? {} : { record }) }
    this.#damaged.set(slot, damage)
    this.#table.setApart(slot, because)
    return damage
  }

  #find(name: string): { slot: number; record: RegionRecord } {
    const slot = this.#byName.get(name)
    const record = slot === undefined ? undefined : this.#table.record(slot)
    if (slot === undefined || record === undefined) {
      throw new CheckpointError('REGION_NOT_FOUND', `There is no region named "${name}".`)
    }
    return { slot, record }
  }

  #assertWritable(): void {
    const { readOnly } = this
    if (readOnly === undefined) return
    throw new CheckpointError('POOL_READ_ONLY', `The pool cannot be changed: ${readOnly}.`, {
      cause: this.failure,
    })
  }

  /** @param outcome of the change: the next start may find an entry that was being written, whatever was answered */
  #failed(error: unknown, outcome: Outcome): unknown {
    this.#failure ??= error instanceof Error ? error : new Error(String(error))
    this.#notices.failed?.(error)
    return withOutcome(error, outcome)
  }
}

export function regionDamaged(name: string, { slot, because }: DamagedRegion): CheckpointError {
  return new CheckpointError('REGION_DAMAGED', `Region "${name}" (entry ${slot}) cannot be served: ${because}.`, {
    help: 'The other regions are served. Check the medium and restart the unit, or restore the pool from a copy.',
    details: { slot },
  })
}

export function entryLost({ slot, because }: DamagedRegion, consequence: string): CheckpointError {
  return new CheckpointError(
    'POOL_DAMAGED',
    `Entry ${slot} of the region table is lost (${because}), and with it a region of unknown name; ${consequence}.`,
    {
      help: 'The other regions are served. Restore the pool from a copy, or move the regions to another pool.',
      details: { slot },
    },
  )
}

/** Refuses, before anything is written, what does not fit into an entry. */
function malformed(error: unknown): CheckpointError {
  return new CheckpointError('INVALID_ARGUMENT', error instanceof Error ? error.message : String(error), {
    cause: error,
  })
}

/** Which regions there are. The pool's own table is the first implementation; one for a cluster can stand in its place. */
import type { CheckpointError } from '../errors.js'
import { entryLost, type NewRegion, type Pool, type RegionChange, regionDamaged } from '../pool/pool.js'
import type { RegionRecord } from '../pool/slot.js'

export interface RegionCatalogue {
  /** Why it cannot be changed, if so. */
  readonly readOnly: string | undefined
  get(name: string): RegionRecord | undefined
  /** Why there may be a region of that name though it cannot be served. */
  damageOf(name: string): CheckpointError | undefined
  /** Also those that cannot be served. In a fixed order of names, at most `limit` after the name `after` ('' for the beginning). */
  list(prefix: string, after: string, limit: number): { records: RegionRecord[]; more: boolean }
  /** Durable when it settles, like every change. Calls for one name must not overlap. */
  create(region: NewRegion): Promise<RegionRecord>
  update(name: string, change: RegionChange): Promise<RegionRecord>
  remove(name: string): Promise<void>
  /** The region's entry in the pool's tables, where clients read it by RDMA. */
  slotOf(name: string): number
}

export class PoolCatalogue implements RegionCatalogue {
  readonly #pool: Pool
  /** Sorted by code units. */
  readonly #names: string[]

  constructor(pool: Pool) {
    this.#pool = pool
    const damaged = pool.damaged.flatMap(({ record }) => (record === undefined ? [] : [record.name]))
    this.#names = [...new Set([...[...pool.records()].map(({ name }) => name), ...damaged])].sort(byCodeUnits)
  }

  get readOnly(): string | undefined {
    return this.#pool.readOnly
  }

  get(name: string): RegionRecord | undefined {
    return this.#pool.get(name)
  }

  damageOf(name: string): CheckpointError | undefined {
    const damage = this.#pool.damageOf(name)
    if (damage !== undefined) return regionDamaged(name, damage)
    const lost = this.#pool.damaged.find(({ record }) => record === undefined)
    return lost && entryLost(lost, `it may have been "${name}", which is not among the others`)
  }

  slotOf(name: string): number {
    return this.#pool.slotOf(name) ?? 0
  }

  list(prefix: string, after: string, limit: number): { records: RegionRecord[]; more: boolean } {
    const records: RegionRecord[] = []
    const first = after < prefix ? this.#position(prefix) : this.#position(after)
    for (let index = first; index < this.#names.length; index++) {
      const name = this.#names[index]
      if (name === undefined || name === after) continue
      if (!name.startsWith(prefix)) break
      if (records.length === limit) return { records, more: true }
      const record = this.#pool.get(name) ?? this.#pool.damageOf(name)?.record
      if (record !== undefined) records.push(record)
    }
    return { records, more: false }
  }

  async create(region: NewRegion): Promise<RegionRecord> {
    const record = await this.#pool.create(region)
    this.#names.splice(this.#position(record.name), 0, record.name)
    return record
  }

  async update(name: string, change: RegionChange): Promise<RegionRecord> {
    return await this.#pool.update(name, change)
  }

  async remove(name: string): Promise<void> {
    await this.#pool.remove(name)
    const position = this.#position(name)
    if (this.#names[position] === name) this.#names.splice(position, 1)
  }

  /** Of the first name that is not before it. */
  #position(name: string): number {
    let low = 0
    let high = this.#names.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#names[middle] ?? '') < name) low = middle + 1
      else high = middle
    }
    return low
  }
}

function byCodeUnits(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

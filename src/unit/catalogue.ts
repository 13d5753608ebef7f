/** Which regions there are. The pool's own table is the first implementation; one for a cluster can stand in its place. */
import type { NewRegion, Pool, RegionChange } from '../pool/pool.js'
import type { RegionRecord } from '../pool/slot.js'

export interface RegionCatalogue {
  /** Why it cannot be changed, if so. */
  readonly readOnly: string | undefined
  get(name: string): RegionRecord | undefined
  /** In a fixed order of names, at most `limit` after the name `after` ('' for the beginning). */
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
    this.#names = [...pool.records()].map((record) => record.name).sort(byCodeUnits)
  }

  get readOnly(): string | undefined {
    return this.#pool.readOnly
  }

  get(name: string): RegionRecord | undefined {
    return this.#pool.get(name)
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
      const record = this.#pool.get(name)
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

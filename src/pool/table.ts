/**
 * The pool's own structures as they are on the medium: the superblock and the entries of the region table, each in two copies.
 *
 * Invariant: an entry is handed out only once it is written as a free one and the superblock counts it, so that zeros in a
 * counted entry are a loss.
 */
import { CheckpointError } from '../errors.js'
import { allEnded } from './all-ended.js'
import { FlushGroup } from './flush-group.js'
import { type Geometry, slotOffset, slotsWrittenAtOnce, superblockOffsets } from './geometry.js'
import type { PoolMedium } from './medium.js'
import type { PoolContents, SlotContents } from './open-pool.js'
import { encodeSlot, type RegionRecord } from './slot.js'
import { encodeSuperblock, type Superblock } from './superblock.js'
import { type CopyState, writeBoth } from './two-copies.js'

export class PoolTable {
  readonly #medium: PoolMedium
  readonly #flushes: FlushGroup
  readonly #slots: SlotContents[]
  /** Lowest last. */
  readonly #free: number[] = []
  #superblock: Superblock
  #superblockCopies: CopyState
  /** More entries are being written. */
  #writing: Promise<void> | undefined

  constructor(medium: PoolMedium, { slots, superblock, superblockCopies }: PoolContents) {
    this.#medium = medium
    this.#flushes = new FlushGroup(medium)
    this.#slots = slots
    this.#superblock = superblock
    this.#superblockCopies = superblockCopies
    for (let slot = superblock.writtenSlots - 1; slot >= 0; slot--) {
      const { record, damage } = slots[slot] ?? {}
      if (record === undefined && damage === undefined) this.#free.push(slot)
    }
  }

  /** As it was written last. */
  get superblock(): Superblock {
    return this.#superblock
  }

  record(slot: number): RegionRecord | undefined {
    return this.#slots[slot]?.record
  }

  /** Of regions that can be served. */
  *records(): Iterable<RegionRecord> {
    for (const { record, damage } of this.#slots) if (record !== undefined && damage === undefined) yield record
  }

  /** Its region is not served. */
  setApart(slot: number, damage: string): void {
    const contents = this.#slots[slot]
    if (contents !== undefined) this.#slots[slot] = { ...contents, damage }
  }

  /** @returns an entry for the caller to use; undefined if all are in use */
  async take(): Promise<number | undefined> {
    for (;;) {
      const slot = this.#free.pop()
      if (slot !== undefined || this.#superblock.writtenSlots === this.#geometry.slots) return slot
      this.#writing ??= this.writeMore().finally(() => {
        this.#writing = undefined
      })
      await this.#writing
    }
  }

  free(slot: number): void {
    this.#free.push(slot)
  }

  /** Writes the next entries as free ones; the superblock, which comes last, makes them count. */
  async writeMore(): Promise<void> {
    const first = this.#superblock.writtenSlots
    const count = Math.min(slotsWrittenAtOnce, this.#geometry.slots - first)
    const flushed = ([0, 1] as const).map((copy) => {
      const offset = slotOffset(this.#geometry, copy, first)
      const blocks = Array.from({ length: count }, (_, index) =>
        encodeSlot(this.#superblock.id, first + index, BigInt(copy + 1), undefined),
      )
      this.#medium.write(offset, Buffer.concat(blocks))
      return this.#flushes.flush(offset, count * this.#geometry.slotBytes)
    })
    await allEnded(flushed)
    await this.writeSuperblock({ writtenSlots: first + count })
    const written = { copies: { writeNumber: 2n, newest: 1 }, record: undefined } as const
    for (let slot = first + count - 1; slot >= first; slot--) {
      this.#slots[slot] = written
      this.#free.push(slot)
    }
  }

  /** @param record of the region that is in the entry from now on; undefined for none */
  async write(slot: number, record: RegionRecord | undefined): Promise<void> {
    const before = this.#slots[slot]
    if (before === undefined) throw new CheckpointError('INTERNAL', `The pool has no table entry ${slot}.`)
    const offsets = [slotOffset(this.#geometry, 0, slot), slotOffset(this.#geometry, 1, slot)] as const
    const copies = await writeBoth(this.#medium, this.#flushes, before.copies, offsets, (_, writeNumber) =>
      encodeSlot(this.#superblock.id, slot, writeNumber, record),
    )
    this.#slots[slot] = { copies, record }
  }

  async writeSuperblock(change: Partial<Superblock>): Promise<void> {
    const superblock = { ...this.#superblock, ...change }
    this.#superblockCopies = await writeBoth(
      this.#medium,
      this.#flushes,
      this.#superblockCopies,
      superblockOffsets(this.#geometry.poolBytes),
      (copy, writeNumber) => encodeSuperblock({ ...superblock, writeNumber }, copy),
    )
    this.#superblock = { ...superblock, writeNumber: this.#superblockCopies.writeNumber }
  }

  get #geometry(): Geometry {
    return this.#superblock.geometry
  }
}

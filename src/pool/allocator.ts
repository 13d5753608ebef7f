/**
 * Free space of a pool, in memory only: the region table says what is used. Best fit, in several extents if no
 * single one is large enough; neighbours merge when they become free. Logarithmic searches, and a shift of one array.
 */
import { CheckpointError } from '../errors.js'
import { roundUp } from './geometry.js'
import { type Extent, limits } from './slot.js'

export class ExtentAllocator {
  readonly #alignment: number
  /** By length, then offset. */
  readonly #bySize: Extent[] = []
  readonly #byStart = new Map<number, Extent>()
  readonly #byEnd = new Map<number, Extent>()
  #free = 0

  /**
   * @param used extents in any order; those of damaged regions may overlap, or reach beyond start..end
   */
  constructor(start: number, end: number, alignment: number, used: readonly Extent[] = []) {
    this.#alignment = alignment
    let at = start
    for (const extent of used.toSorted((a, b) => a.offset - b.offset)) {
      const offset = Math.min(extent.offset - (extent.offset % alignment), end)
      if (offset > at) this.#add({ offset: at, length: offset - at })
      at = Math.max(at, roundUp(extent.offset + extent.length, alignment))
    }
    if (end > at) this.#add({ offset: at, length: end - at })
  }

  /** Bytes free in all. */
  get free(): number {
    return this.#free
  }

  /** Bytes of the largest free extent. */
  get largest(): number {
    return this.#bySize.at(-1)?.length ?? 0
  }

  /** Number of pieces of the free space. */
  get fragments(): number {
    return this.#bySize.length
  }

  /** @throws CheckpointError `POOL_FULL` */
  allocate(bytes: number): Extent[] {
    let needed = roundUp(bytes, this.#alignment)
    const taken: Extent[] = []
    if (needed <= this.#free) {
      while (needed > 0 && taken.length < limits.extents) {
        // The smallest extent that holds everything, otherwise the largest one: this uses the fewest extents.
        const source = this.#bySize[this.#firstAtLeast(needed)] ?? this.#bySize.at(-1)
        if (source === undefined) break
        this.#remove(source)
        const length = Math.min(source.length, needed)
        taken.push({ offset: source.offset, length })
        if (source.length > length) this.#add({ offset: source.offset + length, length: source.length - length })
        needed -= length
      }
      if (needed === 0) return taken
      this.release(taken)
    }
    throw new CheckpointError(
      'POOL_FULL',
      `A region of ${bytes} bytes does not fit: ${this.#free} bytes are free in ${this.fragments} pieces, the largest ` +
        `of ${this.largest}, and a region takes at most ${limits.extents} pieces.`,
      { help: 'Delete regions, or create a larger pool.', details: { free: this.#free, largest: this.largest } },
    )
  }

  release(extents: readonly Extent[]): void {
    for (const extent of extents) {
      let { offset, length } = extent
      const before = this.#byEnd.get(offset)
      if (before !== undefined) {
        this.#remove(before)
        offset = before.offset
        length += before.length
      }
      const after = this.#byStart.get(offset + length)
      if (after !== undefined) {
        this.#remove(after)
        length += after.length
      }
      this.#add({ offset, length })
    }
  }

  #add(extent: Extent): void {
    this.#bySize.splice(this.#position(extent), 0, extent)
    this.#byStart.set(extent.offset, extent)
    this.#byEnd.set(extent.offset + extent.length, extent)
    this.#free += extent.length
  }

  #remove(extent: Extent): void {
    this.#bySize.splice(this.#position(extent), 1)
    this.#byStart.delete(extent.offset)
    this.#byEnd.delete(extent.offset + extent.length)
    this.#free -= extent.length
  }

  #firstAtLeast(length: number): number {
    return this.#position({ offset: 0, length })
  }

  /** Where the extent is in bySize, or would be. */
  #position(extent: Extent): number {
    let low = 0
    let high = this.#bySize.length
    while (low < high) {
      const middle = (low + high) >>> 1
      const other = this.#bySize[middle]
      if (other === undefined) break
      const less = other.length < extent.length || (other.length === extent.length && other.offset < extent.offset)
      if (less) low = middle + 1
      else high = middle
    }
    return low
  }
}

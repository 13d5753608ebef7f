/**
 * The ranges of a region that this handle has written visibly and not flushed, or may have: sorted, apart from each other, and
 * bounded. Beyond the bound the two nearest are joined over the gap between them, which costs a flush of clean bytes and
 * is never wrong.
 */
import type { RegionRange } from '../region-range.js'

const maxRanges = 1024

export class DirtyRanges {
  /** Starts and ends, in turn: [start, end, start, end, ...). */
  #edges: number[] = []

  get empty(): boolean {
    return this.#edges.length === 0
  }

  get count(): number {
    return this.#edges.length / 2
  }

  add(offset: number, length: number): void {
    if (length === 0) return
    let start = offset
    let end = offset + length
    const edges = this.#edges
    // What ends before the new one stays; what begins after it stays; the rest becomes one with it.
    const first = this.#firstEndingAtOrAfter(start)
    let last = first
    while (last < edges.length && edgeAt(edges, last) <= end) last += 2
    if (first < last) {
      start = Math.min(start, edgeAt(edges, first))
      end = Math.max(end, edgeAt(edges, last - 1))
    }
    edges.splice(first, last - first, start, end)
    if (edges.length > 2 * maxRanges) this.#joinNearest()
  }

  /** Takes out what lies within the range and returns it. */
  subtract(offset: number, length: number): RegionRange[] {
    if (length === 0 || this.empty) return []
    const end = offset + length
    const edges = this.#edges
    const taken: RegionRange[] = []
    const kept: number[] = []
    let first = this.#firstEndingAtOrAfter(offset)
    if (first < edges.length && edgeAt(edges, first + 1) === offset) first += 2
    let last = first
    for (; last < edges.length && edgeAt(edges, last) < end; last += 2) {
      const from = edgeAt(edges, last)
      const to = edgeAt(edges, last + 1)
      const cutFrom = Math.max(from, offset)
      const cutTo = Math.min(to, end)
      taken.push({ offset: cutFrom, length: cutTo - cutFrom })
      if (from < cutFrom) kept.push(from, cutFrom)
      if (cutTo < to) kept.push(cutTo, to)
    }
    edges.splice(first, last - first, ...kept)
    return taken
  }

  /** What lies within the range. */
  within(offset: number, length: number): RegionRange[] {
    const end = offset + length
    const found: RegionRange[] = []
    for (let i = this.#firstEndingAtOrAfter(offset); i < this.#edges.length; i += 2) {
      const from = Math.max(edgeAt(this.#edges, i), offset)
      const to = Math.min(edgeAt(this.#edges, i + 1), end)
      if (edgeAt(this.#edges, i) >= end) break
      if (from < to) found.push({ offset: from, length: to - from })
    }
    return found
  }

  /** Takes out everything and returns it. */
  takeAll(): RegionRange[] {
    const all = this.toArray()
    this.#edges = []
    return all
  }

  toArray(): RegionRange[] {
    const all: RegionRange[] = []
    for (let i = 0; i < this.#edges.length; i += 2) {
      const offset = edgeAt(this.#edges, i)
      all.push({ offset, length: edgeAt(this.#edges, i + 1) - offset })
    }
    return all
  }

  /** Index of the first interval whose end is at or after the position. */
  #firstEndingAtOrAfter(position: number): number {
    let low = 0
    let high = this.#edges.length / 2
    while (low < high) {
      const middle = (low + high) >>> 1
      if (edgeAt(this.#edges, 2 * middle + 1) < position) low = middle + 1
      else high = middle
    }
    return 2 * low
  }

  #joinNearest(): void {
    const edges = this.#edges
    let nearest = 1
    let gap = Number.POSITIVE_INFINITY
    for (let i = 1; i + 1 < edges.length; i += 2) {
      const between = edgeAt(edges, i + 1) - edgeAt(edges, i)
      if (between < gap) {
        gap = between
        nearest = i
      }
    }
    edges.splice(nearest, 2)
  }
}

/** A range that was written, or may have been. */
export interface WrittenRange extends RegionRange {
  /** Somebody was told that it is visible: if it is lost, that has to be told, too. */
  readonly told: boolean
}

/** Ranges that are not durable, and which of them somebody was told to be visible. */
export class WrittenRanges {
  readonly #all = new DirtyRanges()
  readonly #told = new DirtyRanges()

  get empty(): boolean {
    return this.#all.empty
  }

  get anyTold(): boolean {
    return !this.#told.empty
  }

  add({ offset, length, told }: WrittenRange): void {
    this.#all.add(offset, length)
    if (told) this.#told.add(offset, length)
  }

  /** Somebody is told now that what is left of the range is visible. */
  tell({ offset, length }: RegionRange): void {
    for (const left of this.#all.within(offset, length)) this.#told.add(left.offset, left.length)
  }

  /** Takes out what lies within the range and returns it. What was told is in there twice. */
  subtract(offset: number, length: number): WrittenRange[] {
    if (this.#all.empty) return []
    return marked(this.#all.subtract(offset, length), this.#told.subtract(offset, length))
  }

  /** Takes out everything and returns it, as {@link subtract} does. */
  takeAll(): WrittenRange[] {
    return marked(this.#all.takeAll(), this.#told.takeAll())
  }
}

function marked(all: readonly RegionRange[], toldOfIt: readonly RegionRange[]): WrittenRange[] {
  const ranges: WrittenRange[] = []
  for (const { offset, length } of all) ranges.push({ offset, length, told: false })
  for (const { offset, length } of toldOfIt) ranges.push({ offset, length, told: true })
  return ranges
}

function edgeAt(edges: readonly number[], index: number): number {
  return edges[index] as number
}

/** [offset, length, offset, length, ...] */
export function flat(intervals: readonly RegionRange[]): number[] {
  const numbers: number[] = []
  for (const { offset, length } of intervals) numbers.push(offset, length)
  return numbers
}

/**
 * Ranges of a region as callers give them, checked: each field is read once, and nothing lies outside of the region. Of the
 * package's own ranges only the bounds are.
 */

import { checkBytes, checkRange, invalid, kindOf, mustBeCopied, toSize } from '../call/check.js'
import { copyOf, newBytes } from '../call/new-bytes.js'
import { asList, isList } from '../call/shape.js'
import type { RangeBytes, RegionRange } from '../region-range.js'

/** What a range has to lie in. */
export interface Bounds {
  readonly name: string
  readonly bytes: number
}

/** Offsets and memory of a vectored call. */
export interface Vector {
  readonly offsets: number[]
  readonly buffers: Uint8Array[]
  /** What stands in `buffers` for memory that another thread may change or take away. */
  readonly copies: { readonly target: Uint8Array; readonly copy: Uint8Array }[]
}

/**
 * Empty ranges are left out.
 * @param doing when it writes, the copies have the bytes already
 */
export function takeVector(ranges: readonly unknown[], bounds: Bounds, doing: 'read' | 'write'): Vector {
  const vector: Vector = { offsets: [], buffers: [], copies: [] }
  for (const range of ranges) {
    const { bytes, offset: at } = fieldsOf(range, 'bytes')
    checkBytes(bytes, 'bytes')
    const offset = toSize(at, 'offset')
    checkRange(offset, bytes.byteLength, bounds.bytes, bounds.name)
    if (bytes.byteLength === 0) continue
    vector.offsets.push(offset)
    if (!mustBeCopied(bytes)) {
      vector.buffers.push(bytes)
      continue
    }
    const copy = doing === 'write' ? copyOf(bytes) : newBytes(bytes.byteLength)
    vector.copies.push({ target: bytes, copy })
    vector.buffers.push(copy)
  }
  return vector
}

/** Empty ranges are left out. */
export function takeRanges(ranges: readonly unknown[], bounds: Bounds): RegionRange[] {
  const intervals: RegionRange[] = []
  for (const range of ranges) {
    const given = fieldsOf(range, 'length')
    const offset = toSize(given.offset, 'offset')
    const length = toSize(given.length, 'length')
    checkRange(offset, length, bounds.bytes, bounds.name)
    if (length > 0) intervals.push({ offset, length })
  }
  return intervals
}

/** Empty ranges are left out. */
export function ownVector(ranges: readonly RangeBytes[], bounds: Bounds): { offsets: number[]; buffers: Uint8Array[] } {
  const offsets: number[] = []
  const buffers: Uint8Array[] = []
  for (const { offset, bytes } of ranges) {
    checkRange(offset, bytes.byteLength, bounds.bytes, bounds.name)
    if (bytes.byteLength === 0) continue
    offsets.push(offset)
    buffers.push(bytes)
  }
  return { offsets, buffers }
}

/** Empty ranges are left out. */
export function ownRanges(intervals: readonly RegionRange[], bounds: Bounds): readonly RegionRange[] {
  if (intervals.length === 0) return intervals
  for (const { offset, length } of intervals) checkRange(offset, length, bounds.bytes, bounds.name)
  return intervals.filter(({ length }) => length > 0)
}

/** One range, or a list of them. */
export function oneOrMore(ranges: unknown): readonly unknown[] {
  return typeof ranges === 'object' && ranges !== null && !isList(ranges) ? [ranges] : asList(ranges, 'ranges')
}

/** The fields of a range as they are. */
function fieldsOf<K extends string>(range: unknown, other: K): Record<'offset' | K, unknown> {
  if (typeof range !== 'object' || range === null) {
    throw invalid(`A range must be an object with offset and ${other}; it is ${kindOf(range)}.`)
  }
  try {
    const given = range as Record<string, unknown>
    return { offset: given.offset, [other]: given[other] } as Record<'offset' | K, unknown>
  } catch (error) {
    throw invalid('A range cannot be read.', undefined, error)
  }
}

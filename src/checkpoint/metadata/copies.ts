/**
 * A log's metadata as read: both copies, put together. What one copy has lost, the other still says; only what both have lost
 * has to be looked for in the log itself.
 */
import { newBytes } from '../../call/new-bytes.js'
import { entriesOffset, entryBytes, type Geometry, tipBytes, tipOffset } from '../geometry.js'
import { type Crc32c, headerDurableFlag, type RecordHeader } from '../record/header.js'
import { compareOrder, greater } from '../record/order.js'
import { type DirectoryEntry, parseEntry, parseTip, type Tip } from './directory.js'
import { type LogHeaders, logHeaderUsedBytes, readLogHeader } from './log-header.js'

export interface LogMetadata extends LogHeaders {
  /** The copies' bytes. */
  readonly copies: readonly [Uint8Array, Uint8Array]
  /** Newest first. */
  readonly tips: readonly Tip[]
  /** Of each copy. */
  readonly tipCopies: readonly (Tip | undefined)[]
  /** Of both copies; two of one index where they differ. */
  readonly entries: readonly DirectoryEntry[]
  /** The greatest that was certainly durable. */
  readonly durableSequence: bigint
  /** The greatest that an append was to make durable. */
  readonly promisedSequence: bigint
  /** The greatest that is named. */
  readonly greatestSequence: bigint
  /** In cells; 0 when nothing was reserved. */
  readonly reserved: number
  /** Tips and entries that are neither sound nor zeros. */
  readonly damaged: number
}

/** What to read for {@link parseMetadata}. */
export function metadataRanges({ metadata: { offsets, bytes } }: Geometry): {
  copies: [Uint8Array, Uint8Array]
  ranges: { offset: number; bytes: Uint8Array }[]
} {
  const copies: [Uint8Array, Uint8Array] = [newBytes(bytes), newBytes(bytes)]
  return { copies, ranges: copies.map((copy, index) => ({ offset: offsets[index as 0 | 1], bytes: copy })) }
}

/** In each copy of the metadata, what {@link readHeaders} reads: log header and tip. */
export const headersBytes = tipOffset + tipBytes

/** The log header by all that says it. Errors as of `readLogHeader`. */
export function readHeaders(
  copies: readonly [Uint8Array, Uint8Array],
  geometry: Geometry,
  instance: Uint8Array,
  instanceCrc: number,
  writing: boolean,
  crc32c: Crc32c,
): LogHeaders & { tipCopies: readonly (Tip | undefined)[] } {
  const headers: [Uint8Array, Uint8Array] = [
    copies[0].subarray(0, logHeaderUsedBytes),
    copies[1].subarray(0, logHeaderUsedBytes),
  ]
  const tipCopies = copies.map((copy) => parseTip(copy.subarray(tipOffset, headersBytes), instanceCrc, crc32c))
  const repeated = tipCopies.filter((tip) => tip !== undefined).map(({ header }) => header)
  return { ...readLogHeader(headers, geometry, instance, writing, crc32c, repeated), tipCopies }
}

/**
 * A log without a header has none because nothing was ever written, or because it was lost. (Or both were written since the
 * metadata was read: whoever calls looks again.)
 * @param newest the newest record that was found
 */
export function isHeaderLost({ header, durableSequence }: LogMetadata, newest: RecordHeader | undefined): boolean {
  if (header.generation > 0n) return false
  return durableSequence > 0n || (newest !== undefined && (newest.flags & headerDurableFlag) !== 0)
}

/** Errors as of `readLogHeader`. */
export function parseMetadata(
  copies: readonly [Uint8Array, Uint8Array],
  geometry: Geometry,
  instance: Uint8Array,
  instanceCrc: number,
  writing: boolean,
  crc32c: Crc32c,
): LogMetadata {
  const found = readHeaders(copies, geometry, instance, instanceCrc, writing, crc32c)
  const { tipCopies } = found
  const entries: DirectoryEntry[] = []
  let damaged = 0
  for (const [index, tip] of tipCopies.entries()) {
    const bytes = copies[index as 0 | 1].subarray(tipOffset, tipOffset + tipBytes)
    if (tip === undefined && !isZero(bytes)) damaged++
  }
  const tips = tipCopies.filter((tip) => tip !== undefined)
  tips.sort((a, b) => compareOrder(b, a) || Number(b.durableSequence - a.durableSequence))
  if (geometry.mode === 'append') {
    for (let index = 0; index < geometry.segments + geometry.marks; index++) {
      const both = copies.map((copy) => entryIn(copy, index)) as [Uint8Array, Uint8Array]
      const different = equal(...both) ? both.slice(0, 1) : both
      for (const bytes of different) {
        const entry = parseEntry(bytes, index, geometry, instanceCrc, crc32c)
        if (entry !== undefined) entries.push(entry)
        else if (!isZero(bytes)) damaged++
      }
    }
  }
  let [durableSequence, promisedSequence, greatestSequence, reserved] = [0n, 0n, 0n, 0]
  for (const anchor of [...tips, ...entries]) {
    durableSequence = greater(durableSequence, anchor.durableSequence)
    greatestSequence = greater(greatestSequence, anchor.sequence)
  }
  for (const tip of tips) {
    promisedSequence = greater(promisedSequence, tip.promisedSequence)
    reserved = Math.max(reserved, tip.reserved)
  }
  greatestSequence = greater(greatestSequence, greater(promisedSequence, durableSequence))
  return {
    ...found,
    copies,
    tips,
    entries,
    durableSequence,
    promisedSequence,
    greatestSequence,
    reserved,
    damaged,
  }
}

/** With what is known to be durable from elsewhere. */
export function withDurable(metadata: LogMetadata, durableSequence: bigint): LogMetadata {
  if (durableSequence <= metadata.durableSequence) return metadata
  return { ...metadata, durableSequence, greatestSequence: greater(metadata.greatestSequence, durableSequence) }
}

/** The bytes of an entry in a copy of the metadata. */
export function entryIn(copy: Uint8Array, index: number): Uint8Array {
  return copy.subarray(entriesOffset + index * entryBytes, entriesOffset + (index + 1) * entryBytes)
}

/** Whether both were read from the same state of the log. */
export function sameMetadata(one: LogMetadata, other: LogMetadata): boolean {
  return equal(one.copies[0], other.copies[0]) && equal(one.copies[1], other.copies[1])
}

export function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && Buffer.compare(a, b) === 0
}

export function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0)
}

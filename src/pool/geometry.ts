/** Where things are in a pool: superblocks, the two copies of the region table, the data area. docs/pool-format.md. */
import { CheckpointError } from '../errors.js'

/** Structures of the pool are one block each, so that no two of them are torn by one write. */
export const blockBytes = 4096
export const superblockBytes = blockBytes
export const slotBytes = blockBytes
/** Where the first copy of the table begins in a new pool. */
export const tableStart = superblockBytes
/** At least so far from each other are the two copies of a structure, so that what loses one and its surroundings spares the other. */
const copiesApart = 64 * 1024

export const maxSlots = 65_536
const minSlotsByDefault = 64
/** Entries of the table that are written at once, as free ones, before the first of them is used. */
export const slotsWrittenAtOnce = 64
/** Bytes of pool for each table entry, unless the operator names a number of entries. */
const bytesPerSlot = 256 * 1024

export interface Geometry {
  poolBytes: number
  blockSize: number
  /** Extents begin and end at multiples of it: 4096, or 2 MiB on devdax. */
  extentAlignment: number
  slots: number
  slotBytes: number
  tableOffsets: readonly [number, number]
  firstDataOffset: number
}

/** The two copies: the first and the last block of a pool of that size, or of a medium that holds nothing else. */
export function superblockOffsets(bytes: number): readonly [number, number] {
  return [0, bytes - (bytes % blockBytes) - superblockBytes]
}

/** End of the last whole alignment unit of the data area. */
export function dataEnd({ poolBytes, extentAlignment }: Geometry): number {
  const [, end] = superblockOffsets(poolBytes)
  return end - (end % extentAlignment)
}

export function slotOffset(geometry: Geometry, copy: 0 | 1, slot: number): number {
  return geometry.tableOffsets[copy] + slot * geometry.slotBytes
}

export function roundUp(bytes: number, alignment: number): number {
  return Math.ceil(bytes / alignment) * alignment
}

/**
 * The layout of a new pool.
 * @param maxRegions entries of the region table; default one for each 256 KiB, at least 64, at most 65,536
 * @throws CheckpointError `INVALID_ARGUMENT` when the pool is too small for its tables and one extent
 */
export function planGeometry(poolBytes: number, maxRegions?: number, extentAlignment = blockBytes): Geometry {
  const slots = maxRegions ?? Math.min(maxSlots, Math.max(minSlotsByDefault, Math.floor(poolBytes / bytesPerSlot)))
  if (!Number.isSafeInteger(slots) || slots < 1 || slots > maxSlots) {
    throw new CheckpointError('INVALID_ARGUMENT', `A pool holds 1 to ${maxSlots} regions; it was to hold ${slots}.`)
  }
  const tableBytes = slots * slotBytes
  const tableA = tableStart
  const tableB = tableA + Math.max(tableBytes, copiesApart)
  const firstDataOffset = roundUp(tableB + tableBytes, extentAlignment)
  const smallest = roundUp(firstDataOffset + extentAlignment + superblockBytes, extentAlignment)
  if (!Number.isSafeInteger(poolBytes) || poolBytes < smallest) {
    throw new CheckpointError(
      'INVALID_ARGUMENT',
      `A pool of ${poolBytes} bytes is too small: its tables for ${slots} regions and one extent need ${smallest}.`,
      { help: 'Make the pool larger, or its region table smaller (maxRegions).' },
    )
  }
  return {
    poolBytes,
    blockSize: blockBytes,
    extentAlignment,
    slots,
    slotBytes,
    tableOffsets: [tableA, tableB],
    firstDataOffset,
  }
}

/** What is wrong with a layout read from a medium; undefined if nothing is. */
export function geometryProblem(geometry: Geometry): string | undefined {
  const { poolBytes, blockSize, extentAlignment, slots, tableOffsets, firstDataOffset } = geometry
  const [tableA, tableB] = tableOffsets
  const tableBytes = slots * slotBytes
  if (blockSize !== blockBytes) return `block size ${blockSize} is not ${blockBytes}`
  if (geometry.slotBytes !== slotBytes) return `table entries of ${geometry.slotBytes} bytes are not ${slotBytes}`
  if (slots < 1 || slots > maxSlots) return `${slots} table entries are not 1 to ${maxSlots}`
  if (!isPowerOfTwo(extentAlignment) || extentAlignment < blockBytes || extentAlignment > 2 ** 30) {
    return `extent alignment ${extentAlignment} is not a power of two from ${blockBytes} to ${2 ** 30}`
  }
  for (const offset of [tableA, tableB, firstDataOffset, poolBytes]) {
    if (!Number.isSafeInteger(offset) || offset % blockBytes !== 0)
      return `offset ${offset} is not a multiple of ${blockBytes}`
  }
  if (tableA < tableStart) return `table copy A at ${tableA} overlaps the superblock`
  if (tableB < tableA + tableBytes)
    return `table copy B at ${tableB} overlaps copy A, which ends at ${tableA + tableBytes}`
  if (firstDataOffset < tableB + tableBytes) return `data at ${firstDataOffset} overlaps table copy B`
  if (firstDataOffset % extentAlignment !== 0) return `data at ${firstDataOffset} is not aligned to ${extentAlignment}`
  if (dataEnd(geometry) < firstDataOffset + extentAlignment)
    return `a pool of ${poolBytes} bytes ends before its first extent`
  return undefined
}

function isPowerOfTwo(value: number): boolean {
  return value > 0 && Number.isInteger(Math.log2(value))
}

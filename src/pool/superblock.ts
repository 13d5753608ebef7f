/** The superblock: which pool this is, where its parts are, how often it was started. Two copies, the pool's first block and its last. */
import { type Geometry, geometryProblem, superblockBytes } from './geometry.js'
import { asBuffer, safeNumber, seal, sealProblem, uuidFromBytes, uuidToBytes, writeNumberOffset } from './structure.js'

export const superblockMagic = 'RDCPPOOL'
export const formatVersion = 3

const mediumKinds = ['memory', 'file', 'devdax'] as const
export type MediumKind = (typeof mediumKinds)[number]

/**
 * Three words of feature bits. An unknown compatible bit may be ignored. With an unknown read-only-compatible bit a pool may be
 * read but not changed. With an unknown incompatible bit it must not be opened.
 */
export interface Features {
  compatible: bigint
  readOnlyCompatible: bigint
  incompatible: bigint
}
/** What this version knows: none yet. */
export const knownFeatures: Features = { compatible: 0n, readOnlyCompatible: 0n, incompatible: 0n }

export interface Superblock {
  /** Raised each time a superblock is written; the valid copy with the higher one counts. */
  writeNumber: bigint
  /** How often a unit was started on this pool: the unit's start number. */
  starts: bigint
  id: string
  features: Features
  medium: MediumKind
  /** The last unit stopped gracefully and had written back everything. */
  clean: boolean
  createdMs: number
  /** Entries of the table, from the first on, that have been written: none of them is ever zeros again. */
  writtenSlots: number
  geometry: Geometry
}

export type ParsedSuperblock =
  | { state: 'valid'; superblock: Superblock }
  | { state: 'incompatible'; problem: string }
  | { state: 'bad'; problem: string }

// docs/pool-format.md, "Superblock"
const at = {
  version: 16,
  index: 20,
  starts: 24,
  id: 32,
  compatible: 48,
  readOnlyCompatible: 56,
  incompatible: 64,
  poolBytes: 72,
  blockSize: 80,
  medium: 84,
  tableA: 88,
  tableB: 96,
  slots: 104,
  slotBytes: 108,
  firstData: 112,
  extentAlignment: 120,
  flags: 128,
  writtenSlots: 132,
  createdMs: 136,
} as const
const flagClean = 1

export function encodeSuperblock(superblock: Superblock, index: 0 | 1): Buffer {
  const { geometry, features } = superblock
  const block = Buffer.alloc(superblockBytes)
  block.write(superblockMagic, 0, 'latin1')
  block.writeBigUInt64LE(superblock.writeNumber, writeNumberOffset)
  block.writeUInt32LE(formatVersion, at.version)
  block.writeUInt32LE(index, at.index)
  block.writeBigUInt64LE(superblock.starts, at.starts)
  uuidToBytes(superblock.id).copy(block, at.id)
  block.writeBigUInt64LE(features.compatible, at.compatible)
  block.writeBigUInt64LE(features.readOnlyCompatible, at.readOnlyCompatible)
  block.writeBigUInt64LE(features.incompatible, at.incompatible)
  block.writeBigUInt64LE(BigInt(geometry.poolBytes), at.poolBytes)
  block.writeUInt32LE(geometry.blockSize, at.blockSize)
  block.writeUInt32LE(mediumKinds.indexOf(superblock.medium) + 1, at.medium)
  block.writeBigUInt64LE(BigInt(geometry.tableOffsets[0]), at.tableA)
  block.writeBigUInt64LE(BigInt(geometry.tableOffsets[1]), at.tableB)
  block.writeUInt32LE(geometry.slots, at.slots)
  block.writeUInt32LE(geometry.slotBytes, at.slotBytes)
  block.writeBigUInt64LE(BigInt(geometry.firstDataOffset), at.firstData)
  block.writeBigUInt64LE(BigInt(geometry.extentAlignment), at.extentAlignment)
  block.writeUInt32LE(superblock.clean ? flagClean : 0, at.flags)
  block.writeUInt32LE(superblock.writtenSlots, at.writtenSlots)
  block.writeBigUInt64LE(BigInt(superblock.createdMs), at.createdMs)
  return seal(block)
}

/**
 * Checks in this order: length, magic, checksum, format version, incompatible features, which copy it is, medium,
 * layout. Bytes only; nothing else is needed to call it.
 */
export function parseSuperblock(bytes: Uint8Array, index: 0 | 1): ParsedSuperblock {
  const damaged = sealProblem(bytes, superblockMagic)
  if (damaged !== undefined) return { state: 'bad', problem: damaged }
  const block = asBuffer(bytes)
  const version = block.readUInt32LE(at.version)
  if (version !== formatVersion) {
    return { state: 'incompatible', problem: `is of format version ${version}; this release knows ${formatVersion}` }
  }
  const features: Features = {
    compatible: block.readBigUInt64LE(at.compatible),
    readOnlyCompatible: block.readBigUInt64LE(at.readOnlyCompatible),
    incompatible: block.readBigUInt64LE(at.incompatible),
  }
  const unknown = features.incompatible & ~knownFeatures.incompatible
  if (unknown !== 0n)
    return { state: 'incompatible', problem: `needs features unknown here: 0x${unknown.toString(16)}` }
  const found = block.readUInt32LE(at.index)
  if (found !== index) return { state: 'bad', problem: `is copy ${found} at the place of copy ${index}` }
  const medium = mediumKinds[block.readUInt32LE(at.medium) - 1]
  if (medium === undefined) return { state: 'bad', problem: `names medium ${block.readUInt32LE(at.medium)}` }
  const geometry: Geometry = {
    poolBytes: safeNumber(block.readBigUInt64LE(at.poolBytes)),
    blockSize: block.readUInt32LE(at.blockSize),
    extentAlignment: safeNumber(block.readBigUInt64LE(at.extentAlignment)),
    slots: block.readUInt32LE(at.slots),
    slotBytes: block.readUInt32LE(at.slotBytes),
    tableOffsets: [safeNumber(block.readBigUInt64LE(at.tableA)), safeNumber(block.readBigUInt64LE(at.tableB))],
    firstDataOffset: safeNumber(block.readBigUInt64LE(at.firstData)),
  }
  const wrong = geometryProblem(geometry)
  if (wrong !== undefined) return { state: 'bad', problem: wrong }
  const writtenSlots = block.readUInt32LE(at.writtenSlots)
  if (writtenSlots > geometry.slots) {
    return { state: 'bad', problem: `says that ${writtenSlots} of ${geometry.slots} table entries were written` }
  }
  return {
    state: 'valid',
    superblock: {
      writeNumber: block.readBigUInt64LE(writeNumberOffset),
      starts: block.readBigUInt64LE(at.starts),
      id: uuidFromBytes(block.subarray(at.id, at.id + 16)),
      features,
      medium,
      clean: (block.readUInt32LE(at.flags) & flagClean) !== 0,
      createdMs: Number(block.readBigUInt64LE(at.createdMs)),
      writtenSlots,
      geometry,
    },
  }
}

/**
 * An entry of the region table: one region, or free. Two copies, one block each. The unit writes it, and clients read it
 * by RDMA and parse it with this code. So the code needs bytes only, and trusts none of them.
 */
import { textLimits } from '../text-limits.js'
import { slotBytes } from './geometry.js'
import {
  asBuffer,
  decodeUtf8,
  isZero,
  safeNumber,
  seal,
  sealProblem,
  uuidFromBytes,
  uuidToBytes,
  writeNumberOffset,
} from './structure.js'

export const slotMagic = 'RDCPSLOT'

export const limits = {
  ...textLimits,
  ownerSecretHashBytes: 32,
  labelsBytes: 1024,
  labelKeyBytes: 63,
  labelValueBytes: 255,
  cursors: 16,
  extents: 95,
} as const

const modes = ['append', 'overwrite', 'raw'] as const
const policies = ['drop-oldest', 'wait', 'fail'] as const

/** Bytes of the pool. */
export interface Extent {
  offset: number
  length: number
}
export interface SavedCursor {
  name: string
  epoch: bigint
  sequence: bigint
}
export interface RegionOwner {
  identity: string
  /** SHA-256 of the owner's secret, because every client can read the tables. */
  secretHash: Uint8Array
  sinceMs: number
}
export interface RegionRecord {
  /** UUID of this instance of the name, never used again. */
  id: string
  name: string
  bytes: number
  mode: (typeof modes)[number]
  onFull: (typeof policies)[number]
  epoch: bigint
  lease: { silenceMs: number; stallMs: number }
  owner?: RegionOwner
  labels: Readonly<Record<string, string>>
  cursors: readonly SavedCursor[]
  extents: readonly Extent[]
  createdMs: number
}

export type ParsedSlot =
  /** Zeros: never written, or lost; the superblock says which. */
  | { state: 'empty'; writeNumber: 0n }
  | { state: 'free'; writeNumber: bigint }
  | { state: 'used'; writeNumber: bigint; record: RegionRecord }
  | { state: 'bad'; problem: string }
export type ValidSlot = Exclude<ParsedSlot, { state: 'bad' }>

// docs/pool-format.md, "Region table"
const at = {
  slot: 16,
  state: 20,
  mode: 22,
  onFull: 23,
  pool: 24,
  id: 40,
  bytes: 56,
  epoch: 64,
  ownerSinceMs: 72,
  silenceMs: 80,
  stallMs: 84,
  createdMs: 88,
  ownerSecretHash: 96,
  nameLength: 128,
  identityLength: 129,
  labelsLength: 130,
  cursorCount: 132,
  extentCount: 134,
  flags: 136,
  name: 256,
  identity: 512,
  labels: 640,
  cursors: 1664,
  extents: 2560,
} as const
const stateUsed = 1
const flagOwned = 1
const cursorBytes = 56
const extentBytes = 16

/** @param record undefined for a free entry */
export function encodeSlot(pool: string, slot: number, writeNumber: bigint, record: RegionRecord | undefined): Buffer {
  const block = Buffer.alloc(slotBytes)
  block.write(slotMagic, 0, 'latin1')
  block.writeBigUInt64LE(writeNumber, writeNumberOffset)
  block.writeUInt32LE(slot, at.slot)
  uuidToBytes(pool).copy(block, at.pool)
  if (record === undefined) return seal(block)
  block.writeUInt16LE(stateUsed, at.state)
  block.writeUInt8(modes.indexOf(record.mode) + 1, at.mode)
  block.writeUInt8(policies.indexOf(record.onFull) + 1, at.onFull)
  uuidToBytes(record.id).copy(block, at.id)
  block.writeBigUInt64LE(BigInt(record.bytes), at.bytes)
  block.writeBigUInt64LE(record.epoch, at.epoch)
  block.writeUInt32LE(record.lease.silenceMs, at.silenceMs)
  block.writeUInt32LE(record.lease.stallMs, at.stallMs)
  block.writeBigUInt64LE(BigInt(record.createdMs), at.createdMs)
  if (record.owner !== undefined) {
    block.writeUInt32LE(flagOwned, at.flags)
    block.writeBigUInt64LE(BigInt(record.owner.sinceMs), at.ownerSinceMs)
    block.set(exactly(record.owner.secretHash, limits.ownerSecretHashBytes), at.ownerSecretHash)
    block.writeUInt8(put(block, at.identity, record.owner.identity, limits.identityBytes), at.identityLength)
  }
  block.writeUInt8(put(block, at.name, record.name, limits.nameBytes), at.nameLength)
  const labels = encodeLabels(record.labels)
  block.writeUInt16LE(labels.copy(block, at.labels), at.labelsLength)
  bounded(record.cursors.length, limits.cursors, 'cursors')
  block.writeUInt8(record.cursors.length, at.cursorCount)
  for (const [index, cursor] of record.cursors.entries()) {
    const start = at.cursors + index * cursorBytes
    block.writeUInt8(put(block, start + 24, cursor.name, limits.cursorNameBytes), start)
    block.writeBigUInt64LE(cursor.epoch, start + 8)
    block.writeBigUInt64LE(cursor.sequence, start + 16)
  }
  bounded(record.extents.length, limits.extents, 'extents')
  block.writeUInt16LE(record.extents.length, at.extentCount)
  for (const [index, extent] of record.extents.entries()) {
    block.writeBigUInt64LE(BigInt(extent.offset), at.extents + index * extentBytes)
    block.writeBigUInt64LE(BigInt(extent.length), at.extents + index * extentBytes + 8)
  }
  return seal(block)
}

/**
 * Checks in this order: length, all zeros (never written), magic, checksum, pool, place in the table, state, and then each
 * field against its bounds. Whether extents fit the pool and each other is for the reader of the whole table to see.
 */
export function parseSlot(bytes: Uint8Array, pool: string, slot: number): ParsedSlot {
  if (bytes.byteLength === slotBytes && isZero(bytes)) return { state: 'empty', writeNumber: 0n }
  const damaged = sealProblem(bytes, slotMagic)
  if (damaged !== undefined) return bad(damaged)
  const block = asBuffer(bytes)
  const owner = uuidFromBytes(block.subarray(at.pool, at.pool + 16))
  if (owner !== pool) return bad(`belongs to pool ${owner}`)
  const place = block.readUInt32LE(at.slot)
  if (place !== slot) return bad(`is entry ${place} at the place of entry ${slot}`)
  const writeNumber = block.readBigUInt64LE(writeNumberOffset)
  if (writeNumber === 0n) return bad('has write number 0')
  const state = block.readUInt16LE(at.state)
  if (state === 0) return { state: 'free', writeNumber }
  if (state !== stateUsed) return bad(`has unknown state ${state}`)
  const record = parseRecord(block)
  return typeof record === 'string' ? bad(record) : { state: 'used', writeNumber, record }
}

/** Whether a block may be an entry with a region in it, of whatever pool, whole or damaged. */
export function looksUsed(block: Uint8Array): boolean {
  const bytes = asBuffer(block)
  return bytes.toString('latin1', 0, slotMagic.length) === slotMagic && bytes.readUInt16LE(at.state) === stateUsed
}

/** The copy that counts: valid, and with the higher write number. Undefined if both are bad. */
export function newestCopy(a: ParsedSlot, b: ParsedSlot): { slot: ValidSlot; copy: 0 | 1 } | undefined {
  if (a.state === 'bad') return b.state === 'bad' ? undefined : { slot: b, copy: 1 }
  if (b.state === 'bad') return { slot: a, copy: 0 }
  return b.writeNumber > a.writeNumber ? { slot: b, copy: 1 } : { slot: a, copy: 0 }
}

/** Bytes that labels take in a table entry, and what is wrong with them, if anything. */
export function labelsProblem(labels: Readonly<Record<string, string>>): string | undefined {
  let total = 0
  for (const [key, value] of Object.entries(labels)) {
    const keyBytes = Buffer.byteLength(key)
    const valueBytes = Buffer.byteLength(value)
    if (keyBytes < 1 || keyBytes > limits.labelKeyBytes)
      return `label key "${key}" is not 1 to ${limits.labelKeyBytes} bytes`
    if (valueBytes > limits.labelValueBytes)
      return `the value of label "${key}" is longer than ${limits.labelValueBytes} bytes`
    total += 2 + keyBytes + valueBytes
  }
  return total > limits.labelsBytes
    ? `the labels take ${total} bytes, and ${limits.labelsBytes} is the most`
    : undefined
}

function parseRecord(block: Buffer): RegionRecord | string {
  const mode = modes[block.readUInt8(at.mode) - 1]
  if (mode === undefined) return `has unknown mode ${block.readUInt8(at.mode)}`
  const onFull = policies[block.readUInt8(at.onFull) - 1]
  if (onFull === undefined) return `has unknown policy ${block.readUInt8(at.onFull)}`
  const bytes = safeNumber(block.readBigUInt64LE(at.bytes))
  if (!(bytes >= 1)) return `has a region of ${block.readBigUInt64LE(at.bytes)} bytes`
  const nameLength = block.readUInt8(at.nameLength)
  const name = decodeUtf8(block.subarray(at.name, at.name + nameLength))
  if (name === undefined || nameLength === 0) return 'has a name that is empty or not UTF-8'
  const labelsLength = block.readUInt16LE(at.labelsLength)
  if (labelsLength > limits.labelsBytes) return `has ${labelsLength} bytes of labels`
  const labels = parseLabels(block.subarray(at.labels, at.labels + labelsLength))
  if (labels === undefined) return 'has malformed labels'
  const cursors = parseCursors(block)
  if (typeof cursors === 'string') return cursors
  const extents = parseExtents(block)
  if (typeof extents === 'string') return extents
  const owner = parseOwner(block)
  if (typeof owner === 'string') return owner
  return {
    id: uuidFromBytes(block.subarray(at.id, at.id + 16)),
    name,
    bytes,
    mode,
    onFull,
    epoch: block.readBigUInt64LE(at.epoch),
    lease: { silenceMs: block.readUInt32LE(at.silenceMs), stallMs: block.readUInt32LE(at.stallMs) },
    ...(owner === undefined ? {} : { owner }),
    labels,
    cursors,
    extents,
    createdMs: Number(block.readBigUInt64LE(at.createdMs)),
  }
}

function parseOwner(block: Buffer): RegionOwner | string | undefined {
  if ((block.readUInt32LE(at.flags) & flagOwned) === 0) return undefined
  const length = block.readUInt8(at.identityLength)
  if (length > limits.identityBytes) return `has an owner identity of ${length} bytes`
  const identity = decodeUtf8(block.subarray(at.identity, at.identity + length))
  if (identity === undefined) return 'has an owner identity that is not UTF-8'
  const hashEnd = at.ownerSecretHash + limits.ownerSecretHashBytes
  return {
    identity,
    secretHash: Uint8Array.from(block.subarray(at.ownerSecretHash, hashEnd)),
    sinceMs: Number(block.readBigUInt64LE(at.ownerSinceMs)),
  }
}

function parseCursors(block: Buffer): SavedCursor[] | string {
  const count = block.readUInt8(at.cursorCount)
  if (count > limits.cursors) return `has ${count} cursors`
  const cursors: SavedCursor[] = []
  for (let index = 0; index < count; index++) {
    const start = at.cursors + index * cursorBytes
    const length = block.readUInt8(start)
    if (length < 1 || length > limits.cursorNameBytes) return `has a cursor name of ${length} bytes`
    const name = decodeUtf8(block.subarray(start + 24, start + 24 + length))
    if (name === undefined) return 'has a cursor name that is not UTF-8'
    if (cursors.some((cursor) => cursor.name === name)) return `has two cursors named "${name}"`
    cursors.push({ name, epoch: block.readBigUInt64LE(start + 8), sequence: block.readBigUInt64LE(start + 16) })
  }
  return cursors
}

function parseExtents(block: Buffer): Extent[] | string {
  const count = block.readUInt16LE(at.extentCount)
  if (count < 1 || count > limits.extents) return `has ${count} extents`
  const extents: Extent[] = []
  for (let index = 0; index < count; index++) {
    const start = at.extents + index * extentBytes
    const offset = safeNumber(block.readBigUInt64LE(start))
    const length = safeNumber(block.readBigUInt64LE(start + 8))
    if (!Number.isSafeInteger(offset + length) || length === 0) return `has a malformed extent ${index}`
    extents.push({ offset, length })
  }
  return extents
}

/** Each label: 1 byte length of the key, 1 byte length of the value, key, value. */
function encodeLabels(labels: Readonly<Record<string, string>>): Buffer {
  const problem = labelsProblem(labels)
  if (problem !== undefined) throw new RangeError(problem)
  const parts = Object.entries(labels).flatMap(([key, value]) => {
    const [keyBytes, valueBytes] = [Buffer.from(key), Buffer.from(value)]
    return [Buffer.from([keyBytes.length, valueBytes.length]), keyBytes, valueBytes]
  })
  return Buffer.concat(parts)
}

function parseLabels(bytes: Buffer): Record<string, string> | undefined {
  const entries = new Map<string, string>()
  let at = 0
  while (at < bytes.length) {
    if (at + 2 > bytes.length) return undefined
    const keyEnd = at + 2 + bytes.readUInt8(at)
    const valueEnd = keyEnd + bytes.readUInt8(at + 1)
    if (keyEnd === at + 2 || valueEnd > bytes.length) return undefined
    const key = decodeUtf8(bytes.subarray(at + 2, keyEnd))
    const value = decodeUtf8(bytes.subarray(keyEnd, valueEnd))
    if (key === undefined || value === undefined || entries.has(key)) return undefined
    entries.set(key, value)
    at = valueEnd
  }
  return Object.fromEntries(entries)
}

function put(block: Buffer, offset: number, text: string, limit: number): number {
  const bytes = Buffer.from(text)
  bounded(bytes.length, limit, `bytes of "${text}"`)
  return bytes.copy(block, offset)
}

function exactly(bytes: Uint8Array, length: number): Uint8Array {
  if (bytes.byteLength !== length) throw new RangeError(`${bytes.byteLength} bytes where ${length} belong`)
  return bytes
}

function bounded(count: number, limit: number, what: string): void {
  if (count > limit) throw new RangeError(`${count} ${what}; ${limit} fit`)
}

function bad(problem: string): ParsedSlot {
  return { state: 'bad', problem }
}

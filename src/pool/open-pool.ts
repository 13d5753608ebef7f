/**
 * Reading a pool from its medium: superblocks, table, and all of it checked against each other before anything is
 * written. docs/pool-format.md names each check and its order.
 */
import { CheckpointError } from '../errors.js'
import { dataEnd, type Geometry, slotOffset, superblockBytes, superblockOffsets } from './geometry.js'
import type { PoolMedium } from './medium.js'
import { newestCopy, type ParsedSlot, parseSlot, type RegionRecord } from './slot.js'
import { isZero, sameContent } from './structure.js'
import { knownFeatures, type ParsedSuperblock, parseSuperblock, type Superblock } from './superblock.js'
import type { CopyState } from './two-copies.js'

export interface SlotContents {
  copies: CopyState
  record: RegionRecord | undefined
}
export interface PoolContents {
  superblock: Superblock
  superblockCopies: CopyState
  /** Why nothing may be written, if so. */
  readOnly: string | undefined
  slots: SlotContents[]
  /** Entries one of whose copies is damaged or behind the other. */
  lagging: number[]
}

/** The table is read in pieces of this size. */
const chunkBytes = 1 << 20

/**
 * @throws CheckpointError `POOL_DAMAGED` or `POOL_INCOMPATIBLE`, with what is wrong; nothing was written
 */
export async function readPool(medium: PoolMedium): Promise<PoolContents> {
  const { superblock, copies, readOnly } = await readSuperblock(medium)
  const { slots, lagging } = await readTable(medium, superblock)
  checkRegions(superblock.geometry, slots)
  return { superblock, superblockCopies: copies, readOnly, slots, lagging }
}

async function readSuperblock(
  medium: PoolMedium,
): Promise<{ superblock: Superblock; copies: CopyState; readOnly: string | undefined }> {
  if (medium.bytes < 2 * superblockBytes) {
    throw damaged(`it has ${medium.bytes} bytes, less than the two superblocks of a pool`)
  }
  await medium.load(0, 2 * superblockBytes)
  const [offsetA, offsetB] = superblockOffsets
  const a = parseSuperblock(medium.read(offsetA, superblockBytes), 0)
  const b = parseSuperblock(medium.read(offsetB, superblockBytes), 1)
  for (const parsed of [a, b]) if (parsed.state === 'incompatible') throw incompatible(parsed.problem)
  const superblock = newestSuperblock(a, b)
  if (superblock.geometry.poolBytes > medium.bytes) {
    throw damaged(`its superblock says ${superblock.geometry.poolBytes} bytes, and the medium has ${medium.bytes}`)
  }
  const unknown = superblock.features.readOnlyCompatible & ~knownFeatures.readOnlyCompatible
  return {
    superblock,
    copies: { generation: superblock.generation, newest: b.state === 'valid' && b.superblock === superblock ? 1 : 0 },
    readOnly:
      unknown === 0n ? undefined : `it has features unknown here that forbid changing it: 0x${unknown.toString(16)}`,
  }
}

function newestSuperblock(a: ParsedSuperblock, b: ParsedSuperblock): Superblock {
  if (a.state === 'valid' && b.state === 'valid') {
    const [first, second] = [a.superblock, b.superblock]
    if (first.id !== second.id) throw damaged(`its superblocks are of two pools, ${first.id} and ${second.id}`)
    if (JSON.stringify(first.geometry) !== JSON.stringify(second.geometry)) {
      throw damaged('its two superblocks disagree on the layout')
    }
    if (first.generation === second.generation) {
      throw damaged(`both superblocks have generation ${first.generation}`)
    }
    return second.generation > first.generation ? second : first
  }
  if (a.state === 'valid') return a.superblock
  if (b.state === 'valid') return b.superblock
  throw damaged(`superblock A ${problemOf(a)}; superblock B ${problemOf(b)}`)
}

async function readTable(
  medium: PoolMedium,
  superblock: Superblock,
): Promise<{ slots: SlotContents[]; lagging: number[] }> {
  const { geometry, id } = superblock
  const slots: SlotContents[] = []
  const lagging: number[] = []
  const perChunk = Math.floor(chunkBytes / geometry.slotBytes)
  for (let first = 0; first < geometry.slots; first += perChunk) {
    const count = Math.min(perChunk, geometry.slots - first)
    const length = count * geometry.slotBytes
    const offsets = [slotOffset(geometry, 0, first), slotOffset(geometry, 1, first)] as const
    await Promise.all(offsets.map((offset) => medium.load(offset, length)))
    const [copyA, copyB] = [medium.read(offsets[0], length), medium.read(offsets[1], length)]
    for (let index = 0; index < count; index++) {
      const from = index * geometry.slotBytes
      const bytesA = copyA.subarray(from, from + geometry.slotBytes)
      const bytesB = copyB.subarray(from, from + geometry.slotBytes)
      const { contents, behind } = readSlot(bytesA, bytesB, id, first + index)
      slots.push(contents)
      if (behind) lagging.push(first + index)
    }
  }
  return { slots, lagging }
}

const emptySlot: SlotContents = { copies: { generation: 0n, newest: 1 }, record: undefined }

function readSlot(
  bytesA: Uint8Array,
  bytesB: Uint8Array,
  pool: string,
  slot: number,
): { contents: SlotContents; behind: boolean } {
  if (isZero(bytesA) && isZero(bytesB)) return { contents: emptySlot, behind: false }
  const a = parseSlot(bytesA, pool, slot)
  const b = parseSlot(bytesB, pool, slot)
  const newest = newestCopy(a, b)
  if (newest === undefined) {
    throw damaged(`entry ${slot} of the region table is lost: copy A ${problemOf(a)}; copy B ${problemOf(b)}`)
  }
  const equal = sameContent(bytesA, bytesB)
  if (a.state !== 'bad' && b.state !== 'bad' && a.generation === b.generation && !equal) {
    throw damaged(`both copies of entry ${slot} of the region table have generation ${a.generation} and differ`)
  }
  return {
    contents: {
      copies: { generation: newest.slot.generation, newest: newest.copy },
      record: newest.slot.state === 'used' ? newest.slot.record : undefined,
    },
    behind: a.state === 'bad' || b.state === 'bad' || !equal,
  }
}

function checkRegions(geometry: Geometry, slots: readonly SlotContents[]): void {
  const names = new Map<string, number>()
  const ids = new Map<string, number>()
  const used: { offset: number; end: number; slot: number }[] = []
  for (const [slot, { record }] of slots.entries()) {
    if (record === undefined) continue
    const sameName = names.get(record.name)
    if (sameName !== undefined) throw damaged(`entries ${sameName} and ${slot} both have the name "${record.name}"`)
    names.set(record.name, slot)
    const sameId = ids.get(record.id)
    if (sameId !== undefined) throw damaged(`entries ${sameId} and ${slot} both have the id ${record.id}`)
    ids.set(record.id, slot)
    let total = 0
    for (const { offset, length } of record.extents) {
      const end = offset + length
      if (offset < geometry.firstDataOffset || end > dataEnd(geometry)) {
        throw damaged(
          `entry ${slot} ("${record.name}") has an extent ${offset}..${end} outside of the data area ` +
            `${geometry.firstDataOffset}..${dataEnd(geometry)}`,
        )
      }
      if (offset % geometry.extentAlignment !== 0 || length % geometry.extentAlignment !== 0) {
        throw damaged(`entry ${slot} ("${record.name}") has an extent ${offset}..${end} that is not aligned`)
      }
      total += length
      used.push({ offset, end, slot })
    }
    if (total < record.bytes || total - record.bytes >= geometry.extentAlignment) {
      throw damaged(`entry ${slot} ("${record.name}") has ${record.bytes} bytes in extents of ${total}`)
    }
  }
  used.sort((first, second) => first.offset - second.offset)
  let previous: { end: number; slot: number } | undefined
  for (const extent of used) {
    if (previous !== undefined && extent.offset < previous.end) {
      throw damaged(`entries ${previous.slot} and ${extent.slot} overlap at ${extent.offset}`)
    }
    previous = extent
  }
}

function problemOf(parsed: ParsedSlot | ParsedSuperblock): string {
  return 'problem' in parsed ? parsed.problem : 'is whole'
}

function damaged(what: string): CheckpointError {
  return new CheckpointError('POOL_DAMAGED', `This is not a pool, or it is damaged: ${what}. It was not touched.`, {
    help: 'Check the path. If it is a pool, restore it from a copy; to begin anew, move it away and start again.',
  })
}

function incompatible(what: string): CheckpointError {
  return new CheckpointError('POOL_INCOMPATIBLE', `The pool ${what}. It was not touched.`, {
    help: 'Open it with the release that made it, or a newer one.',
  })
}

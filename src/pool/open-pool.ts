/**
 * Reading a pool from its medium: superblocks, table, and all of it checked against each other before anything is
 * written. docs/pool-format.md names each check and its order. If one copy of a structure is lost, the other one
 * counts. A region that is lost, or contradicts another, is set apart, and the others are served.
 */
import { CheckpointError } from '../errors.js'
import { blockBytes, dataEnd, type Geometry, slotOffset, superblockBytes, superblockOffsets } from './geometry.js'
import type { PoolMedium } from './medium.js'
import { newestCopy, type ParsedSlot, parseSlot, type RegionRecord } from './slot.js'
import { sameContent } from './structure.js'
import { knownFeatures, type ParsedSuperblock, parseSuperblock, type Superblock } from './superblock.js'
import type { CopyState } from './two-copies.js'

export interface SlotContents {
  copies: CopyState
  record: RegionRecord | undefined
  /** Why its region cannot be served; undefined if it can. Without a record nobody knows which region that is, or where. */
  damage?: string
}
/** A structure with one copy that is damaged, unreadable or behind the other. */
export interface Lagging {
  /** Number of the table's entry; undefined: the superblock. */
  slot?: number
  because: string
}
export interface PoolContents {
  superblock: Superblock
  superblockCopies: CopyState
  /** Why nothing may be written; undefined if it may. */
  readOnly: string | undefined
  slots: SlotContents[]
  lagging: Lagging[]
}

/** What is said of a structure that was never written, or was lost as a whole. */
const blank = 'is all zeros'
/** The table is read in pieces of this size. */
const chunkBytes = 1 << 20

/**
 * @throws CheckpointError `POOL_DAMAGED` or `POOL_INCOMPATIBLE`, with what is wrong; nothing was written
 */
export async function readPool(medium: PoolMedium): Promise<PoolContents> {
  const { superblock, copies, readOnly, lagging } = await readSuperblock(medium)
  const table = await readTable(medium, superblock)
  setApart(superblock.geometry, table.slots)
  return {
    superblock,
    superblockCopies: copies,
    readOnly,
    slots: table.slots,
    lagging: [...lagging, ...table.lagging],
  }
}

async function readSuperblock(
  medium: PoolMedium,
): Promise<{ superblock: Superblock; copies: CopyState; readOnly: string | undefined; lagging: Lagging[] }> {
  if (medium.bytes < 2 * superblockBytes) {
    throw damaged(`it has ${medium.bytes} bytes, fewer than the two superblocks of a pool take`)
  }
  const a = await readCopy(medium, 0, medium.bytes)
  // The medium may be larger than the pool. Without copy A only its size says where copy B is.
  const b = await readCopy(medium, 1, a.state === 'valid' ? a.superblock.geometry.poolBytes : medium.bytes)
  for (const parsed of [a, b]) if (parsed.state === 'incompatible') throw incompatible(parsed.problem)
  const superblock = newestSuperblock(a, b)
  const because = [a, b].flatMap((parsed, index) =>
    parsed.state === 'valid' ? [] : [`superblock ${'AB'[index]} ${parsed.problem}`],
  )
  if (superblock.geometry.poolBytes > medium.bytes) {
    throw damaged(`its superblock says ${superblock.geometry.poolBytes} bytes, but the medium has ${medium.bytes}`)
  }
  const unknown = superblock.features.readOnlyCompatible & ~knownFeatures.readOnlyCompatible
  return {
    superblock,
    lagging: because.map((problem) => ({ because: problem })),
    copies: { writeNumber: superblock.writeNumber, newest: b.state === 'valid' && b.superblock === superblock ? 1 : 0 },
    readOnly:
      unknown === 0n
        ? undefined
        : `it has features that this version does not know and that forbid changing it: 0x${unknown.toString(16)}`,
  }
}

/** @param poolBytes where it is read as the superblock of a pool of that size; more than the medium has for one cut short */
async function readCopy(medium: PoolMedium, copy: 0 | 1, poolBytes: number): Promise<ParsedSuperblock> {
  const offset = superblockOffsets(poolBytes)[copy]
  if (offset + superblockBytes > medium.bytes) return { state: 'bad', problem: 'is beyond the end of the medium' }
  const [problem] = await loadBlocks(medium, offset, 1)
  const parsed = unreadable(problem) ?? parseSuperblock(medium.read(offset, superblockBytes), copy)
  // What was cut short ends in the bytes of some region, which anybody may have made look like one.
  if (parsed.state !== 'valid' || superblockOffsets(parsed.superblock.geometry.poolBytes)[copy] === offset)
    return parsed
  return { state: 'bad', problem: `is of a pool of ${parsed.superblock.geometry.poolBytes} bytes` }
}

function newestSuperblock(a: ParsedSuperblock, b: ParsedSuperblock): Superblock {
  if (a.state === 'valid' && b.state === 'valid') {
    const [first, second] = [a.superblock, b.superblock]
    if (first.id !== second.id) throw damaged(`its superblocks belong to two pools, ${first.id} and ${second.id}`)
    if (JSON.stringify(first.geometry) !== JSON.stringify(second.geometry)) {
      throw damaged('its two superblocks disagree on the layout')
    }
    if (first.writeNumber === second.writeNumber) {
      throw damaged(`both superblocks have write number ${first.writeNumber}`)
    }
    return second.writeNumber > first.writeNumber ? second : first
  }
  if (a.state === 'valid') return a.superblock
  if (b.state === 'valid') return b.superblock
  const [first, second] = [problemOf(a), problemOf(b)]
  if (first === blank && second === blank) {
    throw new CheckpointError(
      'POOL_DAMAGED',
      'It contains no pool: both superblocks are zeros. The pool was never created completely, or there never was one. It was not touched.',
      { help: 'Check the path. If nothing in it is worth keeping, remove it and create a new pool (pool create).' },
    )
  }
  throw damaged(`superblock A ${first}; superblock B ${second}`)
}

async function readTable(
  medium: PoolMedium,
  superblock: Superblock,
): Promise<{ slots: SlotContents[]; lagging: Lagging[] }> {
  const { geometry, id } = superblock
  const slots: SlotContents[] = []
  const lagging: Lagging[] = []
  const perChunk = Math.floor(chunkBytes / geometry.slotBytes)
  for (let first = 0; first < geometry.slots; first += perChunk) {
    const count = Math.min(perChunk, geometry.slots - first)
    const length = count * geometry.slotBytes
    const offsets = [slotOffset(geometry, 0, first), slotOffset(geometry, 1, first)] as const
    const [problemsA = [], problemsB = []] = await Promise.all(
      offsets.map((offset) => loadBlocks(medium, offset, count)),
    )
    const [copyA, copyB] = [medium.read(offsets[0], length), medium.read(offsets[1], length)]
    for (let index = 0; index < count; index++) {
      const from = index * geometry.slotBytes
      const copies = [
        { bytes: copyA.subarray(from, from + geometry.slotBytes), unread: problemsA[index] },
        { bytes: copyB.subarray(from, from + geometry.slotBytes), unread: problemsB[index] },
      ] as const
      const slot = first + index
      const { contents, behind } =
        slot < superblock.writtenSlots ? readSlot(copies, id, slot) : readUnwrittenSlot(copies, id, slot)
      slots.push(contents)
      if (behind !== undefined) lagging.push({ slot: first + index, because: behind })
    }
  }
  return { slots, lagging }
}

/**
 * Brings blocks into memory. If that fails for all of them at once, each is tried by itself, so that an unreadable
 * block affects no other.
 * @returns for each unreadable block why it cannot be read; empty if all can
 */
async function loadBlocks(medium: PoolMedium, offset: number, count: number): Promise<(string | undefined)[]> {
  try {
    await medium.load(offset, count * blockBytes)
    return []
  } catch {
    const problems: (string | undefined)[] = []
    for (let index = 0; index < count; index++) {
      const block = medium.load(offset + index * blockBytes, blockBytes)
      problems.push(await block.then(() => undefined, readProblem))
    }
    return problems
  }
}

function readProblem(error: unknown): string {
  return `cannot be read: ${error instanceof Error ? error.message : String(error)}`
}

function unreadable(problem: string | undefined): { state: 'bad'; problem: string } | undefined {
  return problem === undefined ? undefined : { state: 'bad', problem }
}

/** Never written, and never lost therefore. */
const emptySlot: SlotContents = { copies: { writeNumber: 0n, newest: 1 }, record: undefined }

interface SlotCopy {
  bytes: Uint8Array
  unread: string | undefined
}

function readSlot(
  [copyA, copyB]: readonly [SlotCopy, SlotCopy],
  pool: string,
  slot: number,
): { contents: SlotContents; behind?: string } {
  const a = parseWritten(copyA, pool, slot)
  const b = parseWritten(copyB, pool, slot)
  const newest = newestCopy(a, b)
  if (newest === undefined) return lost(`copy A ${problemOf(a)}; copy B ${problemOf(b)}`)
  const equal = sameContent(copyA.bytes, copyB.bytes)
  if (a.state !== 'bad' && b.state !== 'bad' && a.writeNumber === b.writeNumber && !equal) {
    return lost(`both its copies have write number ${a.writeNumber} and differ`)
  }
  const contents = {
    copies: { writeNumber: newest.slot.writeNumber, newest: newest.copy },
    record: newest.slot.state === 'used' ? newest.slot.record : undefined,
  }
  if (a.state === 'bad') return { contents, behind: `copy A ${a.problem}` }
  if (b.state === 'bad') return { contents, behind: `copy B ${b.problem}` }
  return equal ? { contents } : { contents, behind: `copy ${newest.copy === 0 ? 'B' : 'A'} is behind the other` }
}

/** Zeros are what was lost: they were written over once, and are never written. */
function parseWritten(
  { bytes, unread }: SlotCopy,
  pool: string,
  slot: number,
): Exclude<ParsedSlot, { state: 'empty' }> {
  const parsed = unreadable(unread) ?? parseSlot(bytes, pool, slot)
  return parsed.state === 'empty' ? { state: 'bad', problem: blank } : parsed
}

/** Nothing was ever in it. What a crash left of its first writing counts for nothing; a region cannot be there. */
function readUnwrittenSlot(
  copies: readonly [SlotCopy, SlotCopy],
  pool: string,
  slot: number,
): { contents: SlotContents; behind?: string } {
  for (const { bytes, unread } of copies) {
    const parsed = unreadable(unread) ?? parseSlot(bytes, pool, slot)
    if (parsed.state !== 'used') continue
    const damage = 'it is in an entry that was never used, as the superblock says'
    return { contents: { copies: emptySlot.copies, record: parsed.record, damage } }
  }
  return { contents: emptySlot }
}

function lost(damage: string): { contents: SlotContents } {
  return { contents: { copies: emptySlot.copies, record: undefined, damage } }
}

/** Finds regions whose entries are intact but impossible, or contradict each other. */
function setApart(geometry: Geometry, slots: SlotContents[]): void {
  const names = new Map<string, number>()
  const ids = new Map<string, number>()
  const used: { offset: number; end: number; slot: number }[] = []
  const blame = (slot: number, damage: string) => {
    const contents = slots[slot]
    if (contents !== undefined) slots[slot] = { ...contents, damage: contents.damage ?? damage }
  }
  const blameBoth = (first: number, second: number, what: string) => {
    for (const slot of [first, second]) blame(slot, `entries ${first} and ${second} of the region table ${what}`)
  }
  for (const [slot, { record }] of slots.entries()) {
    if (record === undefined) continue
    const sameName = names.get(record.name)
    if (sameName !== undefined) blameBoth(sameName, slot, `both have the name "${record.name}"`)
    names.set(record.name, slot)
    const sameId = ids.get(record.id)
    if (sameId !== undefined) blameBoth(sameId, slot, `both have the id ${record.id}`)
    ids.set(record.id, slot)
    let total = 0
    for (const { offset, length } of record.extents) {
      const end = offset + length
      total += length
      if (offset < geometry.firstDataOffset || end > dataEnd(geometry)) {
        blame(
          slot,
          `it has an extent ${offset}..${end} outside the data area ${geometry.firstDataOffset}..${dataEnd(geometry)}`,
        )
        continue
      }
      if (offset % geometry.extentAlignment !== 0 || length % geometry.extentAlignment !== 0) {
        blame(slot, `it has an extent ${offset}..${end} that is not aligned`)
      }
      used.push({ offset, end, slot })
    }
    if (total < record.bytes || total - record.bytes >= geometry.extentAlignment) {
      blame(slot, `it has ${record.bytes} bytes in extents of ${total}`)
    }
  }
  used.sort((first, second) => first.offset - second.offset)
  let furthest: { end: number; slot: number } | undefined
  for (const extent of used) {
    if (furthest !== undefined && extent.offset < furthest.end) {
      blameBoth(furthest.slot, extent.slot, `overlap at ${extent.offset}`)
    }
    if (furthest === undefined || extent.end > furthest.end) furthest = extent
  }
}

function problemOf(parsed: ParsedSlot | ParsedSuperblock): string {
  return 'problem' in parsed ? parsed.problem : 'is whole'
}

function damaged(what: string): CheckpointError {
  return new CheckpointError('POOL_DAMAGED', `This is not a pool, or it is damaged: ${what}. It was not touched.`, {
    help: 'Check the path. If it is a pool, restore it from a copy. To start with an empty pool, move it away and create one (pool create).',
  })
}

function incompatible(what: string): CheckpointError {
  return new CheckpointError('POOL_INCOMPATIBLE', `The pool ${what}. It was not touched.`, {
    help: 'Open it with the release that created it, or a newer one.',
  })
}

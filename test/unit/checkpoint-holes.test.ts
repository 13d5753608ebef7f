/**
 * Holes that crashes leave in the middle of a log, each one made on purpose: what was durable stays readable, whoever asks and
 * however many holes there are, and what a crash gave back is never taken for a part of the log.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { Ring } from '../../src/checkpoint/append/ring.js'
import { Deadline } from '../../src/checkpoint/deadline.js'
import {
  appendGeometry,
  cellBytes,
  entriesOffset,
  entryBytes,
  tipBytes,
  tipOffset,
} from '../../src/checkpoint/geometry.js'
import { type CheckpointLog, type CheckpointReader, openLog, openReader } from '../../src/checkpoint/index.js'
import { durableWithin } from '../../src/checkpoint/metadata/directory.js'
import { instanceBytes, isBridge, type RecordHeader } from '../../src/checkpoint/record/header.js'
import { MemoryRegion } from './memory-region.js'

const regionBytes = 256 * 1024
const geometry = appendGeometry(regionBytes)
const { segmentCells } = geometry
/** Counted before there were bridges. */
const readsOfHealthyLog = 13

function region(): MemoryRegion {
  return new MemoryRegion({ bytes: regionBytes })
}

/** A payload that with its header takes so many cells. */
function cells(count: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array((count - 1) * cellBytes).fill(count)
}

async function headers(memory: MemoryRegion): Promise<RecordHeader[]> {
  const ring = new Ring(memory.reader(), geometry, instanceBytes(memory.id))
  return ring.window(new Deadline()).scanAll()
}

async function headerOf(memory: MemoryRegion, sequence: bigint): Promise<RecordHeader> {
  const found = (await headers(memory)).filter((header) => header.sequence === sequence)
  expect(found).toHaveLength(1)
  return found[0] as RecordHeader
}

function bytesAt({ position, cells: count }: Pick<RecordHeader, 'position' | 'cells'>): [from: number, to: number] {
  const from = geometry.area.offset + (position % geometry.area.cells) * cellBytes
  return [from, from + count * cellBytes]
}

/** The unit goes and comes back: of what was visible it has lost these records, and nothing else. */
async function lose(memory: MemoryRegion, ...sequences: bigint[]): Promise<void> {
  const gone = await Promise.all(sequences.map((sequence) => headerOf(memory, sequence)))
  memory.medium.set(memory.visible)
  for (const header of gone) memory.medium.fill(0, ...bytesAt(header))
  memory.crash(0)
}

/** Until the log has written down where it ends. */
async function atRest(memory: MemoryRegion): Promise<void> {
  for (let writes = -1; writes !== memory.writes; await sleep(60)) writes = memory.writes
}

function visible(log: CheckpointLog<Uint8Array>, count: number) {
  return log.append(cells(count), { durability: 'visible' })
}

async function sequences(reader: Pick<CheckpointReader<Uint8Array>, 'all'>): Promise<number[]> {
  return (await reader.all()).map(({ sequence }) => Number(sequence))
}

/** By every way of reading. */
async function expectKept(memory: MemoryRegion, wanted: number[]): Promise<void> {
  const reader = openReader(memory.reader())
  expect(await sequences(reader)).toEqual(wanted)
  expect((await reader.list()).map((item) => ('sequence' in item ? Number(item.sequence) : item))).toEqual(wanted)
  expect((await reader.latest())?.sequence).toBe(BigInt(wanted.at(-1) as number))
  const unread: number[] = []
  for await (const { sequence } of reader.unread({ region: memory.id, epoch: 0n, sequence: 0n })) {
    unread.push(Number(sequence))
  }
  expect(unread).toEqual(wanted)
  for (const sequence of wanted) expect((await reader.at(BigInt(sequence))).sequence).toBe(BigInt(sequence))
  for (let sequence = 1; sequence < (wanted.at(-1) as number); sequence++) {
    if (wanted.includes(sequence)) continue
    await expect(reader.at(BigInt(sequence))).rejects.toMatchObject({ code: 'CHECKPOINT_NOT_FOUND' })
  }
  await using follow = reader.follow({ from: 'oldest' })
  for (const sequence of wanted) expect((await follow.next()).value?.sequence).toBe(BigInt(sequence))
}

/** Records 1 to 3 durable, then three visible ones of which a crash takes the middle one: only a tip names the last. */
async function withHole(memory: MemoryRegion): Promise<CheckpointLog<Uint8Array>> {
  const log = openLog(memory.owner())
  for (let count = 0; count < 3; count++) await log.append(cells(2))
  for (let count = 0; count < 3; count++) await visible(log, 2)
  await atRest(memory)
  await lose(memory, 5n)
  await expectKept(memory, [1, 2, 3, 4, 6])
  return log
}

test.each(['the same owner', 'the next owner'])(
  'what lies between two holes is kept when nothing names it any more (%s)',
  async (who) => {
    const memory = region()
    let log = await withHole(memory)
    if (who === 'the next owner') {
      memory.kill()
      log = openLog(memory.owner())
    }
    await log.append(cells(2))
    await visible(log, 2)
    await visible(log, 2)
    await atRest(memory)
    await lose(memory, 8n)
    const wanted = [1, 2, 3, 4, 6, 7, 9]
    await expectKept(memory, wanted)
    // Both tips are written over, and all of it lies in one segment.
    for (let count = 0; count < 3; count++) wanted.push(Number((await log.append(cells(2))).sequence))
    expect((await headers(memory)).every(({ position }) => position < segmentCells)).toBe(true)
    await expectKept(memory, wanted)
    expect((await headers(memory)).filter(isBridge).map(({ sequence }) => sequence)).toEqual([5n, 8n])
  },
)

test('a hole is closed once, and a bridge that a crash takes is written again', async () => {
  const memory = region()
  let log = await withHole(memory)
  const before = memory.visible.slice()
  memory.kill()
  log = openLog(memory.owner())
  await log.end()
  const [bridge, ...more] = (await headers(memory)).filter(isBridge)
  expect(more).toEqual([])
  expect(bridge).toMatchObject({ sequence: 5n, cells: 2, part: 0 })
  // It was durable before anything was appended.
  expect(memory.medium.subarray(...bytesAt(bridge as RecordHeader))).toEqual(
    memory.visible.subarray(...bytesAt(bridge as RecordHeader)),
  )
  memory.medium.set(before)
  memory.crash(0)
  memory.kill()
  log = openLog(memory.owner())
  await log.append(cells(2))
  const written = memory.visible.slice(...bytesAt(bridge as RecordHeader))
  memory.kill()
  log = openLog(memory.owner())
  await log.append(cells(2))
  expect(memory.visible.subarray(...bytesAt(bridge as RecordHeader))).toEqual(written)
  await expectKept(memory, [1, 2, 3, 4, 6, 7, 8])
})

test('the header of a lost record that a crash gives back hides nothing of what was written over it', async () => {
  const memory = region()
  let log = openLog(memory.owner())
  for (let count = 0; count < 3; count++) await log.append(cells(2))
  await visible(log, 12)
  const torn = await headerOf(memory, 4n)
  const [from, to] = bytesAt(torn)
  const header = memory.visible.slice(from, from + cellBytes)
  // The payload is gone, so 3 is the newest, and the log goes on in the place of 4.
  memory.kill()
  memory.medium.set(memory.visible)
  memory.medium.fill(0, from + cellBytes, to)
  memory.crash(0)
  log = openLog(memory.owner())
  await visible(log, 3)
  await visible(log, 2)
  await visible(log, 2)
  await atRest(memory)
  const first = await headerOf(memory, 5n)
  expect(first.position).toBe(torn.position)
  // The first of them goes, and the header that was there before comes back; it reaches over the others.
  memory.medium.set(memory.visible)
  memory.medium.fill(0, ...bytesAt(first))
  memory.medium.set(header, from)
  memory.crash(0)
  expect(await headerOf(memory, 4n)).toMatchObject({ cells: 12 })
  memory.kill()
  // The tip names the last one.
  await expectKept(memory, [1, 2, 3, 6, 7])
  log = openLog(memory.owner())
  const wanted = [1, 2, 3, 6, 7]
  for (let count = 0; count < 6; count++) wanted.push(Number((await log.append(cells(4))).sequence))
  await expectKept(memory, wanted)
})

test('of two copies of an entry, the one whose record is there is kept', async () => {
  const memory = region()
  let log = openLog(memory.owner())
  await log.append(cells(segmentCells - 2))
  const [copyA, copyB] = geometry.metadata.offsets.map((offset) => offset + entriesOffset + entryBytes) as [
    number,
    number,
  ]
  // Reaches into the second segment; the next one is the first to start there.
  await visible(log, 4)
  await visible(log, 2)
  const old = memory.visible.slice(copyA, copyA + entryBytes)
  memory.kill()
  await lose(memory, 2n, 3n)
  log = openLog(memory.owner())
  // Another first one, in another place.
  await visible(log, 10)
  const { sequence } = await visible(log, 2)
  expect((await headerOf(memory, sequence)).position).toBe(segmentCells + 8)
  await lose(memory, sequence - 1n)
  memory.visible.set(old, copyA)
  expect(memory.visible.subarray(copyB, copyB + entryBytes)).not.toEqual(old)
  memory.kill()
  await expectKept(memory, [1, Number(sequence)])
  log = openLog(memory.owner())
  const more = await log.append(cells(2))
  await expectKept(memory, [1, Number(sequence), Number(more.sequence)])
})

test('the entry of a segment of which the first record is gone names the first that is left', async () => {
  const memory = region()
  let log = openLog(memory.owner())
  await log.append(cells(segmentCells - 1))
  for (let count = 0; count < 4; count++) await visible(log, 2)
  await atRest(memory)
  await lose(memory, 2n, 3n)
  memory.kill()
  log = openLog(memory.owner())
  await log.append(cells(2))
  const first = await headerOf(memory, 4n)
  const view = new DataView(memory.visible.buffer)
  for (const copy of geometry.metadata.offsets) {
    expect(view.getBigUint64(copy + entriesOffset + entryBytes + 32, true)).toBe(BigInt(first.position))
  }
  await expectKept(memory, [1, 4, 5, 6])
})

test('a follower that waits in front of a hole goes on behind the bridge', async () => {
  const memory = region()
  const log = openLog(memory.owner())
  for (let count = 0; count < 3; count++) await log.append(cells(2))
  await using follow = openReader(memory.reader()).follow({ from: 'oldest' })
  for (let count = 0; count < 3; count++) await follow.next()
  const next = follow.next()
  for (let count = 0; count < 3; count++) await visible(log, 2)
  const seen = (await next).value?.sequence
  expect(seen).toBe(4n)
  await atRest(memory)
  await lose(memory, 5n)
  await log.append(cells(2))
  const behind: (bigint | undefined)[] = []
  while (behind.at(-1) !== 7n) behind.push((await follow.next()).value?.sequence)
  expect(behind).toEqual([6n, 7n])
})

test('a stream that lost a part in its middle is left out, and nothing else', async () => {
  const memory = new MemoryRegion({ bytes: 12 * 1024 * 1024 })
  const log = openLog(memory.owner())
  await log.append(cells(2))
  async function* chunks() {
    for (let count = 0; count < 10; count++) yield new Uint8Array(400_000).fill(count)
  }
  await log.appendStream(chunks(), { bytes: 4_000_000, durability: 'visible' })
  await log.append(cells(2), { durability: 'visible' })
  const own = appendGeometry(12 * 1024 * 1024)
  const scan = async () => {
    const ring = new Ring(memory.reader(), own, instanceBytes(memory.id))
    return ring.window(new Deadline()).scanAll()
  }
  const parts = (await scan()).filter(({ sequence }) => sequence === 2n)
  expect(parts.length).toBeGreaterThan(2)
  const middle = parts[1] as RecordHeader
  memory.medium.set(memory.visible)
  memory.medium.fill(
    0,
    own.area.offset + middle.position * cellBytes,
    own.area.offset + (middle.position + 1) * cellBytes,
  )
  memory.crash(0)
  await log.append(cells(2))
  expect((await scan()).filter(isBridge)).toMatchObject([{ sequence: 2n, part: 1, cells: middle.cells }])
  const reader = openReader(memory.reader())
  expect(await sequences(reader)).toEqual([1, 3, 4])
  await expect(reader.at(2n)).rejects.toMatchObject({ code: 'CHECKPOINT_NOT_FOUND' })
})

test('each number that is missing is judged: what was durable behind one that was not is named', async () => {
  const memory = region()
  const log = await withHole(memory)
  for (let count = 0; count < 4; count++) await log.append(cells(2))
  await atRest(memory)
  await expectKept(memory, [1, 2, 3, 4, 6, 7, 8, 9, 10])
  const bridge = (await headers(memory)).find(isBridge) as RecordHeader
  for (const header of [bridge, await headerOf(memory, 7n)]) memory.visible.fill(0, ...bytesAt(header))
  // 6 lies between two holes now, as one whose own record is damaged.
  memory.visible.fill(0, ...bytesAt(await headerOf(memory, 6n)))
  const damaged = { code: 'CHECKPOINT_DAMAGED', details: { from: 6n, to: 7n } }
  await expect(openReader(memory.reader()).all()).rejects.toMatchObject(damaged)
  await expect(openReader(memory.reader()).at(7n)).rejects.toMatchObject({ code: 'CHECKPOINT_DAMAGED' })
  expect(durableWithin(5n, 9n, [{ unbrokenFrom: 6n, durableSequence: 8n }])).toEqual({ from: 7n, to: 8n })
  expect(durableWithin(5n, 9n, [{ unbrokenFrom: 9n, durableSequence: 12n }])).toBeUndefined()
})

test('where what was durable is gone, no bridge hides it', async () => {
  const memory = region()
  const log = openLog(memory.owner())
  for (let count = 0; count < 5; count++) await log.append(cells(2))
  for (let count = 0; count < 3; count++) await visible(log, 2)
  await atRest(memory)
  await lose(memory, 4n, 7n)
  await log.append(cells(2))
  expect((await headers(memory)).filter(isBridge).map(({ sequence }) => sequence)).toEqual([7n])
  const damaged = { code: 'CHECKPOINT_DAMAGED', details: { from: 4n, to: 4n } }
  await expect(openReader(memory.reader()).all()).rejects.toMatchObject(damaged)
})

test('what an old tip names within a later record is no part of the log, when a crash gives both back', async () => {
  const memory = region()
  const tips = geometry.metadata.offsets.map((offset) => offset + tipOffset)
  const named = (at: number) => new DataView(memory.visible.buffer).getBigUint64(at + 8, true)
  let log = openLog(memory.owner())
  for (let count = 0; count < 3; count++) await log.append(cells(2))
  await visible(log, 6)
  await visible(log, 2)
  await atRest(memory)
  const old = await headerOf(memory, 5n)
  const oldTip = tips.find((at) => named(at) === 5n) as number
  const [record, tip] = [memory.visible.slice(...bytesAt(old)), memory.visible.slice(oldTip, oldTip + tipBytes)]
  memory.kill()
  await lose(memory, 4n, 5n)
  log = openLog(memory.owner())
  const { sequence: torn } = await visible(log, 12)
  const { sequence: newest } = await visible(log, 2)
  await atRest(memory)
  const over = await headerOf(memory, torn)
  expect(over.position).toBeLessThan(old.position)
  expect(over.position + over.cells).toBeGreaterThan(old.position + old.cells)
  memory.medium.set(memory.visible)
  memory.medium.set(record, bytesAt(old)[0])
  memory.medium.set(tip, tips.find((at) => named(at) !== newest) as number)
  memory.crash(0)
  memory.kill()
  expect(tips.map(named).sort()).toEqual([5n, newest])
  // list() does not look at payloads, and the header of the torn one is there.
  const reader = openReader(memory.reader())
  expect(await sequences(reader)).toEqual([1, 2, 3, Number(newest)])
  log = openLog(memory.owner())
  const { sequence } = await log.append(cells(2))
  expect(await sequences(reader)).toEqual([1, 2, 3, Number(newest), Number(sequence)])
})

test('an owner of a log in which nothing is missing reads no more than up to its newest record', async () => {
  const memory = new MemoryRegion({ bytes: 12 * 1024 * 1024 })
  let log = openLog(memory.owner())
  await log.append(cells(2))
  for (let count = 0; count < 3; count++) await log.append(new Uint8Array(300_000), { durability: 'visible' })
  memory.kill()
  log = openLog(memory.owner())
  memory.reads = 0
  await log.end()
  expect(memory.reads).toBeLessThanOrEqual(readsOfHealthyLog)
})

test('what only a search of all records found, behind a hole, is what the next owner goes on behind', async () => {
  const memory = region()
  let log = openLog(memory.owner())
  for (let count = 0; count < 3; count++) await visible(log, 2)
  memory.kill()
  const gone = await headerOf(memory, 2n)
  memory.medium.set(memory.visible)
  memory.medium.fill(0, ...bytesAt(gone))
  // Nothing names a record any more.
  for (const offset of geometry.metadata.offsets) {
    memory.medium.fill(0, offset + tipOffset, offset + geometry.metadata.bytes)
  }
  memory.crash(0)
  const reader = openReader(memory.reader())
  expect(await sequences(reader)).toEqual([1, 3])
  log = openLog(memory.owner())
  expect((await log.append(cells(2))).sequence).toBe(4n)
  await expectKept(memory, [1, 3, 4])
  expect((await headers(memory)).filter(isBridge).map(({ sequence }) => sequence)).toEqual([2n])
})

test('a stream that is sent while the unit comes back hides no hole in front of it', async () => {
  const memory = region()
  const owner = memory.owner()
  let crash = () => {}
  const log = openLog({
    ...owner,
    get rollbacks() {
      return memory.rollbacks
    },
    get unitStart() {
      return BigInt(memory.rollbacks + 1)
    },
    staging(bytes: number) {
      crash()
      return owner.staging(bytes)
    },
  })
  await log.append(cells(2))
  await visible(log, 2)
  const gone = bytesAt(await headerOf(memory, 2n))
  // An empty stream takes its memory when all is looked at, just before it is sent.
  crash = () => {
    crash = () => {}
    memory.medium.set(memory.visible)
    memory.medium.fill(0, ...gone)
    memory.crash(0)
  }
  async function* nothing(): AsyncGenerator<Uint8Array> {}
  expect((await log.appendStream(nothing(), { bytes: 0 })).sequence).toBe(3n)
  await log.append(cells(2))
  expect((await headers(memory)).filter(isBridge).map(({ sequence }) => sequence)).toEqual([2n])
  await expectKept(memory, [1, 3, 4])
})

test('a number that was given again is not looked for in what a crash left behind the newest', async () => {
  const memory = region()
  let log = openLog(memory.owner())
  for (let count = 0; count < 3; count++) await log.append(cells(2))
  await visible(log, 2)
  await visible(log, 3)
  await atRest(memory)
  await visible(log, 3)
  memory.kill()
  memory.medium.set(memory.visible)
  memory.medium.fill(0, ...bytesAt(await headerOf(memory, 4n)))
  for (const sequence of [5n, 6n]) {
    const [from, to] = bytesAt(await headerOf(memory, sequence))
    memory.medium.fill(0, from + cellBytes, to)
  }
  memory.crash(0)
  // The tip names 5, whose header is there, and 6 goes on behind it. Neither is whole.
  log = openLog(memory.owner())
  expect((await visible(log, 2)).sequence).toBe(6n)
  await expectKept(memory, [1, 2, 3, 6])
})

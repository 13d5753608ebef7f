/** Geometry, headers and directory: what a region's size gives, and that no damaged byte is ever believed. */
import { describe, expect, test } from 'vitest'
import {
  appendGeometry,
  cellBytes,
  cellsOf,
  overwriteGeometry,
  physicalRanges,
  recordHeaderBytes,
} from '../../src/checkpoint/geometry.js'
import { openLog, openReader } from '../../src/checkpoint/index.js'
import { orderAnchors, parseEntry, writeEntry } from '../../src/checkpoint/metadata/directory.js'
import { readLogHeader, writeLogHeader } from '../../src/checkpoint/metadata/log-header.js'
import {
  instanceBytes,
  lastPartFlag,
  parseRecordHeader,
  type RecordFields,
  type RecordHeader,
  recordKind,
  writeRecordHeader,
} from '../../src/checkpoint/record/header.js'
import { crc32c, MemoryRegion } from './memory-region.js'
import { Random, testSeed } from './random.js'

const kib = 1024
const id = '0f6a2c1e-8b1d-4a53-9d0e-1c2b3a495867'
const instance = instanceBytes(id)
const geometry = appendGeometry(64 * kib)

function fields(changes: Partial<RecordFields> = {}): RecordFields {
  return {
    kind: recordKind.full,
    flags: lastPartFlag,
    codec: 1,
    schema: 3,
    part: 0,
    previousCrc: 0x12345678,
    unbrokenFrom: 2n,
    epoch: 5n,
    sequence: 17n,
    baseSequence: 0n,
    offset: 0,
    timeMs: 1_790_000_000_000,
    payloadBytes: 1000,
    totalBytes: 1000,
    durableSequence: 16n,
    position: 99,
    payloadCrc: 0xdeadbeef,
    ...changes,
  }
}

function headerOf(changes: Partial<RecordFields> = {}): { bytes: Uint8Array; header: RecordHeader } {
  const bytes = new Uint8Array(recordHeaderBytes)
  const written = fields(changes)
  const headerCrc = writeRecordHeader(bytes, written, instance, crc32c)
  return { bytes, header: { ...written, cells: cellsOf(written.payloadBytes), headerCrc } }
}

describe('geometry', () => {
  test('every region from 32 KiB on is divided without overlap, and takes two of its largest checkpoints', () => {
    const seed = testSeed()
    console.log(`seed ${seed}`)
    const random = new Random(seed)
    const sizes = [32 * kib, 32 * kib + 1, 1024 ** 2, 1024 ** 3, 64 * 1024 ** 3, 2 ** 50]
    for (let count = 0; count < 2000; count++) sizes.push(32 * kib + Math.floor(2 ** (random.next() * 45)))
    for (const bytes of sizes) {
      const { area, metadata, segments, segmentCells, marks, markCells } = appendGeometry(bytes)
      expect(segments).toBeGreaterThanOrEqual(8)
      expect(segments).toBeLessThanOrEqual(252)
      expect(256 + (segments + marks) * 64).toBeLessThanOrEqual(metadata.bytes)
      expect(metadata.offsets[0] + metadata.bytes).toBe(area.offset)
      expect(metadata.offsets[1] % 4096).toBe(0)
      expect(metadata.offsets[1]).toBeGreaterThanOrEqual(area.offset + area.cells * cellBytes)
      expect(metadata.offsets[1] + metadata.bytes).toBeLessThanOrEqual(bytes)
      expect(area.offset % 4096).toBe(0)
      expect(area.cells).toBe(segments * segmentCells)
      expect(area.offset + area.cells * cellBytes).toBeLessThanOrEqual(bytes)
      expect(bytes - metadata.bytes - area.offset - area.cells * cellBytes).toBeLessThan(segments * cellBytes + 4096)
      expect(2 * area.maximumCells + segmentCells).toBeLessThanOrEqual(area.cells)
      expect(area.maximumCells).toBeGreaterThan(60)
      if (marks > 0) expect(marks * markCells).toBeGreaterThanOrEqual(segmentCells)
      const slots = overwriteGeometry(bytes)
      expect(slots.area.offset + slots.area.cells * cellBytes).toBeLessThanOrEqual(slots.metadata.offsets[1])
      expect(slots.metadata.offsets[1] + 4096).toBeLessThanOrEqual(bytes)
      expect((slots.slotCells * cellBytes) % 4096).toBe(0)
    }
    expect(() => appendGeometry(32 * kib - 1)).toThrow(expect.objectContaining({ code: 'REGION_TOO_SMALL' }))
    expect(() => overwriteGeometry(0)).toThrow(expect.objectContaining({ code: 'REGION_TOO_SMALL' }))
  })

  test('the smallest region is as the specification says', () => {
    expect(appendGeometry(32 * kib)).toEqual({
      mode: 'append',
      metadata: { offsets: [0, 28_672], bytes: 4096 },
      area: { offset: 4096, cells: 192, maximumCells: 84 },
      segments: 8,
      segmentCells: 24,
      marks: 0,
      markCells: 0,
    })
  })

  test('a range that wraps around the end is two', () => {
    const { area } = geometry
    expect(physicalRanges(area, area.cells - 1, 300)).toEqual([
      { offset: area.offset + (area.cells - 1) * cellBytes, length: 128 },
      { offset: area.offset, length: 172 },
    ])
    expect(physicalRanges(area, 3 * area.cells - 1, 44, 128)).toEqual([{ offset: area.offset, length: 44 }])
  })
})

describe('record header', () => {
  test('comes back as it was written', () => {
    const { bytes, header } = headerOf()
    expect(parseRecordHeader(bytes, 99, geometry.area, instance, crc32c)).toEqual(header)
    const part = { kind: recordKind.part, flags: 0, part: 4, offset: 4096, totalBytes: undefined }
    const stream = headerOf(part)
    expect(parseRecordHeader(stream.bytes, 99, geometry.area, instance, crc32c)).toEqual(stream.header)
  })

  test('has its fields where the specification says', () => {
    const { bytes, header } = headerOf()
    const view = new DataView(bytes.buffer)
    expect(Buffer.from(bytes.subarray(0, 4)).toString()).toBe('RCKR')
    expect([view.getUint8(4), view.getUint8(5), view.getUint16(6, true)]).toEqual([2, 1, 128])
    expect([view.getUint16(8, true), view.getUint16(10, true)]).toEqual([1, 1])
    expect([12, 16, 20].map((at) => view.getUint32(at, true))).toEqual([3, 0, 0x12345678])
    expect(Buffer.from(bytes.subarray(24, 40)).toString('hex')).toBe(id.replaceAll('-', ''))
    expect([40, 48, 56, 64, 72, 80, 88, 96, 104, 112].map((at) => view.getBigUint64(at, true))).toEqual([
      2n,
      5n,
      17n,
      0n,
      0n,
      1_790_000_000_000n,
      1000n,
      1000n,
      16n,
      99n,
    ])
    expect(view.getUint32(120, true)).toBe(0xdeadbeef)
    expect(view.getUint32(124, true)).toBe(header.headerCrc)
  })

  test('with any one bit changed is not believed', () => {
    const { bytes } = headerOf()
    for (let bit = 0; bit < 8 * recordHeaderBytes; bit++) {
      const changed = bytes.slice()
      changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7))
      expect(parseRecordHeader(changed, 99, geometry.area, instance, crc32c)).toBeUndefined()
    }
  })

  test('of another place, region or size is not believed, though its checksum holds', () => {
    const parse = (changes: Partial<RecordFields>, position = 99) =>
      parseRecordHeader(headerOf(changes).bytes, position, geometry.area, instance, crc32c)
    expect(parse({})).toBeDefined()
    expect(parse({}, 98)).toBeUndefined()
    expect(parse({}, 99 + geometry.area.cells)).toBeUndefined()
    const other = instanceBytes('0f6a2c1e-8b1d-4a53-9d0e-1c2b3a495868')
    expect(parseRecordHeader(headerOf().bytes, 99, geometry.area, other, crc32c)).toBeUndefined()
    const most = (geometry.area.maximumCells - 1) * cellBytes
    expect(parse({ payloadBytes: most, totalBytes: most })).toBeDefined()
    expect(parse({ payloadBytes: most + 1, totalBytes: most + 1 })).toBeUndefined()
    expect(parse({ payloadBytes: 2 ** 52, totalBytes: 2 ** 52 })).toBeUndefined()
    expect(parse({ totalBytes: 999 })).toBeUndefined()
    expect(parse({ totalBytes: 1001 })).toBeUndefined()
    expect(parse({ offset: 1 })).toBeUndefined()
    expect(parse({ part: 1 })).toBeUndefined()
    expect(parse({ sequence: 0n })).toBeUndefined()
    expect(parse({ flags: 0 })).toBeUndefined()
    // A bridge may be longer than the largest checkpoint, and not than the ring.
    const bridge = { kind: recordKind.bridge, part: 2, totalBytes: 0 }
    const longest = (geometry.area.cells - 1) * cellBytes
    expect(parse({ ...bridge, payloadBytes: longest })).toMatchObject({ cells: geometry.area.cells })
    expect(parse({ ...bridge, payloadBytes: longest + 1 })).toBeUndefined()
    expect(parse({ ...bridge, flags: 0 })).toBeUndefined()
    expect(parse({ ...bridge, sequence: 0n })).toBeUndefined()
  })

  test('of a later version is refused by code, a flag that may be ignored is', () => {
    const parse = (change: (bytes: Uint8Array) => void) => {
      const { bytes } = headerOf()
      change(bytes)
      new DataView(bytes.buffer).setUint32(124, crc32c(bytes.subarray(0, 124)), true)
      return parseRecordHeader(bytes, 99, geometry.area, instance, crc32c)
    }
    const set = (at: number, value: number) => (bytes: Uint8Array) => {
      bytes[at] = value
    }
    const refused = expect.objectContaining({ code: 'NOT_SUPPORTED' })
    expect(() => parse(set(4, 3))).toThrow(refused)
    expect(() => parse(set(5, 5))).toThrow(refused)
    expect(() => parse(set(6, 192))).toThrow(refused)
    expect(() => parse(set(8, 3))).toThrow(refused)
    expect(parse(set(9, 1))).toBeDefined()
  })
})

describe('directory', () => {
  const instanceCrc = crc32c(instance)

  test('an entry comes back, and with any one bit changed does not', () => {
    const { header } = headerOf()
    const bytes = new Uint8Array(64)
    const index = Math.floor(99 / geometry.segmentCells)
    writeEntry(bytes, header, 16n, instanceCrc, crc32c)
    const entry = parseEntry(bytes, index, geometry, instanceCrc, crc32c)
    expect(entry).toMatchObject({ index, sequence: 17n, epoch: 5n, part: 0, position: 99, previousSequence: 16n })
    expect(parseEntry(bytes, index + 1, geometry, instanceCrc, crc32c)).toBeUndefined()
    expect(parseEntry(bytes, index, geometry, instanceCrc ^ 1, crc32c)).toBeUndefined()
    for (let bit = 0; bit < 8 * 64; bit++) {
      const changed = bytes.slice()
      changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7))
      expect(parseEntry(changed, index, geometry, instanceCrc, crc32c)).toBeUndefined()
    }
  })

  test('what does not fit into one log is left out', () => {
    const entry = (sequence: bigint, position: number, epoch = 1n) => {
      return { sequence, epoch, part: 0, position, headerCrc: 0, durableSequence: 0n, unbrokenFrom: 0n }
    }
    const lap = geometry.area.cells
    const ordered = orderAnchors(
      [entry(5n, lap + 10), entry(6n, 40), entry(7n, lap + 20), entry(3n, 30), entry(2n, 10), entry(4n, lap + 90)],
      geometry,
    )
    expect(ordered.map(({ sequence }) => sequence)).toEqual([7n, 6n, 3n])
  })
})

describe('log header', () => {
  const written = (generation: bigint) => {
    const bytes = new Uint8Array(128)
    writeLogHeader(bytes, { generation, firstSequence: generation * 10n, position: 5 }, geometry, instance, crc32c)
    return bytes
  }
  const read = (a: Uint8Array, b: Uint8Array, writing = true) =>
    readLogHeader([a, b], geometry, instance, writing, crc32c).header
  const none = new Uint8Array(128)

  test('the newer whole copy counts, and none is generation 0', () => {
    expect(read(none, none)).toEqual({ generation: 0n, firstSequence: 1n, position: 0 })
    expect(read(none, written(1n)).generation).toBe(1n)
    expect(read(written(2n), written(1n)).generation).toBe(2n)
    expect(read(written(2n), written(3n))).toEqual({ generation: 3n, firstSequence: 30n, position: 5 })
  })

  test('a copy torn at any cut leaves the other', () => {
    for (let cut = 0; cut <= 128; cut++) {
      const torn = written(1n)
      torn.set(written(3n).subarray(0, cut))
      expect([2n, 3n]).toContain(read(written(2n), torn).generation)
      const first = none.slice()
      first.set(written(1n).subarray(0, cut))
      expect([0n, 1n]).toContain(read(none, first).generation)
    }
    const damaged = written(2n)
    damaged[33] = 1
    expect(() => read(damaged, damaged)).toThrow(expect.objectContaining({ code: 'CHECKPOINT_DAMAGED' }))
  })

  test('features of later versions are refused, to writers only where they say so', () => {
    const feature = (at: number) => {
      const bytes = written(1n)
      bytes[at] = 1
      new DataView(bytes.buffer).setUint32(124, crc32c(bytes.subarray(0, 124)), true)
      return bytes
    }
    const refused = expect.objectContaining({ code: 'NOT_SUPPORTED' })
    expect(read(none, feature(56)).generation).toBe(1n)
    expect(() => read(none, feature(64))).toThrow(refused)
    expect(read(none, feature(64), false).generation).toBe(1n)
    expect(() => read(none, feature(72), false)).toThrow(refused)
  })
})

test('the newest of very many is found in a few reads', async () => {
  const memory = new MemoryRegion({ bytes: 16 * 1024 * kib, strongest: 'visible' })
  const log = openLog(memory.owner())
  let worst = 0
  let count = 0
  for (let goal = 1000; count < 60_000; goal += 1237) {
    while (count < goal) await log.append(new Uint8Array((count++ * 7) % 600))
    const before = memory.reads
    expect((await openReader(memory.reader()).latest())?.sequence).toBe(BigInt(count))
    worst = Math.max(worst, memory.reads - before)
  }
  console.log(`at most ${worst} reads, with ${(await log.list()).length} kept of ${count}`)
  expect(worst).toBeLessThanOrEqual(5)
})

test('a large newest is found in a few reads, and read once', async () => {
  const memory = new MemoryRegion({ bytes: 64 * 1024 * kib, strongest: 'visible' })
  const log = openLog(memory.owner())
  for (let count = 0; count < 70; count++) await log.append(new Uint8Array(1_500_000))
  const { reads, readBytes } = memory
  expect((await openReader(memory.reader()).latest())?.bytes).toBe(1_500_000)
  expect(memory.reads - reads).toBeLessThanOrEqual(4)
  expect(memory.readBytes - readBytes).toBeLessThan(1_500_000 + 256 * kib)
})

test('bytes of no log, and of every damaged one, are survived', async () => {
  const seed = testSeed()
  console.log(`seed ${seed}`)
  const random = new Random(seed)
  for (let round = 0; round < 300; round++) {
    const mode = random.pick(['append', 'overwrite'] as const)
    const memory = new MemoryRegion({ bytes: 40 * kib, mode, random })
    const log = openLog(memory.owner())
    const values = new Set<string>()
    for (let count = random.below(30); count > 0; count--) {
      const bytes = random.bytes(random.length(3000))
      values.add(Buffer.from(bytes).toString('hex'))
      await log.append(bytes)
    }
    for (let changes = random.below(200); changes >= 0; changes--) {
      const at = random.chance(0.5) ? 12_288 + 128 * random.below(100) + random.below(128) : random.below(40 * kib)
      memory.visible[at] = random.below(256)
    }
    const reader = openReader(memory.reader())
    for (const call of [() => reader.latest(), () => reader.all(), () => reader.at(3n), () => reader.list()]) {
      try {
        const found = [await call()].flat()
        for (const item of found) {
          if (item !== undefined && 'value' in item) {
            expect(values.has(Buffer.from(item.value).toString('hex'))).toBe(true)
          }
        }
      } catch (error) {
        expect(error).toMatchObject({ code: expect.stringMatching(/^CHECKPOINT_/) })
      }
    }
  }
})

test('damage where nothing can have been overwritten is called so', async () => {
  const memory = new MemoryRegion({ bytes: 64 * kib })
  const log = openLog(memory.owner())
  for (let count = 0; count < 12; count++) await log.append(new Uint8Array(200).fill(count))
  const { area } = geometry
  memory.visible[area.offset + (10 * cellsOf(200) + 1) * cellBytes] = 99
  await expect(openReader(memory.reader()).at(11n)).rejects.toMatchObject({ code: 'CHECKPOINT_DAMAGED' })
  await expect(openReader(memory.reader()).all()).rejects.toMatchObject({ code: 'CHECKPOINT_DAMAGED' })
  expect((await openReader(memory.reader()).at(10n)).sequence).toBe(10n)
})

test('a durable record that a lost suffix may have overwritten is lapped, not damaged', async () => {
  const memory = new MemoryRegion({ bytes: 64 * kib })
  const log = openLog(memory.owner())
  const { area } = geometry
  const cells = cellsOf(1000)
  let sequence = 0
  for (; (sequence + 1) * cells <= area.cells; sequence++) await log.append(new Uint8Array(1000).fill(sequence))
  // Round the ring without making it durable, as far as the newest durable one lets it. Then all of that is gone, but for one block.
  const whole = memory.visible.slice()
  for (let count = 0; count < 20; count++) await log.append(new Uint8Array(1000), { durability: 'visible' })
  memory.visible.set(whole)
  memory.visible[area.offset + (4 * cells + 3) * cellBytes] = 99
  // What was reserved was durable.
  for (const offset of geometry.metadata.offsets) {
    memory.visible.set(memory.medium.subarray(offset, offset + 256), offset)
  }
  const reader = openReader(memory.reader())
  await expect(reader.at(5n)).rejects.toMatchObject({ code: 'CHECKPOINT_LAPPED' })
  const others = (await reader.all()).map(({ sequence }) => sequence)
  expect(others[0]).toBeGreaterThan(5n)
  expect(others).toEqual(others.map((_, index) => BigInt(sequence - others.length + 1 + index)))
  const unread: bigint[] = []
  const oldest = { region: memory.id, epoch: 0n, sequence: 0n }
  for await (const { sequence } of reader.unread(oldest)) unread.push(sequence)
  expect(unread).toEqual(others)
  const followed: bigint[] = []
  for await (const { sequence } of reader.follow({ from: 'oldest' })) {
    followed.push(sequence)
    if (sequence === others.at(-1)) break
  }
  expect(followed).toEqual(others)
  // Who has read up to there has missed something.
  const behind = reader.unread({ ...oldest, epoch: 1n, sequence: 3n })
  await expect(behind.next()).rejects.toMatchObject({ code: 'CHECKPOINT_LAPPED' })
})

import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { CheckpointError } from '../../src/errors.js'
import { crc32c } from '../../src/pool/crc32c.js'
import { planGeometry } from '../../src/pool/geometry.js'
import { Pool } from '../../src/pool/pool.js'
import { encodeSlot, newestCopy, parseSlot, type RegionRecord } from '../../src/pool/slot.js'
import { seal } from '../../src/pool/structure.js'
import { encodeSuperblock, parseSuperblock, type Superblock } from '../../src/pool/superblock.js'
import { PoolCatalogue } from '../../src/unit/catalogue.js'
import { CrashableMedium, random, region } from './pool-medium.js'

const poolBytes = 1 << 18
const maxRegions = 4

async function madePool(): Promise<{ medium: CrashableMedium; pool: Pool }> {
  const medium = new CrashableMedium(new Uint8Array(poolBytes))
  const pool = await Pool.format(medium, { medium: 'file', maxRegions })
  await pool.create(region('a'))
  await pool.create(region('b', 9000))
  return { medium, pool }
}

async function refusal(image: Uint8Array): Promise<CheckpointError> {
  const medium = new CrashableMedium(image)
  const before = createHash('sha256').update(medium.image).digest('hex')
  const error = await Pool.open(medium).then(
    () => expect.fail('the pool was opened'),
    (caught: unknown) => caught,
  )
  expect(createHash('sha256').update(medium.image).digest('hex')).toBe(before)
  expect(medium.events).toEqual([])
  expect(error).toBeInstanceOf(CheckpointError)
  return error as CheckpointError
}

/** Changes bytes of a structure and makes its checksum right again. */
function forge(image: Uint8Array, offset: number, change: (block: Buffer) => void): Uint8Array {
  const copy = Uint8Array.from(image)
  const block = Buffer.from(copy.buffer, offset, 4096)
  change(block)
  seal(block)
  return copy
}

const superblockB = poolBytes - 4096
const tableA = 4096
const tableB = tableA + Math.max(maxRegions * 4096, 64 * 1024)

describe('CRC32C', () => {
  it('gives the values of RFC 3720 B.4', () => {
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa)
    expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43)
    expect(crc32c(Uint8Array.from({ length: 32 }, (_, index) => index))).toBe(0x46dd794e)
    expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283)
  })
})

describe('an entry of the region table', () => {
  const pool = 'aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee'
  const record: RegionRecord = {
    ...region('größe/✓'),
    id: '01234567-89ab-4def-8123-456789abcdef',
    epoch: 2n ** 63n,
    owner: { identity: 'me@host:1', secretHash: new Uint8Array(32).fill(7), sinceMs: 1_700_000_000_000 },
    cursors: [{ name: 'backup', epoch: 3n, sequence: 2n ** 40n }],
    extents: Array.from({ length: 95 }, (_, index) => ({ offset: 1 << 20, length: 4096 * (index + 1) })),
    createdMs: 5,
    bytes: 4096 * 95 * 48,
  }

  it('reads back as it was written', () => {
    expect(parseSlot(encodeSlot(pool, 9, 4n, record), pool, 9)).toEqual({ state: 'used', writeNumber: 4n, record })
    expect(parseSlot(encodeSlot(pool, 9, 4n, undefined), pool, 9)).toEqual({ state: 'free', writeNumber: 4n })
    expect(parseSlot(new Uint8Array(4096), pool, 9)).toEqual({ state: 'empty', writeNumber: 0n })
  })

  it('is bad when it is of another pool, at another place, or short', () => {
    const block = encodeSlot(pool, 9, 4n, record)
    expect(parseSlot(block, pool.replace('a', 'b'), 9).state).toBe('bad')
    expect(parseSlot(block, pool, 8).state).toBe('bad')
    expect(parseSlot(block.subarray(1), pool, 9).state).toBe('bad')
  })

  it('with any one bit flipped is bad', () => {
    const block = encodeSlot(pool, 0, 1n, record)
    for (let byte = 0; byte < 4096; byte += 7) {
      block[byte]! ^= 1 << (byte % 8)
      expect(parseSlot(block, pool, 0).state, `byte ${byte}`).toBe('bad')
      block[byte]! ^= 1 << (byte % 8)
    }
  })

  it('of hostile bytes under a right checksum parses or is bad, and never throws', () => {
    const seed = Date.now()
    const next = random(seed)
    const states = new Set<string>()
    for (let round = 0; round < 3000; round++) {
      const block = encodeSlot(pool, 0, 1n, record)
      for (let changes = 0; changes < 4; changes++) block[40 + Math.floor(next() * 4052)] = Math.floor(next() * 256)
      states.add(parseSlot(seal(block), pool, 0).state)
    }
    expect(states, `seed ${seed}`).toEqual(new Set(['used', 'bad']))
  })

  it('counts in the newer of two copies, or in the whole one', () => {
    const old = parseSlot(encodeSlot(pool, 0, 1n, undefined), pool, 0)
    const young = parseSlot(encodeSlot(pool, 0, 2n, record), pool, 0)
    const bad = parseSlot(Buffer.alloc(4096, 1), pool, 0)
    expect(newestCopy(old, young)).toEqual({ slot: young, copy: 1 })
    expect(newestCopy(young, old)).toEqual({ slot: young, copy: 0 })
    expect(newestCopy(bad, old)).toEqual({ slot: old, copy: 1 })
    expect(newestCopy(bad, bad)).toBeUndefined()
  })
})

describe('a superblock', () => {
  const superblock: Superblock = {
    writeNumber: 7n,
    starts: 3n,
    id: 'aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee',
    features: { compatible: 5n, readOnlyCompatible: 0n, incompatible: 0n },
    medium: 'devdax',
    clean: true,
    createdMs: 12,
    writtenSlots: 64,
    geometry: planGeometry(1 << 30, 100, 2 << 20),
  }
  it('reads back as it was written', () => {
    expect(parseSuperblock(encodeSuperblock(superblock, 1), 1)).toEqual({ state: 'valid', superblock })
    expect(parseSuperblock(encodeSuperblock(superblock, 1), 0).state).toBe('bad')
    expect(parseSuperblock(encodeSuperblock({ ...superblock, writtenSlots: 101 }, 1), 1)).toMatchObject({
      state: 'bad',
      problem: 'says that 101 of 100 table entries were written',
    })
  })
  it('of hostile bytes under a right checksum parses or is refused, and never throws', () => {
    const next = random(1)
    for (let round = 0; round < 3000; round++) {
      const block = encodeSuperblock(superblock, 0)
      for (let changes = 0; changes < 3; changes++) block[16 + Math.floor(next() * 130)] = Math.floor(next() * 256)
      expect(['valid', 'bad', 'incompatible']).toContain(parseSuperblock(seal(block), 0).state)
    }
  })
})

describe('opening a pool', () => {
  it('finds its regions again, with one start more', async () => {
    const { medium, pool } = await madePool()
    const again = await Pool.open(new CrashableMedium(medium.image))
    expect([...again.records()]).toEqual([...pool.records()])
    expect(again.starts).toBe(pool.starts + 1n)
    expect(again.id).toBe(pool.id)
    expect(again.free).toBe(pool.free)
  })

  it('refuses a foreign file, and does not touch it', async () => {
    const error = await refusal(new Uint8Array(poolBytes).fill(0x55))
    expect(error.code).toBe('POOL_DAMAGED')
    expect(error.message).toMatch(/superblock A does not begin with "RDCPPOOL"/)
    expect((await refusal(new Uint8Array(100))).message).toMatch(/100 bytes/)
    expect((await refusal(new Uint8Array(poolBytes))).message).toMatch(
      /both superblocks are zeros. The pool was never created completely/,
    )
  })

  it('refuses a truncated pool', async () => {
    const { medium } = await madePool()
    const error = await refusal(medium.image.subarray(0, poolBytes - 4096))
    expect(error.code).toBe('POOL_DAMAGED')
    expect(error.message).toMatch(/262144 bytes, but the medium has 258048/)
  })

  it('sets a region apart whose entry is lost in both copies, serves the others, and lets nothing be made over it', async () => {
    const { medium } = await madePool()
    const image = Uint8Array.from(medium.image)
    image[tableA + 4096 + 300]! ^= 1
    image[tableB + 4096 + 301]! ^= 1
    const damaged = new CrashableMedium(image)
    const opened = await Pool.open(damaged)
    expect([...opened.records()].map(({ name }) => name)).toEqual(['a'])
    expect(opened.damaged).toMatchObject([{ slot: 1, because: expect.stringMatching(/^copy A has checksum/) }])
    await expect(opened.create(region('c'))).rejects.toMatchObject({
      code: 'POOL_DAMAGED',
      message: expect.stringMatching(/Entry 1 of the region table is lost/),
    })
    await opened.update('a', { epoch: 7n })
    const catalogue = new PoolCatalogue(opened)
    expect(catalogue.damageOf('b')).toMatchObject({ code: 'POOL_DAMAGED' })
    // What is lost stays as it is: it may still be told from by hand.
    for (const table of [tableA, tableB]) {
      expect(damaged.image.slice(table + 4096, table + 8192)).toEqual(image.slice(table + 4096, table + 8192))
    }
  })

  it('reads again what could not be read at once, and takes the other copy of what still cannot', async () => {
    const { medium, pool } = await madePool()
    const blocks = [0, superblockB, tableA, tableB, tableA + 4096, tableB + 4096]
    for (const bad of blocks) {
      const once = new CrashableMedium(medium.image)
      let failures = 1
      once.failReads = (offset, length) => bad >= offset && bad < offset + length && failures-- > 0
      expect([...(await Pool.open(once)).records()]).toEqual([...pool.records()])

      const always = new CrashableMedium(medium.image)
      always.failReads = (offset, length) => bad >= offset && bad < offset + length
      const mended: string[] = []
      const opened = await Pool.open(always, { mended: (what, because) => mended.push(`${what}: ${because}`) })
      expect([...opened.records()]).toEqual([...pool.records()])
      expect(mended).toEqual([
        expect.stringMatching(/(superblock|entry [01] of the region table): .*cannot be read: EIO/),
      ])
    }
    const both = new CrashableMedium(medium.image)
    both.failReads = (offset) => [0, superblockB].includes(offset)
    await expect(Pool.open(both)).rejects.toMatchObject({
      code: 'POOL_DAMAGED',
      message: /superblock B cannot be read/,
    })
    const table = new CrashableMedium(medium.image)
    table.failReads = (offset, length) => [tableA, tableB].some((at) => at >= offset && at < offset + length)
    const rest = await Pool.open(table)
    expect([...rest.records()].map(({ name }) => name)).toEqual(['b'])
    expect(rest.damaged).toMatchObject([{ slot: 0 }])
  })

  it('sets a region apart whose bytes cannot be read', async () => {
    const { medium } = await madePool()
    const opened = await Pool.open(medium)
    const [{ extents }] = [opened.get('b')!]
    let reads = 0
    medium.failReads = (offset) => offset === extents[0]!.offset && ++reads > 0
    expect(await opened.load(opened.get('a')!)).toBeUndefined()
    expect(await opened.load(opened.get('b')!)).toMatchObject({ because: 'it cannot be read: EIO' })
    expect(reads).toBe(2)
    expect([...opened.records()].map(({ name }) => name)).toEqual(['a'])
    expect(opened.damageOf('b')).toBeDefined()
    await expect(opened.create(region('b'))).rejects.toMatchObject({ code: 'REGION_DAMAGED' })
    // Its space is not given to another.
    const space = opened.free
    await expect(opened.create(region('c', space + 4096))).rejects.toMatchObject({ code: 'POOL_FULL' })
    const made = await opened.create(region('c', space))
    for (const { offset, length } of made.extents) {
      expect(offset + length <= extents[0]!.offset || offset >= extents[0]!.offset + extents[0]!.length).toBe(true)
    }
    medium.failReads = () => false
    expect((await Pool.open(new CrashableMedium(medium.image))).damaged).toEqual([])
  })

  it.each([
    ['0..', 'A', tableA],
    ['0..', 'B', tableB],
  ])('mends one bad copy %s%s from the other', async (_, __, offset) => {
    const { medium, pool } = await madePool()
    const image = Uint8Array.from(medium.image)
    image[offset + 300]! ^= 1
    const mended = new CrashableMedium(image)
    expect([...(await Pool.open(mended)).records()]).toEqual([...pool.records()])
    for (const at of [tableA, tableB])
      expect(parseSlot(mended.image.subarray(at, at + 4096), pool.id, 0).state).toBe('used')
  })

  it.each([0, superblockB])('goes on with one bad superblock and mends it (at %i)', async (offset) => {
    const { medium, pool } = await madePool()
    const image = Uint8Array.from(medium.image)
    image.fill(0, offset, offset + 4096)
    const mended = new CrashableMedium(image)
    expect((await Pool.open(mended)).id).toBe(pool.id)
    expect(parseSuperblock(mended.image.subarray(offset, offset + 4096), offset === 0 ? 0 : 1).state).toBe('valid')
  })

  it('refuses unknown incompatible features and later versions', async () => {
    const { medium } = await madePool()
    const features = await refusal(forge(medium.image, 0, (block) => block.writeBigUInt64LE(4n, 64)))
    expect(features.code).toBe('POOL_INCOMPATIBLE')
    expect(features.message).toMatch(/0x4/)
    const version = await refusal(forge(medium.image, superblockB, (block) => block.writeUInt32LE(4, 16)))
    expect(version.code).toBe('POOL_INCOMPATIBLE')
  })

  it('opens unknown read-only-compatible features for reading only', async () => {
    const { medium } = await madePool()
    const forged = [0, superblockB].reduce(
      (image, at) => forge(image, at, (block) => block.writeBigUInt64LE(2n, 56)),
      medium.image,
    )
    const readable = new CrashableMedium(forged)
    const pool = await Pool.open(readable)
    expect(pool.regions).toBe(2)
    expect(readable.events).toEqual([])
    await expect(pool.create(region('c'))).rejects.toMatchObject({ code: 'POOL_READ_ONLY' })
    await expect(pool.remove('a')).rejects.toMatchObject({ code: 'POOL_READ_ONLY' })
  })

  it('sets regions apart whose extents overlap, leave the pool or are not aligned, and whose names are taken twice', async () => {
    const { medium, pool } = await madePool()
    const [a, b] = ['a', 'b'].map((name) => pool.get(name)!)
    const forgeRecord = (record: RegionRecord) =>
      [tableA, tableB].reduce(
        (image, table, copy) =>
          forge(image, table + 4096, (block) => encodeSlot(pool.id, 1, 10n + BigInt(copy), record).copy(block)),
        medium.image,
      )
    const cases: [Partial<RegionRecord>, RegExp][] = [
      [
        { extents: [{ offset: a!.extents[0]!.offset + 4096, length: 12288 }] },
        /entries 0 and 1 of the region table overlap/,
      ],
      [{ extents: [{ offset: 4096, length: 12288 }] }, /outside the data area/],
      [{ extents: [{ offset: poolBytes - 4096, length: 12288 }] }, /outside the data area/],
      [{ extents: [{ offset: superblockB - 8192, length: 12288 }] }, /outside the data area/],
      [{ extents: [{ offset: b!.extents[0]!.offset + 1, length: 12288 }] }, /not aligned/],
      [{ bytes: 4000 }, /4000 bytes in extents of 12288/],
      [{ bytes: 12289 }, /12289 bytes in extents of 12288/],
      [{ name: 'a' }, /both have the name "a"/],
      [{ id: a!.id }, /both have the id/],
    ]
    for (const [change, message] of cases) {
      const opened = await Pool.open(new CrashableMedium(forgeRecord({ ...b!, ...change })))
      expect(opened.damaged.at(-1)?.because).toMatch(message)
      const apart = opened.damaged.map(({ record }) => record?.name)
      expect(apart).toContain(change.name ?? 'b')
      expect([...opened.records()].map(({ name }) => name)).toEqual(apart.includes('a') ? [] : ['a'])
      await expect(opened.create(region(change.name ?? 'b'))).rejects.toMatchObject({ code: 'REGION_DAMAGED' })
      // What is made beside them is in nobody's space.
      const made = await opened.create(region('c'))
      for (const { offset } of made.extents) {
        expect(a!.extents.some((extent) => offset >= extent.offset && offset < extent.offset + extent.length)).toBe(
          false,
        )
      }
    }
  })

  it('of hostile bytes in any structure, checksums right, is refused or consistent', async () => {
    const { medium } = await madePool()
    const seed = Date.now()
    const next = random(seed)
    let refused = 0
    for (let round = 0; round < 400; round++) {
      let image = medium.image
      for (const offset of [0, superblockB, tableA, tableB, tableA + 4096, tableB + 4096]) {
        image = forge(image, offset, (block) => {
          if (next() < 0.5)
            block[8 + Math.floor(next() * ([0, superblockB].includes(offset) ? 130 : 2700))] = Math.floor(next() * 256)
        })
      }
      try {
        const pool = await Pool.open(new CrashableMedium(image))
        for (const record of pool.records()) expect(record.name.length).toBeGreaterThan(0)
      } catch (error) {
        refused++
        expect(['POOL_DAMAGED', 'POOL_INCOMPATIBLE'], `seed ${seed}: ${error}`).toContain(
          (error as CheckpointError).code,
        )
      }
    }
    expect(refused).toBeGreaterThan(50)
  })
})

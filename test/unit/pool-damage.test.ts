/**
 * A pool of which bits, sectors or whole blocks of its own structures are damaged, in one copy or in both: it opens with every
 * region and says what it mended, or it says what is lost; and the bytes of its regions stay as they are.
 */
import { describe, expect, test } from 'vitest'
import { CheckpointError } from '../../src/errors.js'
import { Pool } from '../../src/pool/pool.js'
import { PoolCatalogue } from '../../src/unit/catalogue.js'
import { CrashableMedium, random, region } from './pool-medium.js'

const long = process.env.RC_LONG === '1'
const poolBytes = 1 << 18
const maxRegions = 4
const blockBytes = 4096
const apart = 64 * 1024
const superblocks = [0, poolBytes - blockBytes] as const
const tables = [blockBytes, blockBytes + apart] as const
const firstData = tables[1] + maxRegions * blockBytes
/** Copy A and copy B of the superblock, and of the entries: two with regions, one whose region was deleted, one never used. */
const structures: { what: string; copies: readonly [number, number]; region?: string }[] = [
  { what: 'superblock', copies: superblocks },
  ...['a', undefined, 'c', undefined].map((name, slot) => ({
    what: `entry ${slot}`,
    copies: [tables[0] + slot * blockBytes, tables[1] + slot * blockBytes] as const,
    ...(name === undefined ? {} : { region: name }),
  })),
]

async function madePool(): Promise<{ image: Uint8Array; pool: Pool }> {
  const medium = new CrashableMedium(new Uint8Array(poolBytes))
  const pool = await Pool.format(medium, { medium: 'file', maxRegions })
  for (const name of ['a', 'b', 'c']) await pool.create(region(name))
  await pool.update('a', { epoch: 3n })
  await pool.remove('b')
  const image = Uint8Array.from(medium.image)
  image.fill(0xa5, firstData, superblocks[1])
  return { image, pool }
}

interface Opened {
  readonly mended: readonly string[]
  readonly names: readonly string[]
  readonly lost: number
  readonly refused: CheckpointError | undefined
}

/** Opens a pool with that image, and again what the first opening left. */
async function open(image: Uint8Array, whole: Pool): Promise<Opened> {
  const medium = new CrashableMedium(image)
  const mended: string[] = []
  const pool = await Pool.open(medium, { mended: (what, because) => mended.push(`${what}: ${because}`) }).catch(
    (error: unknown) => error,
  )
  const data = (of: Uint8Array) => of.subarray(firstData, superblocks[1])
  expect(Buffer.compare(data(medium.image), data(image)), 'bytes of regions').toBe(0)
  if (!(pool instanceof Pool)) {
    expect(pool).toBeInstanceOf(CheckpointError)
    expect(Buffer.compare(medium.image, image), 'a refused pool is not touched').toBe(0)
    return { mended, names: [], lost: 0, refused: pool as CheckpointError }
  }
  expect([pool.id, pool.starts]).toEqual([whole.id, whole.starts + 1n])
  const records = [...pool.records()]
  for (const record of records) expect(record).toEqual(whole.get(record.name))
  if (pool.damaged.length === 0) {
    const again: string[] = []
    await Pool.open(new CrashableMedium(medium.image), { mended: (what) => again.push(what) })
    expect(again, 'mended for good').toEqual([])
  }
  return { mended, names: records.map(({ name }) => name), lost: pool.damaged.length, refused: undefined }
}

function flip(image: Uint8Array, offset: number, bit: number): Uint8Array {
  const copy = Uint8Array.from(image)
  copy[offset] = (copy[offset] as number) ^ (1 << bit)
  return copy
}

describe.each(structures)('$what', ({ what, copies, region: name }) => {
  test('with any one bit flipped in one copy is whole by the other, and that is told', async () => {
    const { image, pool } = await madePool()
    // The checksum covers all bytes alike: one bit of each byte of the fields, and of some others.
    let count = 0
    for (const copy of copies) {
      for (let at = 0; at < blockBytes; at++) {
        if (!long && at >= 144 && at < blockBytes - 4 && at % 32 !== 0) continue
        for (let bit = 0; bit < 8; bit++) {
          if (!long && bit !== at % 8) continue
          const { mended, names, lost, refused } = await open(flip(image, copy + at, bit), pool)
          expect({ at, bit, refused, lost, names }).toEqual({ at, bit, refused: undefined, lost: 0, names: ['a', 'c'] })
          expect(mended, `bit ${bit} of byte ${at}`).toEqual([expect.stringContaining(what)])
          count++
        }
      }
    }
    console.log(`${what}: ${count} bits in one copy: all mended and told`)
  }, 600_000)

  test('damaged in both copies is refused or set apart, by name or number', async () => {
    const { image, pool } = await madePool()
    const seed = Number(process.env.RC_SEED ?? Date.now() % 2 ** 31)
    const next = random(seed)
    const rounds = long ? 2000 : 60
    for (let round = 0; round < rounds; round++) {
      const damaged = copies.reduce(
        (bytes, copy) => flip(bytes, copy + Math.floor(next() * blockBytes), Math.floor(next() * 8)),
        image,
      )
      const { names, lost, refused } = await open(damaged, pool)
      if (what === 'superblock') {
        expect(refused, `seed ${seed}`).toMatchObject({ code: 'POOL_DAMAGED' })
      } else {
        expect({ refused, lost }, `seed ${seed}`).toEqual({ refused: undefined, lost: 1 })
        expect(names).toEqual(['a', 'c'].filter((other) => other !== name))
      }
    }
    console.log(`${what}: ${rounds} times a bit in both copies: all named`)
  })

  test('zeros in both copies, or in one where the other is damaged, are a loss and never free space', async () => {
    const { image, pool } = await madePool()
    const zeroed = (...offsets: number[]) => {
      const damaged = Uint8Array.from(image)
      for (const offset of offsets) damaged.fill(0, offset, offset + blockBytes)
      return damaged
    }
    const [a, b] = copies
    for (const damaged of [zeroed(a, b), flip(zeroed(a), b + 300, 0), flip(zeroed(b), a + 300, 0)]) {
      const { names, lost, refused } = await open(damaged, pool)
      if (what === 'superblock') {
        expect(refused).toMatchObject({ code: 'POOL_DAMAGED' })
        continue
      }
      expect({ refused, lost, names }).toEqual({
        refused: undefined,
        lost: 1,
        names: ['a', 'c'].filter((other) => other !== name),
      })
      const opened = await Pool.open(new CrashableMedium(damaged))
      expect(opened.damaged).toMatchObject([
        { slot: Number(what.slice(6)), because: expect.stringMatching(/copy [AB] is all zeros/) },
      ])
      await expect(opened.create(region('d'))).rejects.toMatchObject({ code: 'POOL_DAMAGED' })
      const catalogue = new PoolCatalogue(opened)
      expect(catalogue.damageOf('b')).toMatchObject({ code: 'POOL_DAMAGED' })
      const loss = catalogue.damageOf(name ?? 'b')
      expect(loss?.message).toMatch(/is lost \(copy A .*; copy B /)
    }
  })

  test.each([512, blockBytes])(
    'with %i bytes of one copy lost, or of another block, is whole by the other',
    async (bytes) => {
      const { image, pool } = await madePool()
      for (const copy of copies) {
        for (let from = copy; from < copy + blockBytes; from += bytes) {
          const others = [...superblocks, ...tables].map((other) => other + (from - copy))
          for (const content of [undefined, 0xff, ...others]) {
            // Its other copy in its place says the same.
            if (what !== 'superblock' && bytes === blockBytes && copies.includes(content ?? -1)) continue
            const damaged = Uint8Array.from(image)
            if (content === undefined || content === 0xff) damaged.fill(content ?? 0, from, from + bytes)
            else damaged.copyWithin(from, content, content + bytes)
            const same = Buffer.compare(damaged, image) === 0
            const { mended, names, lost, refused } = await open(damaged, pool)
            expect({ refused, lost, names }, `${from}`).toEqual({ refused: undefined, lost: 0, names: ['a', 'c'] })
            expect(mended.length > 0, `${from} is told`).toBe(!same)
          }
        }
      }
    },
  )

  test.each([0, 0xff])(
    'with one copy lost, and 64 KiB before or behind it (now %i), is whole by the other',
    async (content) => {
      const { image, pool } = await madePool()
      // What lies around copy B of the superblock is bytes of regions.
      const emptied = Uint8Array.from(image).fill(content, firstData, superblocks[1])
      for (const copy of copies) {
        const around = [
          [copy - apart + blockBytes, copy + blockBytes],
          [copy, copy + apart],
        ] as const
        for (const [from, to] of around) {
          const damaged = Uint8Array.from(emptied).fill(content, Math.max(0, from), Math.min(to, poolBytes))
          const { mended, names, lost, refused } = await open(damaged, pool)
          expect({ refused, lost, names }, `${from}`).toEqual({ refused: undefined, lost: 0, names: ['a', 'c'] })
          expect(mended).toContainEqual(expect.stringContaining(what))
        }
      }
    },
  )
})

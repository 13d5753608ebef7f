import { describe, expect, it } from 'vitest'
import { CheckpointError } from '../../src/errors.js'
import type { NativeMedium } from '../../src/native.js'
import { Pool } from '../../src/pool/pool.js'
import { encodeSlot, type RegionRecord } from '../../src/pool/slot.js'
import { holdsNothing } from '../../src/unit/open-medium.js'
import { CrashableMedium, random, region } from './pool-medium.js'

const poolBytes = 3 << 16
const maxRegions = 6

interface Step {
  name: string
  beganAt: number
  ackedAt: number
  after: RegionRecord | undefined
}

/** Runs changes, some at once, over a medium full of old bytes; notes between which events each happened. */
async function history(): Promise<{ initial: Uint8Array; medium: CrashableMedium; steps: Step[] }> {
  const initial = new Uint8Array(poolBytes).fill(0xee)
  const formatted = new CrashableMedium(initial)
  await Pool.format(formatted, { medium: 'file', maxRegions })
  const medium = new CrashableMedium(formatted.image)
  const pool = await Pool.open(medium)
  const steps: Step[] = []
  const step = async (name: string, change: () => Promise<unknown>) => {
    const beganAt = medium.events.length
    await change()
    steps.push({ name, beganAt, ackedAt: medium.events.length, after: pool.get(name) })
  }
  const create = (name: string, bytes: number) => step(name, () => pool.create(region(name, bytes)))
  const remove = (name: string) => step(name, () => pool.remove(name))
  await create('a', 5000)
  await Promise.all([create('b', 20_000), create('c', 1), step('a', () => pool.update('a', { epoch: 1n }))])
  for (const extent of pool.get('b')!.extents) {
    medium.write(extent.offset, new Uint8Array(extent.length).fill(0xdd))
    await medium.flush([extent.offset, extent.length])
  }
  const owner = { identity: 'x', secretHash: new Uint8Array(32), sinceMs: 1 }
  await Promise.all([remove('b'), step('a', () => pool.update('a', { epoch: 2n, owner }))])
  await Promise.all([create('d', 15_000), remove('c'), step('a', () => pool.update('a', { owner: null }))])
  await Promise.all([remove('a'), create('e', 4097), create('b', 9000)])
  return { initial: formatted.image, medium, steps }
}

/** What a name may be after a crash: its last acknowledged state, or that of the change under way. */
function allowed(steps: readonly Step[], name: string, events: number): (RegionRecord | undefined)[] {
  const states: (RegionRecord | undefined)[] = [undefined]
  for (const step of steps) {
    if (step.name !== name) continue
    if (step.ackedAt <= events) states.length = 0
    if (step.beganAt <= events) states.push(step.after)
  }
  return states
}

describe('a crash at any moment', () => {
  it('while a device is made a pool leaves a pool, or a device that can be made one', async () => {
    const blank = new Uint8Array(poolBytes)
    const medium = new CrashableMedium(blank)
    await Pool.format(medium, { medium: 'devdax', maxRegions })
    const left = { nothing: 0, pools: 0 }
    for (let events = 0; events <= medium.events.length; events++) {
      for (const landed of [() => false, () => true]) {
        const image = medium.crashImage(blank, events, landed)
        const read = (offset: number, length: number) => image.subarray(offset, offset + length)
        if (holdsNothing({ bytes: poolBytes, read } as NativeMedium)) left.nothing++
        else {
          expect([...(await Pool.open(new CrashableMedium(image))).records()]).toEqual([])
          left.pools++
        }
      }
    }
    expect(left.nothing).toBeGreaterThan(0)
    expect(left.pools).toBeGreaterThan(0)
  })

  it('leaves each change done or not done, and new regions zero', async () => {
    const { initial, medium, steps } = await history()
    const next = random(20261120)
    let images = 0
    for (let events = 0; events <= medium.events.length; events++) {
      const patterns: ((sector: number) => boolean)[] = [() => false, () => true]
      for (const cut of [1, 3, 7, 8, 9])
        patterns.push(
          (sector) => sector < cut,
          (sector) => sector >= cut,
        )
      for (let index = 0; index < 10; index++) patterns.push(() => next() < 0.5)
      for (const landed of patterns) {
        const image = medium.crashImage(initial, events, landed)
        const pool = await Pool.open(new CrashableMedium(image))
        images++
        for (const name of ['a', 'b', 'c', 'd', 'e']) {
          expect(allowed(steps, name, events), `${name} after ${events} events`).toContainEqual(pool.get(name))
        }
        for (const record of pool.records()) {
          if (record.name === 'b' && record.bytes === 20_000) continue
          for (const { offset, length } of record.extents) {
            const clean = Buffer.compare(image.subarray(offset, offset + length), new Uint8Array(length)) === 0
            expect(clean, `${record.name} is zero after ${events} events`).toBe(true)
          }
        }
      }
    }
    expect(images).toBeGreaterThan(500)
  })

  it('followed by another crash while the pool mends itself loses nothing', async () => {
    const { initial, medium, steps } = await history()
    const next = random(7)
    for (let events = 0; events <= medium.events.length; events += 3) {
      const image = medium.crashImage(initial, events, () => next() < 0.5)
      const mending = new CrashableMedium(image)
      const first = await Pool.open(mending)
      for (let again = 0; again <= mending.events.length; again++) {
        const pool = await Pool.open(new CrashableMedium(mending.crashImage(image, again, () => next() < 0.5)))
        expect([...pool.records()]).toEqual([...first.records()])
        for (const name of ['a', 'b', 'c', 'd', 'e'])
          expect(allowed(steps, name, events)).toContainEqual(pool.get(name))
      }
    }
  })
})

describe('a table that fills up', () => {
  const slots = 70
  const bytes = 1 << 20
  it('is written on, 64 entries at a time, and a crash meanwhile loses nothing and leaves nothing lost', async () => {
    const medium = new CrashableMedium(new Uint8Array(bytes).fill(0xee))
    const pool = await Pool.format(medium, { medium: 'file', maxRegions: slots })
    for (let index = 0; index < 64; index++) await pool.create(region(`r${index}`, 1))
    const initial = Uint8Array.from(medium.image)
    const began = medium.events.length
    await Promise.all([pool.create(region('x', 1)), pool.create(region('y', 1)), pool.update('r0', { epoch: 1n })])
    const next = random(20261130)
    let images = 0
    const tail = new CrashableMedium(initial)
    tail.events.push(...medium.events.slice(began))
    for (let events = 0; events <= tail.events.length; events++) {
      const patterns: ((sector: number) => boolean)[] = [() => false, () => true]
      for (let index = 0; index < 6; index++) patterns.push(() => next() < 0.5)
      for (const landed of patterns) {
        const opened = await Pool.open(new CrashableMedium(tail.crashImage(initial, events, landed)))
        images++
        expect(opened.damaged).toEqual([])
        for (let index = 0; index < 64; index++) expect(opened.get(`r${index}`)).toBeDefined()
        for (let index = opened.regions; index < slots; index++) await opened.create(region(`more-${index}`, 1))
        await expect(opened.create(region('one too many', 1))).rejects.toMatchObject({ code: 'POOL_FULL' })
      }
    }
    console.log(`${images} crashes while entries were written: nothing lost`)
    expect(tail.events.length).toBeGreaterThan(8)
    expect(pool.regions).toBe(66)
  })

  it('says that nothing was made when it cannot be written on', async () => {
    const medium = new CrashableMedium(new Uint8Array(bytes))
    const pool = await Pool.format(medium, { medium: 'file', maxRegions: slots })
    for (let index = 0; index < 64; index++) await pool.create(region(`r${index}`, 1))
    const { free } = pool
    medium.failFlush = { after: 0, failure: new CheckpointError('MEDIUM_FAILED', 'a test') }
    await expect(pool.create(region('x', 1))).rejects.toMatchObject({ code: 'MEDIUM_FAILED', outcome: 'none' })
    expect([pool.free, pool.regions]).toEqual([free, 64])
  })

  it('names a region in an entry that was never used, and gives its space to nobody', async () => {
    const medium = new CrashableMedium(new Uint8Array(bytes))
    const pool = await Pool.format(medium, { medium: 'file', maxRegions: slots })
    const made = await pool.create(region('r', 9000))
    const [tableA] = pool.geometry.tableOffsets
    encodeSlot(pool.id, 66, 7n, { ...made, name: 'stray' }).copy(medium.image, tableA + 66 * 4096)
    medium.image.fill(0, tableA, tableA + 4096)
    medium.image.fill(0, pool.geometry.tableOffsets[1], pool.geometry.tableOffsets[1] + 4096)
    const opened = await Pool.open(new CrashableMedium(medium.image))
    expect(opened.damaged).toMatchObject([
      { slot: 0 },
      { slot: 66, record: { name: 'stray' }, because: expect.stringMatching(/never used/) },
    ])
    expect(opened.free).toBe(pool.free)
  })
})

describe('an answered change', () => {
  it('is told by either copy alone', async () => {
    const medium = new CrashableMedium(new Uint8Array(poolBytes))
    const pool = await Pool.format(medium, { medium: 'file', maxRegions })
    await pool.create(region('a'))
    await pool.update('a', { epoch: 9n })
    for (const table of pool.geometry.tableOffsets) {
      const image = Uint8Array.from(medium.image)
      image.fill(0xff, table, table + 4096)
      expect((await Pool.open(new CrashableMedium(image))).get('a')?.epoch).toBe(9n)
    }
  })

  it('shares its syncs with those made at the same time', async () => {
    const medium = new CrashableMedium(new Uint8Array(1 << 22))
    const pool = await Pool.format(medium, { medium: 'file', maxRegions: 200 })
    const before = medium.flushCalls
    await Promise.all(Array.from({ length: 200 }, (_, index) => pool.create(region(`r${index}`))))
    expect(medium.flushCalls - before).toBeLessThan(20)
    expect(pool.regions).toBe(200)
  })
})

describe('a pool', () => {
  it('gives space and table entries back, and says which of them is missing', async () => {
    const medium = new CrashableMedium(new Uint8Array(poolBytes))
    const pool = await Pool.format(medium, { medium: 'file', maxRegions: 2 })
    const free = pool.free
    await expect(pool.create(region('huge', free + 1))).rejects.toMatchObject({ code: 'POOL_FULL' })
    const first = await pool.create(region('a', free - 4096))
    await pool.create(region('b', 1))
    expect(pool.free).toBe(0)
    await expect(pool.create(region('c', 1))).rejects.toMatchObject({ code: 'POOL_FULL' })
    await pool.remove('b')
    await pool.create(region('c', 1))
    await expect(pool.create(region('a', 1))).rejects.toMatchObject({ code: 'REGION_EXISTS' })
    await pool.remove('a')
    await pool.remove('c')
    expect(pool.free).toBe(free)
    expect((await pool.create(region('a', free))).id).not.toBe(first.id)
    await expect(pool.remove('b')).rejects.toMatchObject({ code: 'REGION_NOT_FOUND' })
  })

  it('refuses what does not fit an entry, and stays writable', async () => {
    const pool = await Pool.format(new CrashableMedium(new Uint8Array(poolBytes)), { medium: 'file', maxRegions })
    const free = pool.free
    await expect(pool.create(region('x'.repeat(256)))).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    expect(pool.free).toBe(free)
    await pool.create(region('ä'.repeat(127)))
  })

  it('changes nothing more once its medium has failed', async () => {
    const medium = new CrashableMedium(new Uint8Array(poolBytes))
    const pool = await Pool.format(medium, { medium: 'file', maxRegions })
    await pool.create(region('a'))
    const [tableA] = pool.geometry.tableOffsets
    const table = medium.read(tableA, 4096)
    medium.failFlushes = true
    await expect(pool.update('a', { epoch: 1n })).rejects.toThrow('the medium failed')
    medium.failFlushes = false
    expect(pool.get('a')?.epoch).toBe(0n)
    expect(medium.read(tableA, 4096)).toEqual(table)
    await expect(pool.create(region('b'))).rejects.toMatchObject({ code: 'POOL_READ_ONLY' })
    expect(pool.readOnly).toMatch(/the medium failed/)
  })

  it('says of a change whose write failed that it may be found by the next start, and of others that nothing was changed', async () => {
    const outcomes: string[] = []
    for (const failing of ['zero', 1, 2] as const) {
      for (const change of ['create', 'update', 'remove'] as const) {
        const medium = new CrashableMedium(new Uint8Array(poolBytes))
        const pool = await Pool.format(medium, { medium: 'file', maxRegions })
        await pool.create(region('a'))
        const failure = new CheckpointError('MEDIUM_FAILED', 'a test')
        if (failing === 'zero') medium.zero = () => Promise.reject(failure)
        else medium.failFlush = { after: failing - 1, failure }
        const made = {
          create: () => pool.create(region('b')),
          update: () => pool.update('a', { epoch: 1n }),
          remove: () => pool.remove('a'),
        }[change]()
        const error = await made.then(
          () => undefined,
          (thrown: CheckpointError) => thrown,
        )
        outcomes.push(`${change} ${failing}: ${error?.code} ${error?.outcome}`)
      }
    }
    expect(outcomes).toEqual([
      'create zero: MEDIUM_FAILED none',
      'update zero: undefined undefined',
      'remove zero: undefined undefined',
      ...[1, 2].flatMap((n) => ['create', 'update', 'remove'].map((change) => `${change} ${n}: MEDIUM_FAILED unknown`)),
    ])
  })

  it('keeps 10,000 regions: made, found again, deleted, with the space back', async () => {
    const medium = new CrashableMedium(new Uint8Array(10_000 * (4096 * 3) + (1 << 20)), false)
    const started = performance.now()
    const pool = await Pool.format(medium, { medium: 'memory', maxRegions: 10_000 })
    const free = pool.free
    for (let index = 0; index < 10_000; index++) await pool.create(region(`region-${index}`, 100))
    for (let index = 0; index < 10_000; index += 2) await pool.remove(`region-${index}`)
    for (let index = 0; index < 10_000; index += 2) await pool.create(region(`again-${index}`, 100))
    expect(pool.regions).toBe(10_000)
    for (const record of [...pool.records()]) await pool.remove(record.name)
    expect([pool.free, pool.regions]).toEqual([free, 0])
    expect(performance.now() - started).toBeLessThan(30_000)
  })
})

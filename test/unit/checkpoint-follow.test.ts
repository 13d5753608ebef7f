/** Following a log: every checkpoint once, in order, whatever becomes of its writers and its unit; at little cost while idle. */
import { setImmediate, setTimeout } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { type CheckpointLog, type Follow, openLog, openReader } from '../../src/checkpoint/index.js'
import { compareOrder } from '../../src/checkpoint/record/order.js'
import { CheckpointError } from '../../src/errors.js'
import { MemoryRegion, type MemoryRegionOptions } from './memory-region.js'
import { Random, testSeed } from './random.js'

const kib = 1024

function region(options: Partial<MemoryRegionOptions> = {}): MemoryRegion {
  return new MemoryRegion({ bytes: 64 * kib, ...options })
}

async function take<T>(follow: Follow<T>, count: number): Promise<T[]> {
  const values: T[] = []
  for (; values.length < count; ) {
    const { value } = await follow.next()
    if (value === undefined) break
    values.push(value.value)
  }
  return values
}

/** What the follower has still to give when nothing is being written any more. */
async function drain<T>(follow: Follow<T>, until: bigint): Promise<void> {
  while (follow.cursor.sequence < until) await follow.next()
}

async function failure(call: Promise<unknown>): Promise<CheckpointError> {
  const error = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  if (error instanceof CheckpointError) return error
  throw error ?? new Error('did not fail')
}

function number(value: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.of(value)
}

describe.each(['append', 'overwrite'] as const)('%s', (mode) => {
  test('what is appended comes, also to a follower of an empty log', async () => {
    const memory = region({ mode })
    const log = openLog(memory.owner())
    await using follow = openReader(memory.reader()).follow()
    for (let round = 1; round < 20; round++) {
      const next = follow.next()
      if (round % 5 === 0) await setTimeout(30)
      const { sequence } = await log.append(number(round))
      expect((await next).value).toMatchObject({ sequence, epoch: 1n, value: number(round) })
      expect(follow.cursor).toEqual({ region: memory.id, epoch: 1n, sequence })
    }
  })

  test('an abort ends it with a code, return and disposal without, also while it waits', async () => {
    const memory = region({ mode })
    const log = openLog(memory.owner())
    await log.append(number(1))
    const reader = openReader(memory.reader())
    const controller = new AbortController()
    const aborted = reader.follow({ signal: controller.signal })
    expect(await take(aborted, 1)).toEqual([number(1)])
    const waiting = failure(aborted.next())
    await setTimeout(40)
    controller.abort()
    expect((await waiting).code).toBe('ABORTED')
    expect(await aborted.next()).toEqual({ done: true, value: undefined })
    expect((await failure(reader.follow({ signal: AbortSignal.abort() }).next())).code).toBe('ABORTED')

    const returned = reader.follow()
    await take(returned, 1)
    const pending = returned.next()
    await setTimeout(40)
    await returned.return()
    expect(await pending).toEqual({ done: true, value: undefined })
    await returned[Symbol.asyncDispose]()
    const { reads } = memory
    await setTimeout(60)
    expect(memory.reads).toBe(reads)
    for await (const { value } of reader.follow()) {
      expect(value).toEqual(number(1))
      break
    }
  })

  test('an idle follower makes few small reads, and no control call', async () => {
    const memory = region({ mode, bytes: 8 * 1024 * kib })
    const log = openLog(memory.owner())
    for (let round = 0; round < 20; round++) await log.append(new Uint8Array(100_000))
    await using follow = openReader(memory.reader()).follow()
    await follow.next()
    const next = follow.next()
    await setTimeout(150)
    const { reads, readBytes } = memory
    await setTimeout(500)
    // At most every 25 ms once it has slowed down; a look at the directory may fall into the time.
    expect(memory.reads - reads).toBeLessThanOrEqual(20 + 8)
    expect(memory.readBytes - readBytes).toBeLessThan(20 * 1024 + 2 * 90 * kib)
    expect(memory.reads - reads).toBeGreaterThan(0)
    expect(memory.metadataCalls).toBe(0)
    await log.append(number(1))
    expect((await next).value?.bytes).toBe(1)
  })

  test('a clear takes out what the follower has not seen, and the log goes on', async () => {
    const memory = region({ mode })
    const log = openLog(memory.owner())
    await log.append(number(1))
    await using follow = openReader(memory.reader()).follow()
    await take(follow, 1)
    for (let round = 0; round < 5; round++) {
      await log.append(number(2))
      await log.append(number(3))
      await log.clear()
      const next = follow.next()
      await setTimeout(20)
      await log.append(number(10 + round))
      expect((await next).value?.value).toEqual(number(10 + round))
    }
    await log.clear()
    await using other = openReader(memory.reader()).follow({ from: 'oldest' })
    const next = other.next()
    await setTimeout(20)
    await log.append(number(9))
    expect((await next).value?.value).toEqual(number(9))
  })

  test('a new owner is followed, and one that overwrites what a crash took', async () => {
    const memory = region({ mode })
    const first = openLog(memory.owner())
    await first.append(number(1))
    await using follow = openReader(memory.reader()).follow()
    await take(follow, 1)
    await first.append(number(2), { durability: 'visible' })
    expect(await take(follow, 1)).toEqual([number(2)])
    const lost = follow.cursor
    memory.kill()
    memory.crash(0)
    const next = follow.next()
    await setTimeout(30)
    const second = openLog(memory.owner())
    const { sequence } = await second.append(number(3))
    expect((await next).value).toMatchObject({ epoch: 2n, sequence, value: number(3) })
    expect(compareOrder(follow.cursor, lost)).toBeGreaterThan(0)
    await second.append(number(4))
    expect(await take(follow, 1)).toEqual([number(4)])
  })

  test('a record that is torn for good holds nobody up', async () => {
    const memory = region({ mode, pieceBytes: 64 })
    const first = openLog(memory.owner())
    await first.append(number(1))
    await using follow = openReader(memory.reader()).follow()
    await take(follow, 1)
    void first.append(new Uint8Array(3000).fill(7))
    for (let turn = 0; turn < 20; turn++) await undefined
    memory.kill()
    const next = follow.next()
    await setTimeout(30)
    await openLog(memory.owner()).append(number(2))
    expect((await next).value?.value).toEqual(number(2))
  })
})

test('from the oldest, the latest, a cursor and a saved one', async () => {
  const memory = region()
  const log = openLog(memory.owner())
  for (let round = 1; round <= 5; round++) await log.append(number(round))
  const reader = openReader(memory.reader())
  await using oldest = reader.follow({ from: 'oldest' })
  expect(await take(oldest, 3)).toEqual([number(1), number(2), number(3)])
  await oldest.save('backup')
  await using saved = reader.follow({ from: 'backup' })
  expect(await take(saved, 2)).toEqual([number(4), number(5)])
  await using behind = reader.follow({ from: oldest.cursor })
  expect(await take(behind, 1)).toEqual([number(4)])
  await using latest = reader.follow({ from: 'latest' })
  expect(await take(latest, 1)).toEqual([number(5)])
  expect((await failure(reader.follow({ from: 'nobody' }).next())).code).toBe('CURSOR_INVALID')
  const other = { ...oldest.cursor, region: '00000000-0000-0000-0000-000000000000' }
  expect(() => reader.follow({ from: other })).toThrow(CheckpointError)
})

test('the lag counts what is there and was not returned', async () => {
  const memory = region()
  const log = openLog(memory.owner())
  for (let round = 1; round <= 5; round++) await log.append(new Uint8Array(128))
  await using follow = openReader(memory.reader()).follow({ from: 'oldest' })
  expect(follow.lag).toEqual({ records: 0n, bytes: 0n, ms: 0 })
  await take(follow, 2)
  expect(follow.lag).toMatchObject({ records: 3n, bytes: 3n * 256n })
  await take(follow, 3)
  expect(follow.lag).toEqual({ records: 0n, bytes: 0n, ms: 0 })
})

test('a follower that the writer lapped is told so, and goes on from the oldest', async () => {
  const memory = region({ bytes: 32 * kib })
  const log = openLog(memory.owner())
  await log.append(number(1))
  await using follow = openReader(memory.reader()).follow()
  await take(follow, 1)
  for (let round = 0; round < 300; round++) await log.append(new Uint8Array(300))
  const error = await failure(follow.next())
  expect(error.code).toBe('CHECKPOINT_LAPPED')
  expect(error.details).toMatchObject({ newest: 301n })
  const oldest = error.details?.oldest as bigint
  await using again = openReader(memory.reader()).follow({ from: 'oldest' })
  expect((await again.next()).value?.sequence).toBe(oldest)
  await drain(again, 301n)
})

test('what a later owner wrote under numbers used before, and has dropped, is not skipped in silence', async () => {
  const memory = region({ bytes: 32 * kib, blockBytes: 64 })
  const first = openLog(memory.owner())
  await first.append(number(1))
  await using follow = openReader(memory.reader()).follow()
  await take(follow, 1)
  for (let round = 0; round < 40; round++) await first.append(number(2), { durability: 'visible' })
  await take(follow, 40)
  memory.kill()
  memory.crash(0)
  // 30 of the 40 numbers come again, with larger records, which drop the first of themselves.
  const second = openLog(memory.owner())
  for (let round = 0; round < 30; round++) await second.append(new Uint8Array(1500))
  expect((await failure(follow.next())).code).toBe('CHECKPOINT_LAPPED')
})

test('a hole that a crash left is passed when the log goes on behind it', async () => {
  const memory = region({ bytes: 32 * kib })
  const log = openLog(memory.owner())
  await log.append(number(1))
  await using follow = openReader(memory.reader()).follow()
  await take(follow, 1)
  const next = follow.next()
  const before = memory.visible.slice()
  await log.append(new Uint8Array(4000), { durability: 'visible' })
  // Nobody sees the second record; the third is in another segment.
  const changed = memory.visible.slice()
  await log.append(new Uint8Array(4000), { durability: 'visible' })
  for (let at = 4096; at < changed.length - 4096; at++) {
    if (changed[at] !== before[at]) memory.visible[at] = before[at] as number
  }
  const { value } = await next
  // Its poll may have come before the hole.
  expect([2n, 3n]).toContain(value?.sequence)
  if (value?.sequence === 2n) expect((await follow.next()).value?.sequence).toBe(3n)
})

test('streams are followed as wholes, given up ones never', async () => {
  const memory = region({ bytes: 16 * 1024 * kib, pieceBytes: 100_000 })
  const log = openLog(memory.owner())
  await log.append(number(1))
  await using follow = openReader(memory.reader()).follow()
  await take(follow, 1)
  async function* chunks(value: number, ends: boolean) {
    for (let count = 0; count < 30; count++) {
      await setImmediate()
      yield new Uint8Array(100_000).fill(value)
    }
    if (!ends) throw new Error('source failed')
  }
  const next = follow.next()
  await expect(log.appendStream(chunks(2, false), { bytes: 4_000_000 })).rejects.toThrow('source failed')
  await log.appendStream(chunks(3, true), { bytes: 3_000_000 })
  const whole = (await next).value
  expect(whole?.bytes).toBe(3_000_000)
  expect(whole?.value.every((byte) => byte === 3)).toBe(true)
})

/** A follower beside everything that can happen; it keeps what it was given. */
class Witness {
  readonly memory: MemoryRegion
  readonly random: Random
  lapped = 0
  #given: { epoch: bigint; sequence: bigint; value: Uint8Array }[] = []
  #follow: Follow<Uint8Array>
  #stopped = false
  readonly done: Promise<void>

  constructor(memory: MemoryRegion, random: Random) {
    this.memory = memory
    this.random = random
    this.#follow = openReader(memory.reader()).follow({ from: 'oldest' })
    this.done = this.#watch()
    this.done.catch(() => undefined)
  }

  async #watch(): Promise<void> {
    while (!this.#stopped) {
      try {
        for await (const checkpoint of this.#follow) {
          const { epoch, sequence, value } = checkpoint
          const last = this.#given.at(-1)
          if (last !== undefined) expect(compareOrder(checkpoint, last), 'out of order or twice').toBeGreaterThan(0)
          expect(value.length).toBeGreaterThanOrEqual(5)
          const id = new DataView(value.buffer, value.byteOffset).getUint32(0)
          expect(
            value.subarray(4).every((byte) => byte === (id & 0xff)),
            'mixed',
          ).toBe(true)
          this.#given.push({ epoch, sequence, value })
          expect(this.#follow.cursor).toMatchObject({ epoch, sequence })
          if (this.random.chance(0.02)) await setTimeout(this.random.below(this.random.pick([4, 60])))
        }
      } catch (error) {
        if (!(error instanceof CheckpointError) || error.code !== 'CHECKPOINT_LAPPED') throw error
        this.lapped++
        this.#given = []
        this.#follow = openReader(this.memory.reader()).follow({ from: 'oldest' })
      }
    }
  }

  /** Nothing is being written: everything that the log keeps behind where it began was given. */
  async settle(): Promise<void> {
    const all = await openReader(this.memory.reader()).all()
    const newest = all.at(-1)
    const end = performance.now() + 20_000
    const reached = () => newest === undefined || compareOrder(this.#follow.cursor, newest) >= 0
    while (!reached() && performance.now() < end) await Promise.race([setTimeout(2), this.done])
    expect(reached(), `stands at ${this.#follow.cursor.sequence}, newest is ${newest?.sequence}`).toBe(true)
    const begin = this.#given[0]
    const given = new Map(this.#given.map((checkpoint) => [`${checkpoint.epoch}/${checkpoint.sequence}`, checkpoint]))
    for (const checkpoint of all) {
      if (begin === undefined || compareOrder(checkpoint, begin) < 0 || this.memory.options.mode === 'overwrite')
        continue
      const name = `${checkpoint.epoch}/${checkpoint.sequence}`
      expect(given.has(name), `${name} was not given`).toBe(true)
      expect(Buffer.compare(given.get(name)?.value as Uint8Array, checkpoint.value)).toBe(0)
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.#follow.return()
    await this.done
  }
}

test.each(['append', 'overwrite'] as const)(
  '%s: nothing twice, out of order, mixed or left out, whatever happens',
  async (mode) => {
    const seed = testSeed()
    const rounds = process.env.RC_LONG === '1' ? 400 : 12
    console.log(`seed ${seed}`)
    let [given, lapped] = [0, 0]
    for (let round = 0; round < rounds; round++) {
      const random = new Random(seed + round)
      const memory = new MemoryRegion({
        bytes: random.pick([32, 64, 200]) * kib,
        mode,
        random,
        pieceBytes: random.pick([64, 500, 4096]),
        blockBytes: random.pick([64, 4096]),
      })
      const witness = new Witness(memory, new Random(seed - round))
      let id = 0
      const append = (log: CheckpointLog<Uint8Array>) => {
        const value = new Uint8Array(5 + random.length(random.chance(0.1) ? 7000 : 1200))
        value.fill(++id & 0xff)
        new DataView(value.buffer).setUint32(0, id)
        const durability = random.pick(['visible', 'durable'] as const)
        return log.append(value, { durability }).catch((error: unknown) => {
          if (!(error instanceof CheckpointError)) throw error
        })
      }
      try {
        for (let life = 0; life < 8; life++) {
          const log = openLog(memory.owner())
          const appends: Promise<unknown>[] = []
          for (let count = random.below(60); count > 0; count--) {
            const appended = append(log)
            appends.push(appended)
            if (random.chance(0.7)) await appended
            if (random.chance(0.3)) await setImmediate()
            if (random.chance(0.02)) await log.clear()
            if (random.chance(0.02)) memory.crash()
            given++
          }
          await append(log)
          if (random.chance(0.5)) {
            await Promise.all(appends)
            await witness.settle()
          }
          void append(log)
          for (let turn = random.below(60); turn > 0; turn--) await undefined
          memory.kill()
          for (let turn = 0; turn < 100 && !memory.idle; turn++) await undefined
          if (random.chance(0.5)) memory.crash()
          if (random.chance(0.5)) await setImmediate()
        }
        await append(openLog(memory.owner()))
        await witness.settle()
        await witness.stop()
        lapped += witness.lapped
      } catch (error) {
        console.log(`failed with RC_SEED=${seed + round} (round 0)`)
        throw error
      }
    }
    console.log(`${given} appends, lapped ${lapped} times`)
  },
)

test.each([1, 2, 3])('what was read of the unit before it crashed is not given afterwards (read %i)', async (last) => {
  const memory = new MemoryRegion({ bytes: 64 * 1024 })
  const log = openLog(memory.owner())
  await log.append(Buffer.from('kept'))
  const access = memory.reader()
  let reads = 0
  const reader = openReader({
    ...access,
    get unitStart() {
      return access.unitStart
    },
    async readInto(ranges, options) {
      if (reads === last) await log.append(Buffer.from('lost'), { durability: 'visible' })
      await access.readInto(ranges, options)
      if (reads > 0 && --reads === 0) memory.crash(0)
    },
  })
  const follow = reader.follow()
  const given = async () => Buffer.from((await follow.next()).value?.value ?? []).toString()
  expect(await given()).toBe('kept')
  // Long enough for the lag to be measured anew, by more reads before it is given.
  await setTimeout(300)
  reads = last
  const next = given()
  await expect.poll(() => memory.rollbacks).toBe(1)
  await log.append(Buffer.from('next'))
  expect(await next).toBe('next')
  await follow.return()
})

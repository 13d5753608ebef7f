/** The log as a user sees it: append, read, policies, cursors, streams, codecs, snapshots, failures. */
import { describe, expect, test } from 'vitest'
import { type Codec, json, openLog, openReader, v8Codec } from '../../src/checkpoint/index.js'
import { CheckpointError } from '../../src/errors.js'
import { MemoryRegion, type MemoryRegionOptions } from './memory-region.js'
import { Random, testSeed } from './random.js'

const kib = 1024

function region(options: Partial<MemoryRegionOptions> = {}): MemoryRegion {
  return new MemoryRegion({ bytes: 64 * kib, ...options })
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const item of items) all.push(item)
  return all
}

async function codeOf(call: Promise<unknown>): Promise<string> {
  try {
    await call
  } catch (error) {
    if (error instanceof CheckpointError) return error.code
    throw error
  }
  return 'none'
}

async function streamed(stream: ReadableStream<Uint8Array>): Promise<Uint8Array> {
  return new Uint8Array(await new Response(stream as unknown as ReadableStream<Uint8Array<ArrayBuffer>>).arrayBuffer())
}

describe.each(['append', 'overwrite'] as const)('%s', (mode) => {
  test('an untouched region is an empty log', async () => {
    const memory = region({ mode })
    const reader = openReader(memory.reader())
    expect(await reader.latest()).toBeUndefined()
    expect(await reader.all()).toEqual([])
    expect(await reader.durableSequence()).toBe(0n)
    expect(await codeOf(reader.at(1n))).toBe('CHECKPOINT_NOT_FOUND')
  })

  test('what was appended is the latest, in another process too', async () => {
    const memory = region({ mode })
    const log = openLog(memory.owner(), { codec: json, schema: 7 })
    for (let count = 1; count <= 100; count++) {
      const acked = await log.append({ count })
      expect(acked).toEqual({ sequence: BigInt(count), durability: 'durable', method: 'unit-flush', epoch: 1n })
      const latest = await openReader(memory.reader(), { codec: json }).latest()
      expect(latest).toMatchObject({ sequence: BigInt(count), epoch: 1n, schema: 7, value: { count } })
      expect(latest?.cursor).toEqual({ region: memory.id, epoch: 1n, sequence: BigInt(count) })
    }
    expect(await log.durableSequence()).toBe(100n)
    expect(await openReader(memory.reader()).durableSequence()).toBe(99n)
  })

  test('an append that nothing holds up is one write and no read', async () => {
    const memory = region({ mode })
    const log = openLog(memory.owner())
    await log.append(new Uint8Array(10))
    const { reads, writes, flushes } = memory
    for (let count = 0; count < 50; count++) await log.append(new Uint8Array(10))
    expect({ reads: memory.reads, writes: memory.writes, flushes: memory.flushes }).toEqual({
      reads,
      writes: writes + 50,
      flushes,
    })
  })

  test('what the caller changes after append returned is not in the checkpoint', async () => {
    const memory = region({ mode, pieceBytes: 64 })
    const log = openLog(memory.owner())
    const state = new Uint8Array(5000).fill(1)
    for (let round = 0; round < 5; round++) {
      state.fill(round)
      const pending = log.append(state)
      state.fill(200)
      await pending
      expect((await log.latest())?.value.every((byte) => byte === round)).toBe(true)
    }
  })

  test('a new owner goes on with the numbers under its own epoch', async () => {
    const memory = region({ mode })
    const first = openLog(memory.owner())
    await first.append(Uint8Array.of(1))
    await first.append(Uint8Array.of(2))
    const second = openLog(memory.owner())
    expect(await second.append(Uint8Array.of(3))).toMatchObject({ sequence: 3n, epoch: 2n })
    expect(await codeOf(first.append(Uint8Array.of(9)))).toBe('FENCED')
    expect(await second.latest()).toMatchObject({ sequence: 3n, epoch: 2n })
  })

  test('clear takes out everything before it, durably, and numbers go on', async () => {
    const memory = region({ mode })
    const log = openLog(memory.owner())
    await log.append(Uint8Array.of(1))
    const pending = log.append(Uint8Array.of(2))
    await log.clear()
    await pending
    expect(await log.latest()).toBeUndefined()
    expect(await log.all()).toEqual([])
    memory.crash(0)
    expect(await openReader(memory.reader()).latest()).toBeUndefined()
    expect(await log.append(Uint8Array.of(3))).toMatchObject({ sequence: 3n })
    expect((await log.all()).map(({ sequence }) => sequence)).toEqual([3n])
    for (let round = 0; round < 5; round++) await log.clear()
    expect(await codeOf(log.at(3n))).toBe('CHECKPOINT_NOT_FOUND')
    const other = openLog(memory.owner())
    expect(await other.append(Uint8Array.of(4))).toMatchObject({ sequence: 4n })
  })

  test('a stream of many parts comes back as a whole, in parts, and after later appends', async () => {
    const random = new Random(5)
    const bytes = random.bytes(3 * 1024 * kib + 4321)
    const memory = region({ mode, bytes: 16 * 1024 * kib })
    const log = openLog(memory.owner())
    await log.append(Uint8Array.of(1))
    async function* chunks() {
      for (let from = 0; from < bytes.length; ) {
        const length = 1 + random.below(300_000)
        yield bytes.slice(from, from + length)
        from += length
      }
    }
    const acked = await log.appendStream(chunks(), { bytes: bytes.length })
    expect(acked.sequence).toBe(2n)
    memory.crash(0)
    expect(Buffer.compare((await openReader(memory.reader()).latest())?.value ?? Buffer.of(), bytes)).toBe(0)
    expect(Buffer.compare(await streamed(log.stream(2n)), bytes)).toBe(0)
    await log.append(Uint8Array.of(3))
    expect(Buffer.compare((await log.at(2n)).value, bytes)).toBe(0)
    expect(await log.latest()).toMatchObject({ sequence: 3n })
  })

  test('a stream that breaks off leaves the log as it was', async () => {
    const memory = region({ mode, bytes: 16 * 1024 * kib })
    const log = openLog(memory.owner())
    await log.append(Uint8Array.of(1))
    async function* broken() {
      yield new Uint8Array(2_500_000)
      throw new RangeError('source failed')
    }
    async function* short() {
      yield new Uint8Array(2_500_000)
    }
    await expect(log.appendStream(broken(), { bytes: 3_000_000 })).rejects.toThrow('source failed')
    expect(await codeOf(log.appendStream(short(), { bytes: 3_000_000 }))).toBe('INVALID_ARGUMENT')
    expect(await codeOf(log.appendStream(short(), { bytes: 2_000_000 }))).toBe('INVALID_ARGUMENT')
    expect(await log.latest()).toMatchObject({ sequence: 1n })
    const acked = await log.append(Uint8Array.of(2))
    expect(await openReader(memory.reader()).latest()).toMatchObject({ sequence: acked.sequence })
    await openLog(memory.owner()).append(Uint8Array.of(3))
    expect((await log.latest())?.value).toEqual(Uint8Array.of(3))
  })

  test('a codec may encode to chunks of a length it does not tell', async () => {
    const chunked: Codec<string> = {
      id: 300,
      async *encode(value) {
        for (let from = 0; from < value.length; from += 100_000) yield Buffer.from(value.slice(from, from + 100_000))
      },
      decode: (bytes) => Buffer.from(bytes).toString(),
    }
    const memory = region({ mode, bytes: 8 * 1024 * kib })
    const log = openLog(memory.owner(), { codec: chunked })
    const value = 'abcdefg'.repeat(250_000)
    await log.append(value)
    expect((await openReader(memory.reader(), { codec: chunked }).latest())?.value).toBe(value)
    await log.append('')
    expect((await log.latest())?.value).toBe('')
    expect(await codeOf(log.append('x'.repeat(9 * 1024 * kib)))).toBe('REGION_TOO_SMALL')
    expect((await log.latest())?.value).toBe('')
  })

  test('the largest checkpoint fits again and again, one byte more never', async () => {
    const memory = region({ mode })
    const log = openLog(memory.owner())
    let most = 0
    let tooLarge = 70 * kib
    while (tooLarge - most > 1) {
      const length = (most + tooLarge) >> 1
      if ((await codeOf(log.append(new Uint8Array(length)))) === 'none') most = length
      else tooLarge = length
    }
    expect(most).toBeGreaterThan(20 * kib)
    for (let round = 0; round < 20; round++) {
      await log.append(new Uint8Array(most).fill(round), { durability: round % 3 ? 'visible' : 'durable' })
      expect((await log.latest())?.value.at(-1)).toBe(round)
    }
  })

  test('durable on a pool that cannot is refused, visible is its default', async () => {
    const memory = region({ mode, strongest: 'visible' })
    const log = openLog(memory.owner())
    expect(await codeOf(log.append(Uint8Array.of(1), { durability: 'durable' }))).toBe('NOT_DURABLE')
    for (let round = 0; round < 200; round++) {
      expect(await log.append(new Uint8Array(3000))).toMatchObject({ durability: 'visible', method: 'none' })
    }
    expect(memory.flushes).toBe(0)
    expect(await log.durableSequence()).toBe(0n)
  })

  test('two logs of one region handle share the writer', async () => {
    const memory = region({ mode, pieceBytes: 100 })
    const access = memory.owner()
    const [a, b] = [openLog(access), openLog(access, { codec: json })]
    const acks = await Promise.all([a.append(Uint8Array.of(1)), b.append(2), a.append(Uint8Array.of(3)), b.append(4)])
    expect(acks.map(({ sequence }) => sequence)).toEqual([1n, 2n, 3n, 4n])
    expect((await b.latest())?.value).toBe(4)
  })

  test('an aborted append does not disturb those behind it', async () => {
    const memory = region({ mode })
    const log = openLog(memory.owner())
    await log.append(Uint8Array.of(0))
    let open = () => {}
    memory.gate = new Promise((resolve) => {
      open = resolve
    })
    const controller = new AbortController()
    const aborted = log.append(Uint8Array.of(1), { signal: controller.signal })
    const late = log.append(Uint8Array.of(2), { timeoutMs: 5 })
    const next = log.append(Uint8Array.of(3))
    controller.abort()
    await expect(aborted).rejects.toMatchObject({ code: 'ABORTED', outcome: 'unknown' })
    await expect(late).rejects.toMatchObject({ code: 'TIMEOUT' })
    open()
    await next
    expect((await log.latest())?.value).toEqual(Uint8Array.of(3))
    expect(await codeOf(log.append(Uint8Array.of(1), { signal: AbortSignal.abort() }))).toBe('ABORTED')
  })

  test.each([true, false])('a failed write (which landed: %s) takes nothing down with it', async (lands) => {
    const memory = region({ mode, pieceBytes: 500 })
    const log = openLog(memory.owner())
    await log.append(Uint8Array.of(0))
    const error = new CheckpointError('CONNECTION_LOST', 'cut', { outcome: 'unknown' })
    memory.failing.set(memory.writes + 1, { error, lands })
    const appends = [1, 2, 3, 4].map((value) => log.append(Uint8Array.of(value)))
    const results = await Promise.allSettled(appends)
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled', 'fulfilled'])
    expect(results[1]).toMatchObject({ reason: { code: 'CONNECTION_LOST', outcome: 'unknown' } })
    const newest = await log.append(Uint8Array.of(5))
    expect(await openReader(memory.reader()).latest()).toMatchObject({ sequence: newest.sequence })
    if (mode === 'append') {
      const values = (await openReader(memory.reader()).all()).map(({ value }) => value[0])
      expect(values).toEqual(lands ? [0, 1, 2, 3, 4, 5] : [0, 1, 3, 4, 5])
    }
  })

  test('after the unit came back without visible writes the log goes on behind what is left', async () => {
    const memory = region({ mode })
    const log = openLog(memory.owner())
    await log.append(Uint8Array.of(1))
    await log.append(Uint8Array.of(2), { durability: 'visible' })
    await log.append(Uint8Array.of(3), { durability: 'visible' })
    memory.crash(0)
    expect(await log.latest()).toMatchObject({ sequence: mode === 'append' ? 1n : 2n })
    const acked = await log.append(Uint8Array.of(4))
    expect(acked.sequence).toBeGreaterThan(3n)
    expect((await openReader(memory.reader()).latest())?.value).toEqual(Uint8Array.of(4))
  })
})

test('a value is refused by another codec, and bytes that do not decode are', async () => {
  const memory = region()
  const access = memory.owner()
  await openLog(access, { codec: json }).append([1])
  expect(await codeOf(openReader(memory.reader()).latest())).toBe('CODEC_MISMATCH')
  expect(Buffer.from(await streamed(openReader(memory.reader()).stream(1n))).toString()).toBe('[1]')
  const broken: Codec<unknown> = { ...json, encode: () => Buffer.from('{') }
  await openLog(access, { codec: broken }).append(1)
  expect(await codeOf(openReader(memory.reader(), { codec: json }).latest())).toBe('CODEC_MISMATCH')
  const bad: Codec<unknown> = { ...v8Codec, encode: () => Buffer.from('no v8 here') }
  await openLog(access, { codec: bad }).append(1)
  expect(await codeOf(openReader(memory.reader(), { codec: v8Codec }).latest())).toBe('CODEC_MISMATCH')
  const state = new Map([['a', new Set([1n])]])
  await openLog(access, { codec: v8Codec }).append(state)
  expect((await openReader(memory.reader(), { codec: v8Codec }).latest())?.value).toEqual(state)
  expect(await codeOf(openLog(access, { codec: json }).append(() => 1))).toBe('INVALID_ARGUMENT')
  expect(await codeOf(openLog(access).append('text' as unknown as Uint8Array))).toBe('INVALID_ARGUMENT')
  expect(() => openReader(access, { codec: { ...json, id: -1 } })).toThrow('codec')
})

test('a raw region takes no log, a small one neither', () => {
  expect(() => openLog(region({ mode: 'raw' }).owner())).toThrow(expect.objectContaining({ code: 'REGION_MODE' }))
  expect(() => openReader(region({ bytes: 32 * kib - 1 }).reader())).toThrow(
    expect.objectContaining({ code: 'REGION_TOO_SMALL' }),
  )
  expect(() => openReader(region({ bytes: 32 * kib }).reader())).not.toThrow()
})

test('drop-oldest keeps a run that ends with the newest, and says what it has dropped', async () => {
  const seed = testSeed()
  console.log(`seed ${seed}`)
  const random = new Random(seed)
  const memory = region({ random })
  const log = openLog(memory.owner())
  const values = new Map<bigint, number>()
  for (let count = 1; count <= 250; count++) {
    const bytes = new Uint8Array(random.length(8000)).fill(count)
    const { sequence } = await log.append(bytes)
    values.set(sequence, bytes.length)
    const kept = await log.all()
    expect(kept.at(-1)?.sequence).toBe(sequence)
    const oldest = kept[0]?.sequence ?? 0n
    expect(kept.map((checkpoint) => checkpoint.sequence)).toEqual(
      Array.from({ length: kept.length }, (_, index) => oldest + BigInt(index)),
    )
    for (const { value, sequence: at } of kept) {
      expect(value.length).toBe(values.get(at))
      expect(value.every((byte) => byte === Number(at) % 256)).toBe(true)
    }
    // At least what the last seven eighths of the ring can hold, less one record.
    if (oldest > 1n) {
      const used = kept.reduce((sum, { bytes: length }) => sum + 128 + Math.ceil(length / 128) * 128, 0)
      expect(used).toBeGreaterThan(30_000)
      const error = await log.at(oldest - 1n).catch((caught: unknown) => caught)
      expect(error).toMatchObject({ code: 'CHECKPOINT_LAPPED', details: { oldest, newest: sequence } })
    }
    expect((await log.list()).map((info) => info.sequence)).toEqual(kept.map((checkpoint) => checkpoint.sequence))
    const any = kept[random.below(kept.length)]
    expect((await log.at(any?.sequence ?? 0n)).bytes).toBe(any?.bytes)
    if (any !== undefined) {
      const unread = await collect(log.unread(any.cursor))
      expect(unread.map((checkpoint) => checkpoint.sequence)).toEqual(
        kept.map((checkpoint) => checkpoint.sequence).filter((at) => at > any.sequence),
      )
    }
  }
})

test('unread begins behind a cursor, also a saved one, and tells when it was lapped', async () => {
  const memory = region({ bytes: 32 * kib })
  const log = openLog(memory.owner())
  const cursors = []
  for (let count = 1; count <= 5; count++) {
    await log.append(Uint8Array.of(count))
    const latest = await log.latest()
    if (latest !== undefined) cursors.push(latest.cursor)
  }
  const reader = openReader(memory.reader())
  const values = async (since: Parameters<typeof reader.unread>[0]) =>
    (await collect(reader.unread(since))).map(({ value }) => value[0])
  expect(await values({ region: memory.id, epoch: 0n, sequence: 0n })).toEqual([1, 2, 3, 4, 5])
  expect(await values(cursors[2]!)).toEqual([4, 5])
  expect(await values(cursors[4]!)).toEqual([])
  await reader.saveCursor('backup', await reader.at(4n))
  expect(await values('backup')).toEqual([5])
  await expect(values('nobody')).rejects.toMatchObject({ code: 'CURSOR_INVALID' })
  await expect(values({ ...cursors[0]!, region: 'other' })).rejects.toMatchObject({ code: 'CURSOR_INVALID' })
  await log.clear({ before: 4n })
  expect(await values(cursors[0]!)).toEqual([4, 5])
  expect(await codeOf(reader.at(3n))).toBe('CHECKPOINT_NOT_FOUND')
  for (let count = 6; count <= 200; count++) await log.append(new Uint8Array(1000).fill(count))
  await expect(values(cursors[4]!)).rejects.toMatchObject({ code: 'CHECKPOINT_LAPPED' })
  const oldest = (await reader.list())[0]!
  const before = { ...oldest.cursor, sequence: oldest.sequence - 1n }
  expect((await values(before))[0]).toBe(Number(oldest.sequence))
})

test('memory that a failed write may still be sent from is not used again', async () => {
  const memory = region()
  const log = openLog(memory.owner())
  await log.append(new Uint8Array(100))
  await log.clear()
  await log.append(new Uint8Array(100))
  const error = new CheckpointError('TIMEOUT', 'no answer', { outcome: 'unknown' })
  memory.failing.set(memory.writes, { error, lands: true })
  expect(await codeOf(log.clear())).toBe('TIMEOUT')
  memory.failing.set(memory.writes, { error, lands: true })
  expect(await codeOf(log.append(new Uint8Array(100)))).toBe('TIMEOUT')
  await log.append(new Uint8Array(100))
  expect(memory.stagings.map(({ released }) => released)).toEqual([true, true, false, true])
})

test('fail refuses an append that would drop something, until it is cleared or read', async () => {
  const memory = region({ onFull: 'fail' })
  const log = openLog(memory.owner())
  const fill = async () => {
    for (;;) {
      const code = await codeOf(log.append(new Uint8Array(1500)))
      if (code !== 'none') return code
    }
  }
  expect(await fill()).toBe('REGION_FULL')
  const kept = await log.all()
  expect(kept[0]?.sequence).toBe(1n)
  await log.clear({ before: 15n })
  await log.append(new Uint8Array(1500))
  expect((await log.all())[0]?.sequence).toBe(15n)
  expect(await fill()).toBe('REGION_FULL')
  const reader = openReader(memory.reader())
  await reader.saveCursor('a', (await reader.latest())!)
  await reader.saveCursor('b', await reader.at(16n))
  expect(await fill()).toBe('REGION_FULL')
  expect((await log.all())[0]!.sequence).toBeLessThanOrEqual(17n)
  await reader.saveCursor('b', (await reader.latest())!)
  await log.append(new Uint8Array(1500))
  // A new owner keeps to the same.
  const next = openLog(memory.owner())
  memory.cursors = []
  let appended = 0
  while ((await codeOf(next.append(new Uint8Array(1500)))) === 'none') appended++
  expect(appended).toBeLessThan(30)
})

test('wait holds appends back, in order, until space is released', async () => {
  const memory = region({ onFull: 'wait', bytes: 32 * kib })
  const log = openLog(memory.owner())
  let last = 0n
  for (;;) {
    const error = await log.append(new Uint8Array(1500), { timeoutMs: 60 }).catch((caught: unknown) => caught)
    if (error instanceof Error) {
      expect(error).toMatchObject({ code: 'TIMEOUT', outcome: 'none' })
      break
    }
    last = (error as { sequence: bigint }).sequence
  }
  const controller = new AbortController()
  const aborted = log.append(new Uint8Array(1500), { signal: controller.signal })
  const order: number[] = []
  const waiting = [1, 2].map((value) =>
    log.append(new Uint8Array(1500).fill(value)).then(({ sequence }) => order.push(value, Number(sequence))),
  )
  setTimeout(() => controller.abort(), 20)
  await expect(aborted).rejects.toMatchObject({ code: 'ABORTED', outcome: 'none' })
  expect(order).toEqual([])
  await log.clear({ before: last - 2n })
  await Promise.all(waiting)
  expect(order).toEqual([1, Number(last) + 1, 2, Number(last) + 2])
})

test.each(['append', 'overwrite'] as const)(
  '%s: a reader that the writer outruns is never told of an empty log',
  async (mode) => {
    const memory = region({ mode })
    const log = openLog(memory.owner())
    const append = async (times: number) => {
      for (; times > 0; times--) await log.append(new Uint8Array(2 * kib))
    }
    await append(3)
    const access = memory.reader()
    /** Before which of its reads the writer goes all the way round. */
    let outrun = (_read: number): boolean => true
    let reads = 0
    const reader = openReader({
      ...access,
      async readInto(ranges, options) {
        if (outrun(reads++)) await append(mode === 'overwrite' ? 2 : 40)
        return access.readInto(ranges, options)
      },
    })
    if (mode === 'append') expect(await codeOf(reader.all())).toBe('CHECKPOINT_LAPPED')
    for (const call of [() => reader.all(), () => reader.list()]) {
      for (let first = 0; first < 6; first++) {
        for (const times of [1, 2]) {
          reads = 0
          outrun = (read) => read >= first && read < first + times
          const before = (await openReader(access).latest())?.sequence ?? 0n
          const found: readonly { sequence: bigint }[] = await call()
          expect(found.at(-1)?.sequence, `outrun ${times} times from read ${first} on`).toBeGreaterThanOrEqual(before)
        }
      }
    }
  },
)

test('readers beside a writer that laps them see whole checkpoints only, and never older ones than before', async () => {
  const seed = testSeed()
  console.log(`seed ${seed}`)
  const random = new Random(seed)
  for (const mode of ['append', 'overwrite'] as const) {
    const memory = new MemoryRegion({ bytes: 64 * kib, mode, random, pieceBytes: 1000 })
    const log = openLog(memory.owner())
    let done = false
    let looks = 0
    const writing = (async () => {
      for (let count = 1; looks < 40; count++) {
        const bytes = new Uint8Array(8 + random.length(6000)).fill(count)
        new DataView(bytes.buffer).setBigUint64(0, BigInt(count))
        const pending = log.append(bytes, { durability: random.pick(['visible', 'durable']) })
        if (random.chance(0.5)) await pending
        // Timers run, too.
        if (count % 8 === 0) await new Promise(setImmediate)
      }
      done = true
    })()
    let highest = 0n
    try {
      while (!done) {
        const reader = openReader(memory.reader())
        const check = (sequence: bigint, value: Uint8Array) => {
          expect(new DataView(value.buffer, value.byteOffset).getBigUint64(0)).toBe(sequence)
          expect(value.subarray(8).every((byte) => byte === Number(sequence) % 256)).toBe(true)
        }
        const latest = await reader.latest()
        looks++
        if (looks % 4 === 0) await new Promise(setImmediate)
        if (latest === undefined) {
          expect(highest).toBe(0n)
          continue
        }
        check(latest.sequence, latest.value)
        expect(latest.sequence).toBeGreaterThanOrEqual(highest)
        highest = latest.sequence
        const all = await reader.all()
        // Beside the ring's newest there is more; what was the newest is always among them.
        expect(all.at(-1)?.sequence).toBeGreaterThanOrEqual(highest)
        for (const [index, { sequence, value }] of all.entries()) {
          check(sequence, value)
          if (index > 0) expect(sequence).toBe(all[index - 1]!.sequence + 1n)
        }
        expect(['none', 'CHECKPOINT_LAPPED']).toContain(await codeOf(reader.at(latest.sequence)))
        expect(['none', 'CHECKPOINT_LAPPED']).toContain(await codeOf(collect(reader.unread(latest.cursor))))
      }
    } finally {
      looks = Number.POSITIVE_INFINITY
    }
    await writing
  }
})

test('an unknown codec does not keep the list from being read', async () => {
  const memory = region()
  await openLog(memory.owner(), { codec: json }).append('x')
  expect(await openReader(memory.reader()).list()).toMatchObject([{ sequence: 1n, codec: 1, bytes: 3 }])
})

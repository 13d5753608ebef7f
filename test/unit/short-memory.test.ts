/** Where there is no memory for what was written, read or announced, calls fail with OUT_OF_MEMORY, never with a raw error. */
import { afterEach, expect, test, vi } from 'vitest'
import { openLog, openReader } from '../../src/checkpoint/index.js'
import { CheckpointError } from '../../src/errors.js'
import { FakeUnit } from './client-fake.js'
import { MemoryRegion } from './memory-region.js'

const kib = 1024
const outOfMemory = { code: 'OUT_OF_MEMORY', outcome: 'none' }

afterEach(() => {
  vi.unstubAllGlobals()
})

/** From now on there is no memory for so many bytes at once. */
function noMemoryFor(bytes: number): void {
  const construct = (target: typeof Uint8Array, given: unknown[], newTarget: new () => unknown) => {
    const [first] = given
    if (typeof first === 'number' && first >= bytes) throw new RangeError('Array buffer allocation failed')
    return Reflect.construct(target, given, newTarget) as object
  }
  vi.stubGlobal('Uint8Array', new Proxy(Uint8Array, { construct }))
}

async function drained(stream: ReadableStream<Uint8Array>): Promise<void> {
  for await (const _ of stream) void _
}

async function failure(call: () => unknown): Promise<unknown> {
  try {
    await call()
    return 'nothing failed'
  } catch (error) {
    return error
  }
}

test.each(['append', 'overwrite'] as const)('reading checkpoints (%s)', async (mode) => {
  const memory = new MemoryRegion({ bytes: 4 * kib * kib, mode })
  const log = openLog(memory.owner())
  for (let round = 0; round < 3; round++) await log.append(new Uint8Array(300 * kib).fill(round))
  async function* chunks() {
    for (let i = 0; i < 3; i++) yield new Uint8Array(400 * kib)
  }
  const { sequence } = await log.appendStream(chunks(), { bytes: 1200 * kib })
  // The larger, the deeper it comes.
  for (const most of [4_000, 60_000, 200 * kib]) {
    noMemoryFor(most)
    const reader = openReader(memory.reader())
    const calls: Record<string, () => unknown> = {
      latest: () => reader.latest(),
      at: () => reader.at(sequence),
      all: () => reader.all(),
      stream: () => drained(reader.stream(sequence)),
      follow: () => reader.follow({ from: 'oldest' }).next(),
    }
    for (const [name, call] of Object.entries(calls)) {
      const error = await failure(call)
      expect(error, `${name} below ${most}`).toBeInstanceOf(CheckpointError)
      expect(error, `${name} below ${most}`).toMatchObject(outOfMemory)
    }
    vi.unstubAllGlobals()
  }
})

test('the steps of a log, which goes on afterwards', async () => {
  const memory = new MemoryRegion({ bytes: 4 * kib * kib })
  await openLog(memory.owner()).append(new Uint8Array(100))
  const access = memory.owner()
  const log = openLog(access)
  const value = new Uint8Array(new SharedArrayBuffer(100 * kib))
  for (const most of [4_000, 50_000]) {
    noMemoryFor(most)
    await expect(log.append(value)).rejects.toMatchObject(outOfMemory)
    vi.unstubAllGlobals()
  }
  expect((await log.append(value)).sequence).toBe(2n)
})

test('reads and writes of a region, and its entry in the tables', async () => {
  const unit = FakeUnit.make()
  const { call } = unit.control
  unit.control.call = (async (name: 'OpenTables', request: never, options: never) => {
    if (name !== 'OpenTables') return await call(name, request, options)
    const endpoints = [{ transport: 'iwarp', host: '127.0.0.1', port: 1 }]
    const table = { tableOffsetA: 0n, tableOffsetB: 65_536n, slotBytes: 65_536, slots: 1 }
    return { handle: 9n, token: new Uint8Array(32), endpoints, ...table }
  }) as typeof call
  const client = await unit.connect()
  const region = await client.openRegion('r', { mode: 'write' })
  const shared = new Uint8Array(new SharedArrayBuffer(10_000))
  noMemoryFor(10_000)
  const failing = await Promise.allSettled([
    region.read(0, 10_000),
    region.readInto({ offset: 0, bytes: shared }),
    region.write(0, shared),
    region.writeAll([{ offset: 0, bytes: shared }]),
    region.metadata(),
  ])
  for (const result of failing) expect(result).toMatchObject({ status: 'rejected', reason: outOfMemory })
  vi.unstubAllGlobals()
  expect(unit.log).toEqual([])
  await client.close()
})

/** What waits in a log's queue: its deadlines and signals, and what the end of the region does to it. */
import { afterEach, expect, test, vi } from 'vitest'
import { DeltaChain } from '../../src/checkpoint/delta/chain.js'
import { applyDelta, type Delta } from '../../src/checkpoint/delta/payload.js'
import { json, openLog } from '../../src/checkpoint/index.js'
import { closeLogs, failLogs } from '../../src/checkpoint/log.js'
import { CheckpointError, type Outcome } from '../../src/errors.js'
import { MemoryRegion } from './memory-region.js'

const kib = 1024

afterEach(() => {
  vi.useRealTimers()
})

function ended(call: Promise<unknown>): Promise<string> {
  return call.then(
    () => 'ok',
    (error: unknown) => (error instanceof CheckpointError ? `${error.code} ${error.outcome}` : String(error)),
  )
}

async function* hung(): AsyncGenerator<Uint8Array> {
  yield new Uint8Array(1)
  await new Promise(() => undefined)
}

const closed = new CheckpointError('CLOSED', 'closed')
const fenced = new CheckpointError('FENCED', 'fenced')

function behindAStream() {
  const memory = new MemoryRegion({ bytes: 64 * kib })
  const access = memory.owner()
  const log = openLog(access)
  const stream = ended(log.appendStream(hung(), { bytes: 2 }))
  return { memory, access, log, stream }
}

test('signals and deadlines reach what waits behind a stream', async () => {
  const { log, access, stream } = behindAStream()
  const abort = new AbortController()
  const calls = [
    ended(log.append(new Uint8Array(1), { signal: abort.signal })),
    ended(log.clear({ signal: abort.signal })),
    ended(log.append(new Uint8Array(1), { timeoutMs: 30 })),
    ended(log.clear({ timeoutMs: 30 })),
    ended(log.appendStream(hung(), { bytes: 2, timeoutMs: 30 })),
  ]
  abort.abort()
  expect(await Promise.all(calls)).toEqual(['ABORTED none', 'ABORTED none', ...Array(3).fill('TIMEOUT none')])
  failLogs(access, fenced)
  expect(await stream).toBe('FENCED none')
})

test('without a deadline given calls have the default, and a stream has it from step to step', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
  const memory = new MemoryRegion({ bytes: 64 * kib })
  const log = openLog(memory.owner())
  let next: () => void = () => undefined
  const source = (async function* () {
    for (let part = 0; part < 3; part++) {
      await new Promise<void>((resolve) => {
        next = resolve
      })
      yield new Uint8Array(1)
    }
    await new Promise(() => undefined)
  })()
  const stream = ended(log.appendStream(source, { bytes: 4 }))
  const behind = ended(log.append(new Uint8Array(1)))
  for (let step = 0; step < 3; step++) {
    await vi.advanceTimersByTimeAsync(20_000)
    next()
  }
  expect(await behind).toBe('TIMEOUT none')
  const state = await Promise.race([stream, vi.advanceTimersByTimeAsync(20_000).then(() => 'waits')])
  expect(state).toBe('waits')
  await vi.advanceTimersByTimeAsync(20_000)
  expect(await stream).toBe('TIMEOUT none')
})

test('a call whose time is over says so where there is no connection', async () => {
  const memory = new MemoryRegion({ bytes: 64 * kib })
  const lost = (call: string, outcome: Outcome) => new CheckpointError('CONNECTION_LOST', call, { outcome })
  const log = openLog({ ...memory.owner(), lost })
  void ended(log.appendStream(hung(), { bytes: 2 }))
  expect(await ended(log.append(new Uint8Array(1), { timeoutMs: 20 }))).toBe('CONNECTION_LOST none')
})

test('the end of the region rejects what is in flight as unknown, and what waits as nothing', async () => {
  const { memory, access, log, stream } = behindAStream()
  failLogs(access, fenced)
  expect(await stream).toBe('FENCED none')

  const other = memory.owner()
  const second = openLog(other)
  await second.append(new Uint8Array(1))
  memory.gate = new Promise(() => undefined)
  const inFlight = ended(second.append(new Uint8Array(1)))
  const clears = [ended(second.clear()), ended(second.clear())]
  await new Promise((resolve) => setImmediate(resolve))
  failLogs(other, fenced)
  expect(await clears[1]).toBe('FENCED none')
  expect(await ended(second.append(new Uint8Array(1)))).toBe('FENCED none')
  expect(await ended(log.append(new Uint8Array(1)))).toBe('FENCED none')
  // Those that are on their way are told by their writes, which end with the connection.
  expect(await Promise.race([inFlight, clears[0], 'pending'])).toBe('pending')
})

test('a close waits for what was called before it, and takes nothing new', async () => {
  const memory = new MemoryRegion({ bytes: 64 * kib })
  const access = memory.owner()
  const log = openLog(access, { codec: json })
  let open: () => void = () => undefined
  memory.gate = new Promise((resolve) => {
    open = resolve
  })
  const before = [...Array(20).keys()].map((count) => ended(log.append({ count })))
  const cleared = ended(log.clear({ before: 11n }))
  const closing = closeLogs(access, closed, 30_000)
  const late = [ended(log.append({})), ended(log.clear()), ended(log.end())]
  expect(await Promise.all(late)).toEqual(Array(3).fill('CLOSED none'))
  open()
  expect(await Promise.all(before)).toEqual(Array(20).fill('ok'))
  expect(await cleared).toBe('ok')
  await closing
  const kept = await openLog(memory.owner(), { codec: json }).all()
  expect(kept.map(({ sequence }) => sequence)).toEqual([11n, 12n, 13n, 14n, 15n, 16n, 17n, 18n, 19n, 20n])
})

test('a close is no longer than it may be', async () => {
  const memory = new MemoryRegion({ bytes: 64 * kib })
  const access = memory.owner()
  const log = openLog(access)
  await log.append(new Uint8Array(1))
  memory.gate = new Promise(() => undefined)
  void ended(log.append(new Uint8Array(1)))
  await closeLogs(access, closed, 50)
  expect(await ended(log.append(new Uint8Array(1)))).toBe('CLOSED none')
})

test('a close waits for a stream as long as its source yields, and for what is behind it', async () => {
  const memory = new MemoryRegion({ bytes: 64 * kib })
  const access = memory.owner()
  const log = openLog(access)
  const source = (async function* () {
    for (let part = 0; part < 10; part++) {
      await new Promise((resolve) => setTimeout(resolve, 15))
      yield new Uint8Array(1)
    }
  })()
  const calls = [
    ended(log.appendStream(source, { bytes: 10 })),
    ended(log.append(new Uint8Array(1))),
    ended(log.appendStream(hung(), { bytes: 2 })),
    ended(log.append(new Uint8Array(1))),
  ]
  await closeLogs(access, closed, 30_000)
  expect(await Promise.all(calls)).toEqual(['ok', 'ok', 'CLOSED none', 'ok'])
})

test('a writer that finds records of a later epoch tells that it was fenced', async () => {
  const memory = new MemoryRegion({ bytes: 64 * kib })
  const first = memory.owner()
  await openLog(memory.owner()).append(new Uint8Array(1))
  const found: bigint[] = []
  const log = openLog({ ...first, foundFenced: (epoch) => found.push(epoch) })
  expect(await ended(log.append(new Uint8Array(1)))).toBe('FENCED none')
  expect(found).toEqual([2n])
})

function timersThatHold(): number {
  return process.getActiveResourcesInfo().filter((kind) => kind === 'Timeout').length
}

test.each([undefined, 4])(
  'an append without memory for its snapshot is over, and the next one goes on (deltas: %s)',
  async (deltas) => {
    const memory = new MemoryRegion({ bytes: 64 * kib })
    const access = memory.owner()
    const { staging } = access
    const log = openLog(access, deltas === undefined ? {} : { delta: { fullEvery: deltas } })
    await log.append(new Uint8Array(1000))
    const before = timersThatHold()
    access.staging = () => {
      throw new CheckpointError('OUT_OF_MEMORY', 'none')
    }
    expect(await ended(log.append(new Uint8Array(1000).fill(1)))).toBe('OUT_OF_MEMORY none')
    expect(timersThatHold()).toBe(before)
    access.staging = staging
    await log.append(new Uint8Array(1000).fill(2))
    expect((await log.latest())?.value).toEqual(new Uint8Array(1000).fill(2))
  },
)

test('sizes that there is no memory for are told by a code', () => {
  const bytes = Number.MAX_SAFE_INTEGER
  const none = expect.objectContaining({ code: 'OUT_OF_MEMORY' })
  expect(() => new DeltaChain(4).remember({ length: bytes } as Uint8Array)).toThrow(none)
  expect(() => applyDelta(new Uint8Array(1), { totalBytes: bytes, runs: [] } as unknown as Delta)).toThrow(none)
})

/** The tip that a log at rest writes: what becomes of it when its write fails, and that it is nobody's lost write. */
import { expect, test, vi } from 'vitest'
import { openLog, openReader } from '../../src/checkpoint/index.js'
import { closeLogs } from '../../src/checkpoint/log.js'
import { CheckpointError } from '../../src/errors.js'
import { FakeUnit, until } from './client-fake.js'
import { MemoryRegion } from './memory-region.js'

const kib = 1024
const lost = new CheckpointError('CONNECTION_LOST', 'gone', { outcome: 'unknown', retryable: true })
const closed = new CheckpointError('CLOSED', 'closed')

/** Fails all writes from now on. */
function failFrom(memory: MemoryRegion, count: number, lands: boolean): void {
  for (let number = memory.writes; number < memory.writes + count; number++)
    memory.failing.set(number, { error: lost, lands })
}

/** What a reader finds when the newest record is damaged. */
async function afterDamage(memory: MemoryRegion): Promise<string> {
  const copy = memory.copy()
  const payload = Buffer.from(copy.visible.buffer).indexOf(Buffer.alloc(100, 0xab))
  expect(payload).toBeGreaterThan(0)
  copy.visible[payload] = 0
  try {
    const latest = await openReader(copy.reader()).latest()
    return latest?.missing === undefined ? 'nothing' : 'missing'
  } catch (error) {
    return (error as CheckpointError).code
  }
}

test.each(['append', 'overwrite'] as const)(
  'a tip at rest that was not written is written later (%s)',
  async (mode) => {
    const memory = new MemoryRegion({ bytes: 64 * kib, mode })
    const log = openLog(memory.owner())
    await log.append(new Uint8Array(100).fill(0xab))
    failFrom(memory, 2, false)
    await vi.waitFor(() => expect(memory.writes).toBeGreaterThan(memory.failing.size), { timeout: 5_000 })
    await vi.waitFor(async () => expect(await afterDamage(memory)).toBe('CHECKPOINT_DAMAGED'), { timeout: 5_000 })
  },
)

test('a tip at rest that was not written is written by the close', async () => {
  const memory = new MemoryRegion({ bytes: 64 * kib })
  const access = memory.owner()
  const log = openLog(access)
  await log.append(new Uint8Array(100).fill(0xab))
  failFrom(memory, 1, false)
  const before = memory.writes
  await vi.waitFor(() => expect(memory.writes).toBe(before + 1))
  await closeLogs(access, closed, 1_000)
  memory.crash(0)
  expect(await afterDamage(memory)).toBe('CHECKPOINT_DAMAGED')
})

test('a tip at rest that may have been torn is written to the same place again, so that the other copy stays sound', async () => {
  const memory = new MemoryRegion({ bytes: 64 * kib })
  const access = memory.owner()
  const offsets: number[] = []
  const { writeAll } = access
  access.writeAll = (ranges, options) => {
    if (options.upkeep) offsets.push(...ranges.map(({ offset }) => offset))
    return writeAll.call(access, ranges, options)
  }
  const log = openLog(access)
  await log.append(new Uint8Array(100).fill(0xab))
  offsets.length = 0
  failFrom(memory, 1, true)
  await vi.waitFor(() => expect(offsets.length).toBe(3), { timeout: 5_000 })
  expect(new Set(offsets).size).toBe(1)
})

test('what a log at rest wrote is made durable without an append', async () => {
  const memory = new MemoryRegion({ bytes: 64 * kib })
  const log = openLog(memory.owner())
  await log.append(new Uint8Array(100).fill(0xab))
  const before = memory.writes
  await vi.waitFor(() => expect(memory.writes).toBe(before + 2), { timeout: 5_000 })
  await vi.waitFor(() => expect(memory.idle).toBe(true))
  memory.crash(0)
  expect(await afterDamage(memory)).toBe('CHECKPOINT_DAMAGED')
})

test('what a log at rest makes durable does not come over a clear', async () => {
  const memory = new MemoryRegion({ bytes: 64 * kib })
  const log = openLog(memory.owner())
  await log.append(new Uint8Array(100))
  const before = memory.writes
  await vi.waitFor(() => expect(memory.writes).toBe(before + 1))
  await log.clear()
  const cleared = memory.visible.slice()
  await new Promise((resolve) => setTimeout(resolve, 1_500))
  expect(Buffer.compare(memory.visible, cleared)).toBe(0)
})

test('a restart that takes no write of the user is no lost write, though the log had written a tip', async () => {
  const unit = FakeUnit.make()
  unit.mode = 'APPEND'
  const client = await unit.connect()
  const region = await client.openRegion('r', { mode: 'write' })
  const log = region.log()
  const told: string[] = []
  client.addEventListener('lost-writes', ({ type }) => told.push(type))
  await log.append(new Uint8Array(100))
  const from = unit.log.length
  await until(() => unit.log.length > from)
  unit.restart()
  await until(() => unit.channels.length === 2 && unit.channel.open)
  expect([region.rollbacks, region.lostWrites.aborted, told]).toEqual([0, false, []])
  // And the flush of everything has nothing to do.
  const flushed = unit.log.length
  expect(await region.flush()).toMatchObject({ method: 'none' })
  expect(unit.log.slice(flushed).filter(({ kind }) => kind === 2)).toEqual([])
  // What the user wrote counts as ever.
  await log.append(new Uint8Array(100), { durability: 'visible' })
  unit.restart()
  await until(() => unit.channels.length === 3 && unit.channel.open)
  expect([region.rollbacks, told]).toEqual([1, ['lost-writes']])
  await client.close()
})

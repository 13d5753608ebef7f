/** What a new owner reads and flushes again of what its process and the unit have seen to already: nothing of the state. */
import { expect, test } from 'vitest'
import { openLog, openReader } from '../../src/checkpoint/index.js'
import { MemoryRegion } from './memory-region.js'

const MiB = 1024 * 1024
const stateBytes = 2 * MiB
const small = 256 * 1024

function region(options: { mode: 'append' | 'overwrite'; oneClient?: boolean; durableWhenOpened?: boolean }) {
  return new MemoryRegion({ bytes: 12 * MiB, oneClient: true, durableWhenOpened: true, ...options })
}

/** The state of an owner that is gone, as a standby has read it. */
async function followed(memory: MemoryRegion): Promise<Uint8Array | undefined> {
  await openLog(memory.owner()).append(new Uint8Array(stateBytes).fill(7), { durability: 'visible' })
  memory.kill()
  return (await openReader(memory.reader()).latest())?.value
}

async function takeOver(memory: MemoryRegion) {
  const log = openLog(memory.owner())
  memory.readBytes = 0
  memory.flushedBytes = 0
  const end = await log.end()
  const { sequence } = await log.append(new Uint8Array(100))
  return { end, sequence, readBytes: memory.readBytes, flushedBytes: memory.flushedBytes }
}

test.each(['append', 'overwrite'] as const)('%s: what the process has read whole is not read again', async (mode) => {
  const memory = region({ mode })
  expect((await followed(memory))?.byteLength).toBe(stateBytes)
  const taken = await takeOver(memory)
  expect(taken.end).toMatchObject({ epoch: 1n, sequence: 1n })
  expect(taken.sequence).toBe(2n)
  expect(taken.readBytes).toBeLessThan(small)
  expect(taken.flushedBytes).toBeLessThan(small)
})

test.each(['append', 'overwrite'] as const)(
  '%s: another process has to read it to know that it is whole',
  async (mode) => {
    const memory = region({ mode, oneClient: false })
    await followed(memory)
    expect((await takeOver(memory)).readBytes).toBeGreaterThan(stateBytes)
  },
)

test.each(['append', 'overwrite'] as const)('%s: without the promise of the unit it is flushed again', async (mode) => {
  const memory = region({ mode, durableWhenOpened: false })
  await followed(memory)
  expect((await takeOver(memory)).flushedBytes).toBeGreaterThan(stateBytes)
})

test.each(['append', 'overwrite'] as const)(
  '%s: after a restart of the unit what was whole may be torn',
  async (mode) => {
    const memory = region({ mode, durableWhenOpened: false })
    await openLog(memory.owner()).append(new Uint8Array(100).fill(1))
    const log = openLog(memory.owner())
    await log.append(new Uint8Array(stateBytes).fill(7), { durability: 'visible' })
    memory.kill()
    expect((await openReader(memory.reader()).latest())?.sequence).toBe(2n)
    // The crash keeps the header of the newest, and takes from its payload.
    const at = Buffer.from(memory.visible.buffer).lastIndexOf(Buffer.alloc(64, 7))
    memory.medium.set(memory.visible)
    memory.medium.fill(0, at - stateBytes / 2, at)
    memory.crash(0)
    const taken = await takeOver(memory)
    expect(taken.end).toMatchObject({ sequence: 1n })
    expect((await openReader(memory.reader()).all()).map(({ sequence }) => sequence)).not.toContain(2n)
  },
)

test('what an owner has written itself, and not flushed, is flushed with the next durable append', async () => {
  const memory = region({ mode: 'append' })
  const log = openLog(memory.owner())
  await log.append(new Uint8Array(100), { durability: 'durable' })
  // A failure, after which the log looks for its end again.
  memory.failing.set(memory.writes + 1, { error: new Error('a test'), lands: false })
  const before = log.append(new Uint8Array(MiB).fill(1), { durability: 'visible' })
  await expect(log.append(new Uint8Array(100), { durability: 'visible' })).rejects.toThrow()
  await before
  memory.flushedBytes = 0
  await log.append(new Uint8Array(100), { durability: 'durable' })
  expect(memory.flushedBytes).toBeGreaterThan(MiB)
  memory.kill()
  memory.crash(0)
  const sizes = (await openReader(memory.reader()).all()).map(({ bytes }) => bytes)
  expect(sizes).toEqual([100, MiB, 100])
})

import { Worker } from 'node:worker_threads'
import { expect, test } from 'vitest'
import { connect, PersistentMemoryUnit } from '../../src/index.js'
import {
  builtIndex,
  descriptors,
  ended,
  MiB,
  pickSeed,
  randomFrom,
  residentBytes,
  startChild,
  threads,
} from './client-support.js'

const memoryUnit = (bytes = 96 * MiB) => PersistentMemoryUnit.start({ pool: { medium: 'memory', bytes } })

test('a process that forgets to close ends by itself', async () => {
  await using unit = await memoryUnit()
  const started = performance.now()
  const child = startChild('forgets-to-close.js', builtIndex, unit.address, 'forgotten')
  expect(await ended(child)).toEqual({ code: 0, output: 'forgotten\n' })
  expect(performance.now() - started).toBeLessThan(10_000)
})

test('process.exit() in mid-write is clean', async () => {
  await using unit = await memoryUnit()
  for (const delayMs of [0, 1, 5, 20]) {
    const child = startChild('exits-in-mid-write.js', builtIndex, unit.address, `cut-${delayMs}`, String(delayMs))
    expect(await ended(child)).toEqual({ code: 3, output: '' })
    await using client = await connect(unit.address)
    await client.deleteRegion(`cut-${delayMs}`)
  }
})

test('a worker with a client may be terminated at any moment', async () => {
  const seed = pickSeed()
  console.log(`seed ${seed}`)
  const random = randomFrom(seed)
  await using unit = await memoryUnit()
  const file = new URL('client-children/worker.js', import.meta.url)
  for (let round = 0; round < 15; round++) {
    const workerData = { index: builtIndex, address: unit.address, name: `worker-${round}` }
    const worker = new Worker(file, { workerData, execArgv: [] })
    const failed = new Promise<never>((_, reject) => worker.once('error', reject))
    failed.catch(() => undefined)
    // A third of them while they still load and connect.
    if (random() < 0.66) await Promise.race([new Promise((resolve) => worker.once('message', resolve)), failed])
    await new Promise((resolve) => setTimeout(resolve, random() * 60))
    expect(await worker.terminate()).toBe(1)
  }
  await using client = await connect(unit.address)
  await using region = await client.createRegion('after', { bytes: 10, mode: 'raw' })
  await region.write(0, new Uint8Array(10))
})

test('open and close, start and stop, leave no descriptor, no thread and no memory behind', async () => {
  const regionCycle = async (client: Awaited<ReturnType<typeof connect>>) => {
    const region = await client.openRegion('cycled', { mode: 'write', create: { bytes: 4096, mode: 'raw' } })
    await region.write(0, new Uint8Array(16))
    await region.close()
  }
  const unitCycle = async () => {
    const unit = await memoryUnit(4 * MiB)
    const client = await connect(unit.address)
    await regionCycle(client)
    await client.close()
    await unit.close()
  }
  const settled = async () => {
    for (let i = 0; i < 3; i++) {
      globalThis.gc?.()
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  }

  for (let i = 0; i < 5; i++) await unitCycle()
  await settled()
  const before = { descriptors: descriptors(), threads: threads() }
  for (let i = 0; i < 20; i++) await unitCycle()
  await settled()
  expect({ descriptors: descriptors(), threads: threads() }).toEqual(before)

  await using unit = await memoryUnit(4 * MiB)
  await using client = await connect(unit.address)
  for (let i = 0; i < 1500; i++) await regionCycle(client)
  await settled()
  const warm = { descriptors: descriptors(), threads: threads() }
  const resident = residentBytes()
  const cycles = 1000
  for (let i = 0; i < cycles; i++) await regionCycle(client)
  await settled()
  expect({ descriptors: descriptors(), threads: threads() }).toEqual(warm)
  const growth = (residentBytes() - resident) / cycles
  console.log(`resident memory grew by ${growth.toFixed(0)} bytes a cycle`)
  expect(growth).toBeLessThan(1024)
})

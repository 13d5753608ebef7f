import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { expect, test } from 'vitest'
import { connect, PersistentMemoryUnit } from '../../src/index.js'
import { builtIndex, ended, MiB, nextMessage, pickSeed, randomFrom, startChild } from './client-support.js'

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
  for (let round = 0; round < 30; round++) {
    const workerData = { index: builtIndex, address: unit.address, name: `worker-${round % 5}` }
    const worker = new Worker(file, { workerData, execArgv: [] })
    const failed = once(worker, 'exit').then(([code]) => code)
    // Half of them while they still load and connect.
    await once(worker, round % 2 === 0 ? 'online' : 'message')
    const ending = await Promise.race([failed, new Promise((resolve) => setTimeout(resolve, random() * 100, 'runs'))])
    expect(ending).toBe('runs')
    expect(await worker.terminate()).toBe(1)
  }
  await using client = await connect(unit.address)
  await using region = await client.createRegion('after', { bytes: 10, mode: 'raw' })
  await region.write(0, new Uint8Array(10))
})

interface Left {
  descriptors: number
  threads: number
  resident: number
}

test('open and close, start and stop, leave no descriptor, no thread and no memory behind', async () => {
  const [unitCycles, regionCycles] = [20, 1000]
  const child = startChild('cycles.js', builtIndex, String(unitCycles), String(regionCycles))
  const left = await nextMessage<Record<'unitsBefore' | 'unitsAfter' | 'regionsBefore' | 'regionsAfter', Left>>(child)
  expect(await ended(child)).toEqual({ code: 0, output: '' })
  const { unitsBefore, unitsAfter, regionsBefore, regionsAfter } = left
  const perUnit = (unitsAfter.resident - unitsBefore.resident) / unitCycles
  const perRegion = (regionsAfter.resident - regionsBefore.resident) / regionCycles
  console.log(`resident memory grew by ${perUnit.toFixed(0)} bytes a unit and ${perRegion.toFixed(0)} bytes a region`)
  expect(counts(unitsAfter)).toEqual(counts(unitsBefore))
  expect(counts(regionsAfter)).toEqual(counts(regionsBefore))
  expect(perRegion).toBeLessThan(1024)
})

function counts({ descriptors, threads }: Left) {
  return { descriptors, threads }
}

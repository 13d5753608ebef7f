import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { expect, test } from 'vitest'
import { connect, PersistentMemoryUnit } from '../../src/index.js'
import { builtIndex, ended, MiB, nextMessage, pickSeed, randomFrom, startChild } from './client-support.js'

const memoryUnit = (bytes = 96 * MiB) => PersistentMemoryUnit.start({ pool: { medium: 'memory', bytes } })

/** The device may be an emulated machine's, which takes seconds to start a worker or a process. */
const onDevice = process.env.RDMA_CHECKPOINT_TEST_ADDRESS !== undefined
const long = process.env.RC_LONG === '1'

test('a process that forgets to close ends by itself', async () => {
  await using unit = await memoryUnit()
  const started = performance.now()
  const child = startChild('forgets-to-close.js', builtIndex, unit.address, 'forgotten')
  expect(await ended(child)).toEqual({ code: 0, output: 'forgotten\n' })
  expect(performance.now() - started).toBeLessThan(onDevice ? 60_000 : 10_000)
})

test('a process that has given an append up does not stay for a unit that is gone', async () => {
  const unit = startChild('unit.js', builtIndex, '127.0.0.1:0', 'memory')
  const { address } = await nextMessage<{ address: string }>(unit)
  const child = startChild('gives-up.js', builtIndex, address)
  await nextMessage(child)
  unit.kill('SIGKILL')
  await once(unit, 'exit')
  const started = performance.now()
  child.send('gone')
  expect(await ended(child)).toEqual({ code: 0, output: 'CONNECTION_LOST\n' })
  // What it had sent is tried for 30 s, as long as the process has something else to do.
  expect(performance.now() - started).toBeLessThan(20_000)
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
  for (let round = 0; round < (onDevice ? 6 : long ? 100 : 16); round++) {
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
  const [unitCycles, regionCycles] = onDevice ? [2, 25] : [10, long ? 1000 : 300]
  const child = startChild('cycles.js', builtIndex, String(unitCycles), String(regionCycles))
  const [first, ...rounds] = (await nextMessage<Left[]>(child)) as [Left, ...Left[]]
  expect(await ended(child)).toEqual({ code: 0, output: '' })
  for (const round of rounds) expect({ ...round, resident: 0 }).toEqual({ ...first, resident: 0 })
  // The heap breathes by more than what is looked for; the least of several rounds shows what stays.
  const least = (from: number) => Math.min(...rounds.slice(from, from + 3).map(({ resident }) => resident))
  const cycles = 3 * (unitCycles + regionCycles)
  const growth = (least(3) - least(0)) / cycles
  console.log(`resident memory grew by ${growth.toFixed(0)} bytes a cycle over ${cycles} cycles`)
  // AddressSanitizer keeps what was freed, and few cycles are lost in the heap's breathing.
  if (!onDevice && !(process.env.LD_PRELOAD ?? '').includes('libasan')) expect(growth).toBeLessThan(2048)
})

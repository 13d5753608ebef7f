/** What a new owner builds on cannot vanish with the unit: on a file whose unsynced writes a kill loses. */
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { connect, json } from '../../src/index.js'
import { ask, killChildren, MiB, ownerProcess } from '../integration/failover-support.js'
import { rounds, seedOf } from './support/long.js'
import { Random } from './support/random.mjs'
import { shadowAddon, temporaryFolder, UnitProcess } from './support/unit-process.js'

const env = { RDMA_CHECKPOINT_ADDON: shadowAddon }
let folder: string
let unit: UnitProcess | undefined

beforeEach(() => {
  folder = temporaryFolder()
})
afterEach(async () => {
  await killChildren()
  await unit?.kill()
  rmSync(folder, { recursive: true, force: true })
})

async function startUnit(): Promise<UnitProcess> {
  unit = await UnitProcess.start({ pool: { medium: 'file', path: `${folder}/pool`, bytes: 16 * MiB }, env })
  return unit
}

/** An owner that has saved ten checkpoints which are visible and no more. */
async function ownerWithTail(address: string) {
  const owner = await ownerProcess(address, 'r')
  for (let i = 1; i <= 10; i++) {
    expect(await ask(owner.process, { append: `state ${i}`, visible: true }, 'appended')).toEqual({ appended: `${i}` })
  }
  return owner
}

async function latestAfterUnitKill(): Promise<unknown> {
  await unit?.kill()
  const { address } = await startUnit()
  await using client = await connect(address)
  const region = await client.openRegion('r')
  return (await region.checkpoints({ codec: json }).latest())?.value
}

test.each(['write', 'takeOver'] as const)('what a takeover by %s found visible survives the unit', async (mode) => {
  const { address } = await startUnit()
  const owner = await ownerWithTail(address)
  if (mode === 'write') {
    owner.process.kill('SIGKILL')
    await once(owner.process, 'exit')
  }
  const client = await connect(address, { retryMs: 0 })
  const region = await client.openRegion('r', { mode, timeoutMs: 20_000 })
  expect(region.epoch).toBe(2n)
  // It only reads: what it decides on that is not in the region.
  expect((await region.checkpoints({ codec: json }).latest())?.value).toBe('state 10')
  expect(await latestAfterUnitKill()).toBe('state 10')
  await client.close({ timeoutMs: 1 })
})

test('so does what an owner left visible that closed in order', async () => {
  const { address } = await startUnit()
  const owner = await ownerWithTail(address)
  await ask(owner.process, { close: true }, 'closed')
  const client = await connect(address, { retryMs: 0 })
  const region = await client.openRegion('r', { mode: 'write' })
  expect((await region.checkpoints({ codec: json }).latest())?.value).toBe('state 10')
  expect(await latestAfterUnitKill()).toBe('state 10')
  await client.close({ timeoutMs: 1 })
})

// Writes of all sizes, some of them flushed, the last of them under way when the region is taken over.
test('after a takeover the unit loses no byte that its new owner has read', async () => {
  const seed = seedOf('takeover-durable')
  const random = new Random(seed, 1)
  const bytes = 4 * MiB
  for (let round = 0; round < rounds({ long: 20, ci: 3 }); round++) {
    const { address } = await startUnit()
    const old = await connect(address, { retryMs: 0 })
    const written = await old.openRegion('bytes', { mode: 'takeOver', create: { bytes, mode: 'raw' } })
    const inFlight: Promise<unknown>[] = []
    for (let write = 0; write < 150; write++) {
      const length = random.chance(0.2) ? random.integer(64 * 1024, 512 * 1024) : random.integer(1, 9000)
      const content = new Uint8Array(length).fill(random.integer(1, 255))
      const durability = random.chance(0.3) ? 'durable' : 'visible'
      const call = written.write(random.integer(0, bytes - length), content, { durability }).catch(() => undefined)
      if (write < 130) await call
      else inFlight.push(call)
    }
    const client = await connect(address, { retryMs: 0 })
    const region = await client.openRegion('bytes', { mode: 'takeOver', timeoutMs: 20_000 })
    const read = await region.read(0, bytes)
    expect(read.some((byte) => byte !== 0)).toBe(true)
    await unit?.kill()
    await Promise.all(inFlight)
    await old.close({ timeoutMs: 1 })
    await client.close({ timeoutMs: 1 })

    const again = await startUnit()
    await using reader = await connect(again.address)
    const after = await (await reader.openRegion('bytes')).read(0, bytes)
    expect(Buffer.compare(read, after), `seed ${seed}, round ${round}`).toBe(0)
    await unit?.kill()
  }
}, 120_000)

test('the control: without a takeover the kill of the unit loses it', async () => {
  const { address } = await startUnit()
  await ownerWithTail(address)
  expect(await latestAfterUnitKill()).toBeUndefined()
})

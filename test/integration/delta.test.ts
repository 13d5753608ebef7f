import { randomFillSync } from 'node:crypto'
import { expect, test } from 'vitest'
import { type CheckpointInfo, connect, PersistentMemoryUnit } from '../../src/index.js'
import { MiB, pickSeed, randomFrom } from './client-support.js'

test('deltas of a state go to a unit, and another process restores any of them, follows them, and goes on', async () => {
  const seed = pickSeed()
  console.log(`seed ${seed}`)
  const random = randomFrom(seed)
  await using unit = await PersistentMemoryUnit.start({ pool: { medium: 'memory', bytes: 32 * MiB } })
  await using writer = await connect(unit.address)
  const region = await writer.createRegion('state', { bytes: 16 * MiB })
  const log = region.log({ delta: { fullEvery: 8 } })
  await using client = await connect(unit.address)
  const reader = (await client.openRegion('state')).checkpoints()
  await using follow = reader.follow()
  const state = randomFillSync(new Uint8Array(2 * MiB))
  const states = new Map<bigint, Uint8Array>()
  for (let count = 0; count < 20; count++) {
    randomFillSync(state, Math.floor(random() * (state.length - 5000)), 5000)
    const { sequence } = await log.append(state)
    states.set(sequence, state.slice())
    const { value } = await follow.next()
    expect(value?.sequence).toBe(sequence)
    expect(Buffer.compare(value?.value ?? Buffer.of(), state)).toBe(0)
  }
  const infos = (await reader.list()) as CheckpointInfo[]
  expect(infos.filter(({ baseSequence }) => baseSequence === undefined).map(({ sequence }) => sequence)).toEqual([
    1n,
    9n,
    17n,
  ])
  for (const { baseSequence, storedBytes } of infos)
    if (baseSequence !== undefined) expect(storedBytes).toBeLessThan(6000)
  for (const sequence of [1n, 2n, 8n, 9n, 16n, 20n]) {
    expect(Buffer.compare((await reader.at(sequence)).value, states.get(sequence) ?? Buffer.of())).toBe(0)
  }
  await region.close()
  const next = await client.openRegion('state', { mode: 'write' })
  const latest = await next.checkpoints().latest()
  expect(Buffer.compare(latest?.value ?? Buffer.of(), state)).toBe(0)
  await next.log({ delta: { fullEvery: 8 } }).append(state)
  expect((await next.checkpoints().list()).at(-1)).toMatchObject({ sequence: 21n, storedBytes: 2 * MiB })
})

test('two logs of one region handle do not write over each other', async () => {
  await using unit = await PersistentMemoryUnit.start({ pool: { medium: 'memory', bytes: 8 * MiB } })
  await using client = await connect(unit.address)
  const region = await client.createRegion('shared', { bytes: MiB })
  const [a, b] = [region.log(), region.log({ delta: { fullEvery: 4 } })]
  for (let round = 0; round < 5; round++) {
    await a.append(Uint8Array.of(1, round))
    await b.append(new Uint8Array(1000).fill(round))
  }
  const all = await region.checkpoints().all()
  expect(all.map(({ sequence }) => sequence)).toEqual([1n, 2n, 3n, 4n, 5n, 6n, 7n, 8n, 9n, 10n])
  expect(all.map(({ value }) => value.at(-1))).toEqual([0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
})

/** Deltas of a large state that is edited at random: every checkpoint is exact, and costs about what was changed. */
import { createHash, randomFillSync } from 'node:crypto'
import { expect, test } from 'vitest'
import { type CheckpointInfo, connect, PersistentMemoryUnit } from '../../src/index.js'
import { MiB, pickSeed, randomFrom } from './client-support.js'

const long = process.env.RC_LONG === '1'
const headerBytes = 128

const hashOf = (bytes: Uint8Array) => createHash('sha1').update(bytes).digest('hex')

const { stateMiB, checkpoints, restores, fullEvery } = long
  ? { stateMiB: 64, checkpoints: 1000, restores: 50, fullEvery: 100 }
  : { stateMiB: 16, checkpoints: 60, restores: 12, fullEvery: 20 }

test(`${restores} of ${checkpoints} checkpoints of a ${stateMiB} MiB state under random edits are restored exactly`, async () => {
  const seed = pickSeed()
  console.log(`seed ${seed}`)
  const random = randomFrom(seed)
  const integer = (below: number) => Math.floor(random() * below)
  const state = randomFillSync(new Uint8Array(stateMiB * MiB))
  // Every full record, and as much again for what was changed.
  const regionBytes = 2 * Math.ceil(checkpoints / fullEvery) * state.length
  // The tables of a pool grow with it.
  const poolBytes = regionBytes + regionBytes / 16 + 8 * MiB
  await using unit = await PersistentMemoryUnit.start({ pool: { medium: 'memory', bytes: poolBytes } })
  await using client = await connect(unit.address)
  const region = await client.createRegion('state', { bytes: regionBytes })
  const log = region.log({ delta: { fullEvery } })

  const wanted = new Set<number>()
  while (wanted.size < restores) wanted.add(1 + integer(checkpoints))
  const hashes = new Map<bigint, string>()
  let changed = 0
  for (let number = 1; number <= checkpoints; number++) {
    // Up to 1 % of the state, less more often than much, in pieces from a byte to 64 KiB.
    for (let left = Math.ceil((state.length / 100) * random() ** 3); left > 0; ) {
      const piece = Math.min(left, Math.ceil(65_536 ** random()))
      randomFillSync(state, integer(state.length - piece), piece)
      left -= piece
      changed += piece
    }
    const { sequence } = await log.append(state)
    if (wanted.has(number)) hashes.set(sequence, hashOf(state))
  }

  await using other = await connect(unit.address)
  const reader = (await other.openRegion('state')).checkpoints()
  for (const [sequence, hash] of hashes) {
    expect(hashOf((await reader.at(sequence)).value), `checkpoint ${sequence}, RC_SEED=${seed}`).toBe(hash)
  }
  const infos = (await reader.list()) as CheckpointInfo[]
  expect(infos).toHaveLength(checkpoints)
  const deltas = infos.filter(({ baseSequence }) => baseSequence !== undefined)
  expect(deltas.length).toBe(checkpoints - Math.ceil(checkpoints / fullEvery))
  const stored = deltas.reduce((sum, { storedBytes }) => sum + storedBytes + headerBytes, 0)
  console.log(
    `${deltas.length} deltas of ${(stored / MiB).toFixed(1)} MiB for ${(changed / MiB).toFixed(1)} MiB changed; ` +
      `${hashes.size} restored exactly`,
  )
  expect(hashes.size).toBe(restores)
})

test('a change of 1 % in pieces of 4 KiB sends at most 1.3 % of the state; the smaller the pieces, the more', async () => {
  const state = randomFillSync(new Uint8Array(64 * MiB))
  await using unit = await PersistentMemoryUnit.start({ pool: { medium: 'memory', bytes: 272 * MiB } })
  await using client = await connect(unit.address)
  const region = await client.createRegion('state', { bytes: 256 * MiB })
  const log = region.log({ delta: { fullEvery: 100 } })
  await log.append(state)
  const percent = new Map<number, number>()
  for (const piece of [4096, 1024, 256]) {
    for (let left = state.length / 100; left > 0; left -= piece) {
      randomFillSync(state, Math.floor(Math.random() * (state.length - piece)), piece)
    }
    const { sequence } = await log.append(state)
    const info = ((await log.list()) as CheckpointInfo[]).at(-1)
    expect(info).toMatchObject({ sequence, baseSequence: 1n })
    percent.set(piece, ((info!.storedBytes + headerBytes) / state.length) * 100)
  }
  console.log([...percent].map(([piece, sent]) => `pieces of ${piece} B: ${sent.toFixed(3)} %`).join(', '))
  expect(percent.get(4096)).toBeLessThanOrEqual(1.3)
  // Of 256 bytes at any place two blocks are sent.
  expect(percent.get(256)).toBeLessThanOrEqual(2.3)
  expect(Buffer.compare((await log.latest())!.value, state)).toBe(0)
})

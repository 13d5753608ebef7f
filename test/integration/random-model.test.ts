import { expect, test } from 'vitest'
import { connect, PersistentMemoryUnit } from '../../src/index.js'
import { rounds } from '../fault/support/long.js'
import { MiB, pickSeed, randomFrom } from './client-support.js'

const steps = rounds({ long: 100_000, ci: 10_000 })
const regionBytes = 16 * MiB
const longest = 4 * MiB

/** 0 B to 4 MiB, each power of two as likely as the next. */
function logUniform(random: () => number): number {
  return Math.floor(2 ** (random() * (Math.log2(longest + 1) + 1)) / 2)
}

/** Source of bytes to write: a window into it at a random place, so that making them costs nothing. */
function noise(random: () => number, bytes: number): Uint8Array {
  const all = new Uint8Array(bytes)
  const words = new Uint32Array(all.buffer)
  for (let i = 0; i < words.length; i++) words[i] = random() * 2 ** 32
  return all
}

test(`${steps} random writes and reads agree with a model in memory`, async () => {
  const seed = pickSeed()
  console.log(`seed ${seed} (RC_SEED=${seed} repeats it)`)
  const random = randomFrom(seed)
  await using unit = await PersistentMemoryUnit.start({ pool: { medium: 'memory', bytes: regionBytes + 4 * MiB } })
  await using client = await connect(unit.address)
  await using region = await client.createRegion('model', { bytes: regionBytes, mode: 'raw' })
  const model = new Uint8Array(regionBytes)
  const source = noise(random, 2 * longest)
  const into = client.allocate(longest)
  let writes = 0
  let reads = 0
  const range = () => {
    const length = Math.min(logUniform(random), longest)
    return { offset: Math.floor(random() * (regionBytes - length + 1)), length }
  }
  const slice = (length: number) => {
    const from = Math.floor(random() * (source.length - length + 1))
    return source.subarray(from, from + length)
  }
  const compare = (bytes: Uint8Array, offset: number) => {
    reads++
    if (Buffer.compare(bytes, model.subarray(offset, offset + bytes.length)) === 0) return
    const at = bytes.findIndex((byte, index) => byte !== model[offset + index])
    throw new Error(
      `seed ${seed}: ${bytes.length} bytes at ${offset} differ from byte ${at} on, after ${writes} writes`,
    )
  }
  // Rounds of several calls at once: writes are posted in order, and a read behind them sees them.
  while (writes + reads < steps) {
    const pending: Promise<unknown>[] = []
    const count = 1 + Math.floor(random() * 8)
    for (let i = 0; i < count; i++) {
      const { offset, length } = range()
      if (random() < 0.8) {
        const bytes = slice(length)
        pending.push(region.write(random() < 0.5 ? offset : BigInt(offset), bytes))
        model.set(bytes, offset)
        writes++
      } else {
        const ranges = Array.from({ length: 1 + Math.floor(random() * 5) }, range).map((one) => ({
          offset: one.offset,
          bytes: slice(Math.floor(one.length / 4)),
        }))
        pending.push(region.writeAll(ranges))
        for (const { offset: at, bytes } of ranges) model.set(bytes, at)
        writes++
      }
    }
    await Promise.all(pending)
    const checks: Promise<void>[] = []
    for (let i = 0; i < count; i++) {
      const { offset, length } = range()
      if (i === 0) {
        const bytes = into.bytes.subarray(0, length)
        checks.push(region.readInto({ offset, bytes }).then(() => compare(bytes, offset)))
      } else checks.push(region.read(offset, length).then((bytes) => compare(bytes, offset)))
    }
    await Promise.all(checks)
  }
  compare(await region.read(0, regionBytes), 0)
  expect(writes).toBeGreaterThan(steps / 3)
  expect(reads).toBeGreaterThan(steps / 3)
})

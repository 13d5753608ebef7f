// Memory of allocate(): the same bytes as with any other, and on a device without a copy.
import { execFile, execFileSync } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, test } from 'vitest'
import { connect, PersistentMemoryUnit } from '../../src/index.js'
import { dataTransport } from '../data-plane.js'
import { builtIndex, MiB, randomFrom } from './client-support.js'

const onDevice = dataTransport === 'verbs'
const startUnit = () => PersistentMemoryUnit.start({ pool: { medium: 'memory', bytes: 32 * MiB } })

/** Memory registrations that the kernel counts, of all processes. */
function registrations(): number {
  const text = execFileSync('rdma', ['resource', 'show'], { encoding: 'utf8' })
  return [...text.matchAll(/ mr (\d+)/g)].reduce((sum, [, count]) => sum + Number(count), 0)
}

async function until(condition: () => boolean, what: string): Promise<void> {
  for (let tries = 0; tries < 100; tries++) {
    if (condition()) return
    await sleep(20)
  }
  throw new Error(`${what}: it did not come true; ${registrations()} registrations`)
}

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

test('writes and reads through allocated memory, whole, in parts and mixed with other memory, are exact', async () => {
  const seed = Number(process.env.RC_SEED ?? Date.now() % 1e9)
  const random = randomFrom(seed)
  const below = (limit: number) => Math.floor(random() * limit)
  await using unit = await startUnit()
  await using client = await connect(unit.address)
  const bytes = 4 * MiB
  const region = await client.createRegion('r', { bytes, mode: 'raw' })
  const model = new Uint8Array(bytes)
  const memories = [client.allocate(MiB).bytes, client.allocate(5).bytes, new Uint8Array(MiB)]
  for (let round = 0; round < 150; round++) {
    const ranges = Array.from({ length: 1 + below(4) }, (_, index) => {
      const memory = memories[below(memories.length)] as Uint8Array
      const from = below(memory.length)
      const part = memory.subarray(from, from + 1 + below(round % 10 === 0 ? memory.length : 9000))
      return { offset: index * MiB + below(MiB - part.length), bytes: part }
    })
    for (const { bytes: part } of ranges) part.fill(1 + below(255))
    if (round % 2 === 0) {
      await region.writeAll(ranges, { durability: 'visible' })
      for (const { offset, bytes: part } of ranges) model.set(part, offset)
    } else {
      // Parts may overlap in memory, so that each is looked at by itself.
      for (const range of ranges) {
        await region.readInto(range)
        const expected = model.subarray(range.offset, range.offset + range.bytes.length)
        expect(Buffer.compare(range.bytes, expected), `seed ${seed}, round ${round}`).toBe(0)
      }
    }
  }
  expect(Buffer.compare(await region.read(0, bytes), model), `seed ${seed}`).toBe(0)
})

test('a process that has allocated memory ends by itself', async () => {
  await using unit = await startUnit()
  const script = fileURLToPath(new URL('client-children/ends-by-itself.js', import.meta.url))
  const { stdout } = await promisify(execFile)(process.execPath, [script, builtIndex, unit.address], {
    timeout: 30_000,
  })
  expect(stdout).toBe('closed\n')
})

test.runIf(onDevice)(
  'allocated memory is registered once, until it is collected or its last client closes',
  async () => {
    await using unit = await startUnit()
    const options = { bytes: MiB, mode: 'raw' } as const
    await using other = await connect(unit.address)
    const warm = await other.createRegion('warm', options)
    await warm.write(0, new Uint8Array(MiB), { durability: 'visible' })
    await using client = await connect(unit.address)
    const region = await client.createRegion('r', options)
    await region.write(0, new Uint8Array(MiB), { durability: 'visible' })
    const before = registrations()

    const kept = client.allocate(MiB)
    await (async () => {
      const dropped = client.allocate(MiB)
      for (let turn = 0; turn < 3; turn++) {
        await region.write(0, kept.bytes, { durability: 'visible' })
        await region.readInto({ offset: 0, bytes: dropped.bytes.subarray(4096) })
        // Another connection to the same device needs none of its own.
        await warm.write(0, kept.bytes, { durability: 'visible' })
      }
      expect(registrations()).toBe(before + 2)
    })()
    await until(() => {
      collectGarbage()
      return registrations() === before + 1
    }, 'the memory that nobody has any more is let go')

    const whileOpen = registrations()
    await other.close()
    await client.close()
    // What the connections had themselves goes, too.
    await until(() => registrations() < whileOpen - 1, 'closing the last client lets go of all')
    expect(kept.bytes.length).toBe(MiB)
  },
)

test.runIf(onDevice)(
  'of the limit of locked memory half is left, and what may not be registered is copied',
  async () => {
    await using unit = await startUnit()
    const script = fileURLToPath(new URL('client-children/limited-memory.js', import.meta.url))
    const told = async (limit: number, ...sizes: number[]) => {
      const limits = ['--bounding-set=-ipc_lock', '--inh-caps=-ipc_lock', 'prlimit', `--memlock=${limit * MiB}`]
      const child = [process.execPath, script, unit.address, ...sizes.map(String)]
      const { stdout } = await promisify(execFile)('setpriv', [...limits, ...child], { timeout: 120_000 })
      return stdout.trim()
    }
    // Registrations that came with each: its own, or the memory that it is copied through, or none any more. The kernel would allow
    // the second of these, too.
    expect(await told(64, 20, 16, 8)).toBe('20: 1, 16: 0, 8: 1')
    // Below 32 MiB nothing, so that the connection finds what it needs itself.
    expect(await told(8, 4)).toBe('4: 1')
  },
)

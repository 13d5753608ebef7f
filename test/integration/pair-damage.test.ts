/** The newest checkpoint was durable and is damaged: what a pair makes of it is the application's to say. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import {
  CheckpointError,
  connect,
  type LogEvent,
  type PairOptions,
  PersistentMemoryUnit,
  ProcessPair,
  type WaitingEvent,
} from '../../src/index.js'
import { sleep } from './failover-support.js'

const folder = mkdtempSync(path.join(tmpdir(), 'rc-pair-damage-'))
const whole = path.join(folder, 'whole')
const file = path.join(folder, 'damaged')
const count = 5
let unit: PersistentMemoryUnit

beforeAll(async () => {
  unit = await PersistentMemoryUnit.start({ pool: { medium: 'file', path: whole, bytes: 4 << 20, create: true } })
  const client = await connect(unit.address)
  const log = (await client.createRegion('r', { bytes: 65_536 })).log()
  for (let number = 1; number <= count; number++) await log.append(Buffer.alloc(300, number))
  await client.close()
  await unit.close()
})
beforeEach(async () => {
  const bytes = readFileSync(whole)
  const at = bytes.indexOf(Buffer.alloc(300, count))
  expect(at).toBeGreaterThan(0)
  bytes.writeUInt8(count ^ 1, at + 10)
  writeFileSync(file, bytes)
  unit = await PersistentMemoryUnit.start({ pool: { medium: 'file', path: file } })
})
afterEach(() => unit.close())
afterAll(() => rmSync(folder, { recursive: true, force: true }))

interface Seen {
  pair: ProcessPair
  running: Promise<void>
  errors: unknown[]
  waiting: WaitingEvent[]
  logDamaged: LogEvent[]
  states: (number | undefined)[]
}

function run(options: Partial<PairOptions<Uint8Array>> = {}): Seen {
  const states: (number | undefined)[] = []
  const pair = new ProcessPair(unit.address, {
    region: 'r',
    async onPrimary({ state, log, signal }) {
      states.push(state?.[0])
      await log.append(Buffer.alloc(300, 9))
      if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve))
    },
    ...options,
  })
  const seen: Seen = { pair, running: pair.run(), errors: [], waiting: [], logDamaged: [], states }
  seen.running.catch(() => undefined)
  pair.addEventListener('error', ({ error }) => seen.errors.push(error))
  pair.addEventListener('waiting', (event) => seen.waiting.push(event))
  pair.addEventListener('log-damaged', (event) => seen.logDamaged.push(event))
  return seen
}

const damaged = expect.objectContaining({ code: 'CHECKPOINT_DAMAGED' })

test.each(['cold', 'hot'] as const)(
  'a pair outlives it, says so once, tries again at a pace, and goes on when the log has been cleared (%s)',
  async (standby) => {
    const seen = run({ standby })
    const other = run({ standby })
    await sleep(2_500)
    for (const { pair, errors, waiting, states } of [seen, other]) {
      expect(pair.role).not.toBe('stopped')
      expect(errors).toEqual([damaged])
      expect(waiting.map(({ reason, error }) => [reason, error])).toEqual([['damage', damaged]])
      expect(states).toEqual([])
    }
    // Each took the region at 0 s and 1 s, not in turns as fast as they could.
    expect(seen.pair.epoch).toBeLessThan(9n)
    const client = await connect(unit.address)
    for (;;) {
      const region = await client.openRegion('r', { mode: 'write' }).catch((error: CheckpointError) => error)
      if (region instanceof CheckpointError) await sleep(20)
      else {
        await region.log().clear()
        await region.close()
        break
      }
    }
    while (seen.states.length + other.states.length === 0) await sleep(20)
    expect([...seen.states, ...other.states]).toEqual([undefined])
    await Promise.all([seen.pair[Symbol.asyncDispose](), other.pair[Symbol.asyncDispose]()])
    await Promise.all([seen.running, other.running])
    await client.close()
  },
  20_000,
)

test('with `earlier` it is primary with the newest state that is whole, and goes on behind the damage', async () => {
  const told: unknown[] = []
  const shown: bigint[] = []
  const seen = run({
    standby: 'hot',
    onStandby: ({ sequence }) => shown.push(sequence),
    onDamage(error) {
      told.push(error)
      return Promise.resolve('earlier' as const)
    },
  })
  while (seen.logDamaged.length === 0) await sleep(10)
  expect(seen.states).toEqual([count - 1])
  expect(shown.at(-1)).toBe(BigInt(count - 1))
  expect(told).toEqual([damaged])
  expect((told[0] as CheckpointError).details).toMatchObject({ from: BigInt(count), to: BigInt(count) })
  expect(seen.errors).toEqual([damaged])
  expect(seen.logDamaged[0]).toMatchObject({ region: 'r', range: { from: BigInt(count), to: BigInt(count) } })
  await seen.pair[Symbol.asyncDispose]()
  await seen.running
})

test('with `stop` run() rejects with it, and a choice that there is not is refused', async () => {
  await expect(run({ onDamage: () => 'stop' }).running).rejects.toEqual(damaged)
  const odd = run({ onDamage: (() => 'ignore') as unknown as () => 'stop' })
  await expect(odd.running).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  const mistake = new Error('a mistake of the application')
  await expect(run({ onDamage: () => Promise.reject(mistake) }).running).rejects.toBe(mistake)
})

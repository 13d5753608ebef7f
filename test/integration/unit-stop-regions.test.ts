/**
 * A unit that is stopped by SIGTERM while clients make, open, close and delete regions: it ends with 0 in bounded time, every call
 * ends with success or a documented code, and after a new start a region is there as it was asked for, or not at all.
 */
import { rmSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test, vi } from 'vitest'
import {
  CheckpointError,
  type Client,
  connect,
  type ErrorCode,
  type Region,
  type RegionOptions,
} from '../../src/index.js'
import { rounds, seedOf } from '../fault/support/long.js'
import { Random } from '../fault/support/random.mjs'
import { temporaryFolder, UnitProcess, within } from '../fault/support/unit-process.js'

const KiB = 1024
/** Two seconds for calls and ten for connections, on a slow machine. */
const stopMs = 40_000
const callMs = 3_000
/** A call, the wait for its connection, and a close. */
const laneMs = 30_000
/** A stop is at most so long after the clients have begun. */
const mostWorkMs = 300
const lanes = 3
vi.setConfig({ testTimeout: 30 * stopMs })

/** What a call may end with when its unit is stopping, away, or back with the owner on record. */
const expected: ReadonlySet<ErrorCode> = new Set([
  'UNIT_STOPPING',
  'CONNECTION_LOST',
  'CONNECTION_REFUSED',
  'SESSION_EXPIRED',
  'TIMEOUT',
  'TOKEN_INVALID',
  'REGION_BUSY',
  'FENCED',
])

/** What was asked for under one name, and what the answers allow. */
interface Asked {
  readonly name: string
  readonly options: RegionOptions & { readonly bytes: number }
  /** `maybe`: the call that makes or deletes it had no answer. */
  there: 'yes' | 'no' | 'maybe'
  /** Contents that it may have, the oldest first: those that came after the newest one that is durable, and that one. */
  contents: number[]
}

class Lane {
  readonly regions: Asked[] = []
  readonly codes: string[] = []
  /** No further calls. */
  over = false
  #count = 0

  constructor(
    readonly client: Client,
    readonly prefix: string,
    readonly random: Random,
  ) {}

  async run(): Promise<void> {
    while (!this.over) {
      try {
        await this.#step()
        this.codes.push('ok')
      } catch (error) {
        if (!(error instanceof CheckpointError) || !expected.has(error.code)) throw error
        this.codes.push(error.code)
      }
    }
  }

  async #step(): Promise<void> {
    const { client, random, regions } = this
    const known = regions.filter(({ there }) => there === 'yes')
    if (known.length < 2 || random.chance(0.4))
      await this.#use(this.#newName(), random.chance(0.5) ? 'create' : 'ensure')
    else if (random.chance(0.7)) await this.#use(random.pick(known), 'open')
    else {
      const asked = random.pick(known)
      asked.there = 'maybe'
      await this.#changes(asked, 'yes', client.deleteRegion(asked.name, { timeoutMs: callMs }))
      asked.there = 'no'
    }
  }

  #newName(): Asked {
    const { random } = this
    const bytes = random.integer(1, 64) * KiB
    const options = { bytes, mode: 'raw', labels: { lane: this.prefix } } as const
    const asked: Asked = { name: `${this.prefix}/${this.#count++}`, options, there: 'no', contents: [0] }
    this.regions.push(asked)
    return asked
  }

  /** Opens it, writes to it, and closes it. */
  async #use(asked: Asked, how: 'create' | 'ensure' | 'open'): Promise<void> {
    const { client } = this
    const { name, options } = asked
    const call = { timeoutMs: callMs }
    let opening: Promise<Region>
    if (how === 'create') opening = client.createRegion(name, { ...options, ...call })
    else opening = client.openRegion(name, { mode: 'write', ...call, ...(how === 'ensure' ? { create: options } : {}) })
    if (how !== 'open') asked.there = 'maybe'
    const region = how === 'open' ? await opening : await this.#changes(asked, 'no', opening)
    asked.there = 'yes'
    try {
      const content = this.random.integer(1, 255)
      asked.contents.push(content)
      await region.write(0, new Uint8Array(asked.options.bytes).fill(content), { durability: 'durable', ...call })
      asked.contents = [content]
    } finally {
      await region.close()
    }
  }

  /** If the call says that it has done nothing, it is as before. */
  async #changes<R>(asked: Asked, before: Asked['there'], call: Promise<R>): Promise<R> {
    try {
      return await call
    } catch (error) {
      if (error instanceof CheckpointError && error.outcome === 'none') asked.there = before
      throw error
    }
  }
}

/** What the unit has is what was asked for; afterwards it has nothing. */
async function check(client: Client, asked: readonly Asked[]): Promise<void> {
  const found = new Map<string, { bytes: number; labels: object }>()
  for await (const { name, bytes, labels } of client.regions()) found.set(name, { bytes: Number(bytes), labels })
  for (const { name, options, there, contents } of asked) {
    const region = found.get(name)
    if (there !== 'maybe') expect(region !== undefined, `${name} is there`).toBe(there === 'yes')
    if (region === undefined) continue
    expect(region).toMatchObject({ bytes: options.bytes, labels: options.labels })
    const owned = await client.openRegion(name, { mode: 'takeOver' })
    const bytes = await owned.read(0, options.bytes)
    // A write without an answer may have landed in part.
    const allowed = new Set(contents)
    expect(bytes.every((byte) => allowed.has(byte))).toBe(true)
    await owned.write(0, new Uint8Array(options.bytes))
    await owned.close()
    await client.deleteRegion(name)
    found.delete(name)
  }
  expect([...found.keys()]).toEqual([])
}

test('a stop amid the making, opening and closing of regions leaves each whole or not there', async () => {
  const seed = seedOf('unit-stop-regions')
  const folder = temporaryFolder()
  const pool = { medium: 'file' as const, path: `${folder}/pool`, bytes: 16 * KiB * KiB }
  let unit = await UnitProcess.start({ pool })
  const { address } = unit
  const outcomes = new Map<string, number>()
  try {
    const empty = await connect(address)
    const { used } = await empty.status()
    await empty.close()
    for (let round = 0; round < rounds({ long: 60, ci: 9 }); round++) {
      const random = new Random(seed, round)
      // Else the clients are gone before the unit is back.
      const comesBack = random.chance(0.5)
      const clients = await Promise.all([connect(address, { retryMs: callMs }), connect(address, { retryMs: callMs })])
      const working: Lane[] = []
      for (let lane = 0; lane < lanes; lane++) {
        const client = clients[lane % clients.length] as Client
        working.push(new Lane(client, `${round}-${lane}`, new Random(seed, round, lane)))
      }
      const running = Promise.all(working.map((lane) => lane.run()))
      running.catch(() => undefined)
      await sleep(random.integer(0, mostWorkMs))
      const stopping = unit.stop()
      // Calls are made up to the end of the unit, and beyond.
      expect(await within(stopping, stopMs, `the stop in round ${round}`)).toBe(0)
      if (comesBack) unit = await UnitProcess.start({ pool, listen: address })
      for (const lane of working) lane.over = true
      await within(running, laneMs, `the calls of round ${round}`)
      await within(Promise.all(clients.map((client) => client.close())), laneMs, `the closes of round ${round}`)
      if (!comesBack) unit = await UnitProcess.start({ pool, listen: address })
      for (const code of working.flatMap(({ codes }) => codes)) outcomes.set(code, (outcomes.get(code) ?? 0) + 1)
      const after = await connect(address)
      await check(
        after,
        working.flatMap(({ regions }) => regions),
      )
      // Nothing that is not in the table takes space.
      expect((await after.status()).used).toBe(used)
      await after.close()
    }
    console.log(`unit-stop-regions: ${JSON.stringify(Object.fromEntries(outcomes))}`)
    expect(outcomes.get('ok')).toBeGreaterThan(0)
    expect(outcomes.size).toBeGreaterThan(1)
  } finally {
    await unit.kill()
    rmSync(folder, { recursive: true, force: true })
  }
})

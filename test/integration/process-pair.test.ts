import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { afterEach, describe, expect, test } from 'vitest'
import { Standby } from '../../src/failover/standby.js'
import { Troubles } from '../../src/failover/troubles.js'
import {
  type Checkpoint,
  type Codec,
  connect,
  json,
  type PairEvent,
  PersistentMemoryUnit,
  ProcessPair,
  type Role,
} from '../../src/index.js'
import { rounds } from '../fault/support/long.js'
import { pickSeed, randomFrom } from './client-support.js'
import { builtIndex, child, killChildren, MiB, sleep, unitProcess, withFolder } from './failover-support.js'

afterEach(killChildren)

const memory = { pool: { medium: 'memory', bytes: 32 * MiB } } as const

interface Ack {
  count: number
  epoch: number
  id: string
}

/** Several processes of one program, and what all of them told. */
class Cluster {
  readonly acks: Ack[] = []
  readonly members = new Map<string, Member>()

  constructor(
    readonly address: string,
    readonly options: object = {},
  ) {}

  add(id: string, more: object = {}): Member {
    const options = { region: 'state', id, ...this.options, ...more }
    const member = new Member(id, child('pair.js', builtIndex, this.address, JSON.stringify(options)), this.acks)
    this.members.set(id, member)
    return member
  }

  get primaries(): Member[] {
    return [...this.members.values()].filter(({ role }) => role === 'primary')
  }

  /** One primary that gets acknowledgements under an epoch of at least so much. */
  async primary(atLeast = 1): Promise<Member> {
    await until(() => this.acks.some(({ epoch }) => epoch >= atLeast), `an acknowledgement of epoch ${atLeast}`)
    const { id } = this.acks.findLast(({ epoch }) => epoch >= atLeast) as Ack
    return this.members.get(id) as Member
  }

  /** One owner an epoch; no acknowledged count is lost, and none is given twice. */
  check(note = ''): void {
    let last = 0
    for (const epoch of [...new Set(this.acks.map((ack) => ack.epoch))].sort((a, b) => a - b)) {
      const acks = this.acks.filter((ack) => ack.epoch === epoch)
      expect(new Set(acks.map(({ id }) => id)).size, `owners of epoch ${epoch} ${note}`).toBe(1)
      for (const { count } of acks) {
        expect(count, `epoch ${epoch} after ${last} ${note}`).toBeGreaterThan(last)
        last = count
      }
    }
  }
}

class Member {
  role: Role = 'joining'
  readonly messages: Record<string, unknown>[] = []

  constructor(
    readonly id: string,
    readonly process: ChildProcess,
    acks: Ack[],
  ) {
    process.on('message', (message: Record<string, unknown>) => {
      this.messages.push(message)
      if (typeof message.role === 'string') this.role = message.role as Role
      if ('acked' in message) acks.push({ count: Number(message.acked), epoch: Number(message.epoch), id })
    })
  }

  async told(field: string, from = 0): Promise<Record<string, unknown>> {
    await until(() => this.messages.slice(from).some((message) => field in message), `${field} of ${this.id}`)
    return this.messages.slice(from).find((message) => field in message) as Record<string, unknown>
  }

  async reaches(role: Role): Promise<void> {
    await until(() => this.role === role, `role ${role} of ${this.id}, which is ${this.role}`)
  }

  async kill(): Promise<void> {
    const exit = once(this.process, 'exit')
    this.process.kill('SIGKILL')
    await exit
    this.role = 'stopped'
  }
}

async function until(condition: () => boolean, what: string, timeoutMs = 30_000): Promise<void> {
  const end = performance.now() + timeoutMs
  while (!condition()) {
    if (performance.now() > end) throw new Error(`${what} did not come within ${timeoutMs} ms`)
    await sleep(5)
  }
}

describe.each(['cold', 'warm', 'hot'] as const)('with %s standbys', (standby) => {
  test('one of several takes over from a primary that is killed, and goes on from what was saved', async () => {
    await using unit = await PersistentMemoryUnit.start(memory)
    const cluster = new Cluster(unit.address, { standby, followMs: 20 })
    for (const id of ['a', 'b', 'c', 'd']) cluster.add(id)
    for (let epoch = 1; epoch <= 3; epoch++) {
      const primary = await cluster.primary(epoch)
      const others = [...cluster.members.values()].filter(({ role, id }) => role !== 'stopped' && id !== primary.id)
      await Promise.all(others.map((member) => member.reaches('standby')))
      expect(cluster.primaries).toEqual([primary])
      await sleep(150)
      await primary.kill()
    }
    await cluster.primary(4)
    expect(cluster.primaries).toHaveLength(1)
    cluster.check()
    expect(new Set(cluster.acks.map(({ epoch }) => epoch))).toEqual(new Set([1, 2, 3, 4]))
    if (standby === 'cold') return
    for (const member of cluster.members.values()) {
      const seen = member.messages.flatMap((message) => ('seen' in message ? [Number(message.seen)] : []))
      expect(seen).toEqual([...new Set(seen)].sort((a, b) => a - b))
      const begins = member.messages.findIndex((message) => 'state' in message)
      // What it begins with is what it was told of last.
      if (begins >= 0 && seen.length > 0) expect(member.messages[begins]?.state).toBe(seen.at(-1))
    }
  })
})

test('a primary that is stopped is replaced, and when it goes on it learns so and follows', async () => {
  await using unit = await PersistentMemoryUnit.start(memory)
  const cluster = new Cluster(unit.address)
  const first = cluster.add('a')
  await cluster.primary(1)
  const second = cluster.add('b')
  await second.reaches('standby')
  for (const [epoch, stopped, next] of [
    [2, first, second],
    [3, second, first],
  ] as const) {
    const from = stopped.messages.length
    stopped.process.kill('SIGSTOP')
    expect(await cluster.primary(epoch)).toBe(next)
    stopped.process.kill('SIGCONT')
    expect(await stopped.told('aborted', from)).toEqual({ aborted: 'FENCED' })
    await stopped.reaches('standby')
    expect(cluster.primaries).toEqual([next])
  }
  cluster.check()
})

test('a hand-over loses nothing, and whoever handed over is a standby then', async () => {
  await using unit = await PersistentMemoryUnit.start(memory)
  const cluster = new Cluster(unit.address, { standby: 'hot', create: { bytes: MiB, lease: { silenceMs: 60_000 } } })
  const members = [cluster.add('a'), cluster.add('b')]
  for (let epoch = 1; epoch <= 6; epoch++) {
    const primary = await cluster.primary(epoch)
    const other = members.find((member) => member !== primary) as Member
    await other.reaches('standby')
    await sleep(50)
    const from = primary.messages.length
    primary.process.send({ handOver: true })
    expect(await cluster.primary(epoch + 1)).toBe(other)
    expect(await primary.told('aborted', from)).toEqual({ aborted: 'CLOSED' })
    await primary.reaches('standby')
    const last = cluster.acks.filter((ack) => ack.epoch === epoch).at(-1)?.count
    expect(other.messages.findLast((message) => 'state' in message)?.state).toBe(last)
  }
  cluster.check()
})

test('a primary that hands over with nobody there to take it takes it back', async () => {
  await using unit = await PersistentMemoryUnit.start(memory)
  const cluster = new Cluster(unit.address)
  const only = cluster.add('a')
  await cluster.primary(1)
  only.process.send({ handOver: true })
  await only.reaches('standby')
  expect(await cluster.primary(2)).toBe(only)
  cluster.check()
})

test('work that is done ends the run, work that fails rejects it, and both leave the region to others', async () => {
  await using unit = await PersistentMemoryUnit.start(memory)
  const cluster = new Cluster(unit.address, { create: { bytes: MiB, lease: { silenceMs: 60_000 } } })
  const [a, b, c] = [cluster.add('a'), cluster.add('b'), cluster.add('c')]
  const first = await cluster.primary(1)
  first.process.send({ finish: true })
  expect(await first.told('ended')).toEqual({ ended: true })
  await first.reaches('stopped')
  const second = await cluster.primary(2)
  second.process.send({ fail: true })
  expect(await second.told('threw')).toEqual({ threw: 'the work failed' })
  const third = await cluster.primary(3)
  expect(new Set([first, second, third])).toEqual(new Set([a, b, c]))
  third.process.send({ stop: true })
  expect(await third.told('ended')).toEqual({ ended: true })
  cluster.check()
})

test('an outage of the unit ends no run: the primary goes on, and a standby still takes over afterwards', async () => {
  await withFolder(async (folder) => {
    const unit = await unitProcess(`${folder}/pool`)
    const cluster = new Cluster(unit.address, { standby: 'hot', create: { bytes: MiB, lease: { silenceMs: 3000 } } })
    const first = cluster.add('a')
    await cluster.primary(1)
    const second = cluster.add('b')
    await second.reaches('standby')
    unit.process.kill('SIGKILL')
    await once(unit.process, 'exit')
    await sleep(300)
    await unitProcess(`${folder}/pool`, unit.address)
    const before = cluster.acks.length
    await until(() => cluster.acks.length > before + 20, 'acknowledgements after the outage')
    expect(first.role).toBe('primary')
    expect(second.role).toBe('standby')
    await first.kill()
    expect(await cluster.primary(2)).toBe(second)
    cluster.check()
  })
})

test('kills, stops and hand-overs at random moments never lose an acknowledged count, nor give two owners an epoch', async () => {
  const seed = pickSeed()
  console.log(`seed ${seed}`)
  const random = randomFrom(seed)
  await using unit = await PersistentMemoryUnit.start(memory)
  const cluster = new Cluster(unit.address, { standby: 'hot', everyMs: 0, padding: 2000 })
  let epoch = 1
  for (let id = 0; id < 3; id++) cluster.add(`${id}`)
  for (let round = 0; round < rounds({ long: 100, ci: 12 }); round++) {
    const primary = await cluster.primary(epoch)
    const others = [...cluster.members.values()].filter(({ role, id }) => role !== 'stopped' && id !== primary.id)
    await Promise.all(others.map((member) => member.reaches('standby')))
    await sleep(random() * 150)
    epoch = (cluster.acks.at(-1)?.epoch ?? 0) + 1
    const what = random()
    if (what < 0.4) {
      await primary.kill()
      cluster.add(`${round + 3}`)
    } else if (what < 0.7) {
      primary.process.kill('SIGSTOP')
      await cluster.primary(epoch)
      await sleep(random() * 50)
      primary.process.kill('SIGCONT')
      await primary.reaches('standby')
    } else primary.process.send({ handOver: true })
    await cluster.primary(epoch)
  }
  cluster.check(`RC_SEED=${seed}`)
})

describe('in one process', () => {
  test('events tell of roles, epochs and how long the takeover took; dispose stops the work', async () => {
    await using unit = await PersistentMemoryUnit.start(memory)
    const told: string[] = []
    let primaryNow: () => void = () => undefined
    const primary = new Promise<void>((resolve) => {
      primaryNow = resolve
    })
    const pair = new ProcessPair<unknown>(unit.address, {
      region: 'r',
      create: { bytes: MiB },
      codec: json,
      async onPrimary({ state, log, epoch, signal }) {
        expect([state, epoch, pair.role, pair.epoch]).toEqual([undefined, 1n, 'primary', 1n])
        await log.append('kept')
        primaryNow()
        await once(signal, 'abort')
        throw signal.reason
      },
    })
    for (const type of ['role', 'epoch'] as const) {
      pair.addEventListener(type, (event) => {
        const { role, epoch, took } = event as PairEvent
        told.push(`${type} ${role} ${epoch}`)
        if (role === 'primary' && type === 'role') {
          expect(took?.openMs).toBeGreaterThan(0)
          expect(took?.restoreMs).toBeGreaterThan(0)
        }
      })
    }
    const stop = new AbortController()
    const running = pair.run({ signal: stop.signal })
    await primary
    await expect(pair.run()).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    stop.abort(new Error('enough'))
    await running
    expect(told).toEqual(['epoch joining 1', 'role primary 1', 'role stopped 1'])
    // The region was given up in order.
    await using client = await connect(unit.address)
    const region = await client.openRegion('r', { mode: 'write' })
    expect((await region.checkpoints({ codec: json }).latest())?.value).toBe('kept')
  })

  test('a pair waits for a unit that is not there yet, says why once, and can be stopped meanwhile', async () => {
    const pair = new ProcessPair('127.0.0.1:1', { region: 'r', onPrimary: async () => undefined })
    const errors: unknown[] = []
    pair.addEventListener('error', (event) => errors.push((event as PairEvent).error))
    const running = pair.run()
    // Five tries or more.
    await new Promise((resolve) => setTimeout(resolve, 1_500))
    expect(errors).toMatchObject([{ code: 'CONNECTION_REFUSED' }])
    await pair[Symbol.asyncDispose]()
    await running
    expect(pair.role).toBe('stopped')
  })

  test('what another try cannot mend rejects run()', async () => {
    await using unit = await PersistentMemoryUnit.start(memory)
    const pair = new ProcessPair(unit.address, { region: 'nowhere', onPrimary: async () => undefined })
    await expect(pair.run()).rejects.toMatchObject({ code: 'REGION_NOT_FOUND' })
    const wrong = { region: 'r', standby: 'tepid' as 'hot', onPrimary: async () => undefined }
    expect(() => new ProcessPair(unit.address, wrong)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  })

  test('a cleared log gives a hot standby no state, though it has read one', async () => {
    await using unit = await PersistentMemoryUnit.start(memory)
    await using client = await connect(unit.address)
    const owner = await client.createRegion('r', { bytes: MiB })
    const log = owner.log({ codec: json })
    await log.append('old')
    let begun: (state: unknown) => void = () => undefined
    const state = new Promise((resolve) => {
      begun = resolve
    })
    const seen: unknown[] = []
    await using pair = new ProcessPair<unknown>(unit.address, {
      region: 'r',
      codec: json,
      standby: 'hot',
      onStandby: ({ value }) => seen.push(value),
      onPrimary: async (primary) => begun(primary.state),
    })
    const running = pair.run()
    await until(() => seen.length === 1, 'the first checkpoint')
    await log.clear()
    await owner.close()
    expect(await state).toBeUndefined()
    await running
  })

  test('a standby that could not take over goes on behind what it had read', async () => {
    await using unit = await PersistentMemoryUnit.start(memory)
    await using client = await connect(unit.address)
    await using owner = await client.createRegion('r', { bytes: MiB })
    const log = owner.log({ codec: json })
    const seen: unknown[] = []
    const follow = (known: Checkpoint<unknown> | undefined) =>
      new Standby<unknown>(
        client,
        {
          region: 'r',
          codec: json as Codec<unknown>,
          everyMs: undefined,
          onCheckpoint: ({ value }) => seen.push(value),
          troubles: new Troubles((error) => seen.push(error)),
        },
        known,
      )
    await log.append('one')
    const first = follow(undefined)
    await until(() => seen.length === 1, 'the first checkpoint')
    const second = follow(first.stop())
    await log.append('two')
    await until(() => seen.length > 1, 'the next checkpoint')
    second.stop()
    expect(seen).toEqual(['one', 'two'])
  })
})

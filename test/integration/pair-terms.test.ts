/** How a primary's term ends: handed over under load, fenced, stopped; and what its work does then. */
import { once } from 'node:events'
import { afterEach, describe, expect, test } from 'vitest'
import {
  CheckpointError,
  type CheckpointLog,
  connect,
  json,
  type PairOptions,
  PersistentMemoryUnit,
  type Primary,
  ProcessPair,
  type WaitingEvent,
} from '../../src/index.js'
import { rounds } from '../fault/support/long.js'
import { killChildren, MiB, sleep, unitProcess, withFolder } from './failover-support.js'

afterEach(killChildren)

interface State {
  count: number
}

const memory = { pool: { medium: 'memory', bytes: 64 * MiB } } as const

async function until(condition: () => boolean, what: string, timeoutMs = 30_000): Promise<void> {
  for (const end = performance.now() + timeoutMs; !condition(); await sleep(2)) {
    if (performance.now() > end) throw new Error(`${what} did not come within ${timeoutMs} ms`)
  }
}

/** The loop of the documents, word for word. */
async function countOn({ state = { count: 0 }, log, signal }: Primary<State>): Promise<void> {
  while (!signal.aborted) await log.append({ count: ++state.count })
}

/** A pair of this process, and what it tells. */
class Member implements AsyncDisposable {
  readonly pair: ProcessPair<State>
  readonly roles: string[] = []
  readonly errors: unknown[] = []
  readonly waits: WaitingEvent[] = []
  readonly told: string[] = []
  readonly terms: Primary<State>[] = []
  readonly stop = new AbortController()
  /** Set once run() has settled. */
  ended: string | undefined
  readonly running: Promise<void>

  constructor(
    unit: string,
    work: (primary: Primary<State>) => Promise<void>,
    options: Partial<PairOptions<State>> = {},
  ) {
    this.pair = new ProcessPair<State>(unit, {
      region: 'state',
      create: { bytes: MiB },
      codec: json as NonNullable<PairOptions<State>['codec']>,
      ...options,
      onPrimary: (primary) => {
        this.terms.push(primary)
        return work(primary)
      },
    })
    this.pair.addEventListener('role', ({ role }) => this.roles.push(role))
    this.pair.addEventListener('error', ({ error }) => this.errors.push(error))
    this.pair.addEventListener('waiting', (event) => this.waits.push(event))
    for (const type of ['connected', 'disconnected', 'restored', 'fenced', 'lost-writes'] as const) {
      this.pair.addEventListener(type, () => this.told.push(type))
    }
    this.running = this.pair.run({ signal: this.stop.signal }).then(
      () => {
        this.ended = 'resolved'
      },
      (error: unknown) => {
        this.ended = `rejected: ${error instanceof CheckpointError ? error.code : String(error)}`
      },
    )
  }

  async reaches(role: string): Promise<void> {
    await until(
      () => this.pair.role === role || this.ended !== undefined,
      `role ${role}, it is ${this.pair.role} (${this.errors.map(String).join()})`,
    )
    expect(this.ended).toBe(role === 'stopped' ? this.ended : undefined)
  }

  /** Is primary under a later epoch than that. */
  async leads(above = 0n): Promise<Primary<State>> {
    await until(
      () => (this.terms.at(-1)?.epoch ?? 0n) > above || this.ended !== undefined,
      `an epoch above ${above}, ${this.ended}`,
    )
    return this.terms.at(-1) as Primary<State>
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.stop.abort()
    await this.running
  }
}

describe('a hand-over under load', () => {
  test('goes back and forth between two that run the loop of the documents, and nothing is lost', async () => {
    await using unit = await PersistentMemoryUnit.start(memory)
    let acknowledged = 0
    const work = async ({ state = { count: 0 }, log, signal }: Primary<State>) => {
      expect(state.count).toBe(acknowledged)
      while (!signal.aborted) {
        await log.append({ count: ++state.count })
        acknowledged = state.count
      }
    }
    const lease = { silenceMs: 60_000 }
    const options = { standby: 'hot', create: { bytes: MiB, lease } } as const
    await using one = new Member(unit.address, work, options)
    await one.leads()
    await using other = new Member(unit.address, work, options)
    const handOvers = rounds({ long: 500, ci: 20 })
    for (let round = 0, epoch = 0n; round < handOvers; round++) {
      const [primary, standby] = round % 2 === 0 ? [one, other] : [other, one]
      const { handOver, log, signal, epoch: before } = await primary.leads(epoch)
      epoch = before
      await standby.reaches('standby')
      const from = acknowledged
      await until(() => acknowledged > from + 2, 'appends')
      await handOver()
      expect(signal.reason).toMatchObject({ code: 'CLOSED' })
      await expect(log.append({ count: -1 })).rejects.toBe(signal.reason)
    }
    for (const member of [one, other]) expect([member.ended, member.errors]).toEqual([undefined, []])
    expect(acknowledged).toBeGreaterThan(2 * handOvers)
  })

  test.each([
    ['append', {}],
    ['overwrite', { mode: 'overwrite' }],
    ['deep queue', { bytes: 8 * MiB }],
  ] as const)('settles what was called before with success, and refuses what comes later: %s', async (name, region) => {
    await using unit = await PersistentMemoryUnit.start(memory)
    await using member = new Member(
      unit.address,
      async ({ signal }) => {
        await once(signal, 'abort')
      },
      { create: { bytes: MiB, ...region } },
    )
    const { handOver, log, signal } = await member.leads()
    const bytes = name === 'deep queue' ? 100_000 : 10
    // The first finds the end of the log before it is sent, and all of them wait for it.
    const before = Array.from({ length: 20 }, (_, count) => log.append({ count, text: 'x'.repeat(bytes) } as State))
    before.push(
      log.appendStream(
        (async function* () {
          for (let part = 0; part < 3; part++) {
            await sleep(5)
            yield Buffer.from('[1]')
          }
        })(),
        { bytes: 9 },
      ),
    )
    const handing = handOver()
    expect(signal.aborted).toBe(true)
    const late = [log.append({ count: 99 }), log.clear(), log.appendStream(new Blob([]).stream(), { bytes: 0 })]
    for (const call of late) await expect(call).rejects.toBe(signal.reason)
    const sequences = (await Promise.all(before)).map(({ sequence }) => sequence)
    expect(sequences).toEqual(sequences.map((_, index) => BigInt(index + 1)))
    await handing
    expect(await handOver()).toBeUndefined()
    await expect(log.append({ count: 99 })).rejects.toMatchObject({ code: 'CLOSED', outcome: 'none' })
    await member.reaches('standby')
    await using client = await connect(unit.address)
    expect((await (await client.openRegion('state')).checkpoints().newest())?.sequence).toBe(21n)
  })

  test('gives up what could not be done: a source that hangs, and space that nobody makes', async () => {
    await using unit = await PersistentMemoryUnit.start(memory)
    const create = { bytes: 64 * 1024, onFull: 'wait' } as const
    await using member = new Member(unit.address, async ({ signal }) => void (await once(signal, 'abort')), { create })
    const { handOver, log, signal } = await member.leads()
    const stream = log.appendStream(
      (async function* () {
        yield new Uint8Array(1)
        await new Promise(() => undefined)
      })(),
      { bytes: 2 },
    )
    const fitting = log.append({ count: 1 })
    const large = Array.from({ length: 8 }, () => log.append({ count: 2, text: 'x'.repeat(20_000) } as State))
    const outcomes = Promise.allSettled([stream, fitting, ...large])
    await sleep(20)
    await handOver()
    const [streamed, fitted, ...rest] = await outcomes
    expect(streamed).toEqual({ status: 'rejected', reason: signal.reason })
    expect(fitted?.status).toBe('fulfilled')
    const refused = rest.filter(({ status }) => status === 'rejected')
    expect(refused.length).toBeGreaterThan(0)
    for (const refusal of refused) expect(refusal).toEqual({ status: 'rejected', reason: signal.reason })
  })

  test('once the work has ended there is nothing to hand over', async () => {
    await using unit = await PersistentMemoryUnit.start(memory)
    await using member = new Member(unit.address, async () => undefined)
    await member.running
    expect(member.ended).toBe('resolved')
    await expect((member.terms[0] as Primary<State>).handOver()).rejects.toMatchObject({ code: 'CLOSED' })
  })

  test('a fence that comes while it is waited for ends it with FENCED', async () => {
    await using unit = await PersistentMemoryUnit.start(memory)
    await using client = await connect(unit.address)
    await using member = new Member(unit.address, async ({ signal }) => void (await once(signal, 'abort')))
    const { handOver, log } = await member.leads()
    const slow = log.appendStream(
      (async function* () {
        for (;;) {
          await sleep(20)
          yield new Uint8Array(1)
        }
      })(),
      { bytes: 100_000 },
    )
    const both = Promise.allSettled([slow, handOver()])
    await using taken = await client.openRegion('state', { mode: 'takeOver' })
    const fence = { code: 'FENCED', details: { epoch: taken.epoch } }
    expect(await both).toMatchObject([{ reason: fence }, { reason: fence }])
    await member.reaches('standby')
  })
})

/** What work may do once its term is over; and whether that says more than that it is over. */
const endings: [string, (primary: Primary<State>) => Promise<void>, boolean][] = [
  ['resolves', countOn, false],
  ['throws the reason', async (primary) => countOn(primary).then(() => Promise.reject(primary.signal.reason)), false],
  ['throws what its call threw', async ({ log }) => append(log, Number.POSITIVE_INFINITY), false],
  [
    'throws that as the cause of another error',
    async ({ log }) => {
      await append(log, Number.POSITIVE_INFINITY).catch((cause: unknown) => {
        throw new Error('could not save', { cause })
      })
    },
    false,
  ],
  ['throws an AbortError', async ({ signal }) => void (await sleepUntil(signal)), false],
  [
    'fails in some other way',
    async (primary) => {
      await countOn(primary).catch(() => undefined)
      throw new TypeError('nothing is there to be cleaned up')
    },
    true,
  ],
]

async function append(log: CheckpointLog<State>, times: number): Promise<void> {
  for (let count = 1; count <= times; count++) await log.append({ count })
}

function sleepUntil(signal: AbortSignal): Promise<void> {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(new DOMException('enough', 'AbortError')))
  })
}

describe.each(endings)('work that %s', (_, work, isNews) => {
  test('after a fence leaves its process a standby', async () => {
    await using unit = await PersistentMemoryUnit.start(memory)
    await using client = await connect(unit.address)
    await using member = new Member(unit.address, untilStopped(work))
    for (let round = 0, epoch = 0n; round < 2; round++) {
      epoch = (await member.leads(epoch)).epoch
      await sleep(20)
      const taken = await client.openRegion('state', { mode: 'takeOver' })
      await member.reaches('standby')
      await taken.close()
    }
    await member.leads(4n)
    expect(member.errors).toEqual(isNews ? [expect.any(TypeError), expect.any(TypeError)] : [])
    expect(member.told.filter((type) => type === 'fenced')).toHaveLength(2)
  })

  test('after a hand-over leaves its process a standby', async () => {
    await using unit = await PersistentMemoryUnit.start(memory)
    await using member = new Member(unit.address, work)
    const { handOver } = await member.leads()
    await sleep(20)
    await handOver()
    await member.reaches('standby')
    expect(member.errors).toEqual(isNews ? [expect.any(TypeError)] : [])
  })

  test(isNews ? 'after a stop rejects run()' : 'after a stop lets run() resolve', async () => {
    await using unit = await PersistentMemoryUnit.start(memory)
    const member = new Member(unit.address, untilStopped(work))
    await member.leads()
    await sleep(20)
    member.stop.abort(new Error('enough'))
    await member.running
    expect(member.ended).toBe(isNews ? 'rejected: TypeError: nothing is there to be cleaned up' : 'resolved')
  })
})

/** After a stop the log goes on until the work has ended; work that waits for its calls to fail would wait for good. */
function untilStopped(work: (primary: Primary<State>) => Promise<void>): (primary: Primary<State>) => Promise<void> {
  return (primary) => {
    const { log, signal } = primary
    const append = async (state: State) => {
      if (signal.aborted) throw new CheckpointError('ABORTED', 'no more')
      return await log.append(state)
    }
    return work({ ...primary, log: { append } as CheckpointLog<State> })
  }
}

test('work that loses another region of its process leaves its own to others, and is tried again', async () => {
  await using unit = await PersistentMemoryUnit.start(memory)
  await using client = await connect(unit.address)
  await using second = await connect(unit.address)
  const other = await client.createRegion('other', { bytes: MiB })
  let terms = 0
  const work = async (primary: Primary<State>) => {
    if (terms++ > 0) return countOn(primary)
    await append(other.log({ codec: json }) as CheckpointLog<State>, Number.POSITIVE_INFINITY)
  }
  await using member = new Member(unit.address, work)
  await member.leads()
  await second.openRegion('other', { mode: 'takeOver' })
  await member.reaches('standby')
  expect(member.errors).toMatchObject([{ code: 'FENCED' }])
  await using next = new Member(unit.address, countOn)
  expect((await next.leads()).epoch).toBe(2n)
})

test('a region that is deleted under its primary ends the term, and is made again', async () => {
  await using unit = await PersistentMemoryUnit.start(memory)
  await using client = await connect(unit.address)
  await using member = new Member(unit.address, async ({ signal }) => {
    await once(signal, 'abort')
    throw signal.reason
  })
  const { signal } = await member.leads()
  await client.deleteRegion('state')
  await until(() => member.terms.length === 2, 'another term')
  expect(signal.reason).toMatchObject({ code: 'REGION_NOT_FOUND' })
  expect(member.ended).toBeUndefined()
})

test('work that does not notice its end is told of, and its process is no standby until it has ended', async () => {
  await using unit = await PersistentMemoryUnit.start(memory)
  await using client = await connect(unit.address)
  let finish: () => void = () => undefined
  await using member = new Member(unit.address, (primary) => {
    if (primary.epoch > 1n) return countOn(primary)
    return new Promise((resolve) => {
      finish = resolve
    })
  })
  await member.leads()
  await (await client.openRegion('state', { mode: 'takeOver' })).close()
  await until(() => member.waits.length > 0, 'a waiting event')
  expect(member.waits[0]).toMatchObject({ reason: 'work', error: { code: 'FENCED' } })
  expect(member.roles).toEqual(['primary', 'joining'])
  finish()
  await member.leads(2n)
})

test('a pair tells what it waits for, and of its connection', async () => {
  await withFolder(async (folder) => {
    const away = new Member('127.0.0.1:1', countOn)
    await until(() => away.waits.length > 0, 'a waiting event')
    expect(away.waits[0]).toMatchObject({ reason: 'unit', error: { code: 'CONNECTION_REFUSED' } })
    expect(away.waits[0]?.message).toMatch(/^waiting for the unit 127\.0\.0\.1:1: /)
    await away[Symbol.asyncDispose]()

    const first = await unitProcess(`${folder}/pool`)
    await using member = new Member(first.address, countOn, { create: { bytes: MiB, lease: { silenceMs: 20_000 } } })
    await member.leads()
    await until(() => member.told.includes('connected'), 'connected')
    first.process.kill('SIGKILL')
    await once(first.process, 'exit')
    await until(() => member.waits.length > 0, 'a waiting event')
    expect(member.waits[0]?.reason).toBe('unit')
    await unitProcess(`${folder}/pool`, first.address)
    await until(() => member.told.includes('restored'), 'restored')
    expect(member.told.slice(0, 2)).toEqual(['connected', 'disconnected'])
    expect([member.pair.role, member.terms.length, member.ended]).toEqual(['primary', 1, undefined])
  })
})

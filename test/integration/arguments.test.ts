/**
 * Whatever a public function is called with, it does what it says, or fails with a documented code before anything has happened:
 * never another error, never an end that does not come, never an effect of a call that was refused.
 */
import { createHash } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { CheckpointError, connect, errorCodes, json, Peer, PersistentMemoryUnit } from '../../src/index.js'
import {
  type Given,
  good,
  isOptions,
  makeOptions,
  type Options,
  odd,
  oddities,
  type PublicCall,
  publicCalls,
  rawBytes,
  type Stage,
  strangeKey,
} from './arguments-support.js'

const long = process.env.RC_LONG === '1'
const seed = Number(process.env.RC_SEED ?? Date.now() % 2 ** 31)
const hangMs = 60_000

let stage: Stage
let folder: string
const home = process.cwd()

beforeAll(async () => {
  // A path that is given by chance is nobody's.
  folder = await mkdtemp(path.join(tmpdir(), 'rdmacp-arguments-'))
  process.chdir(folder)
  const unit = await PersistentMemoryUnit.start({ pool: { medium: 'memory', bytes: 16 << 20 } })
  const client = await connect(unit.address)
  const region = await client.createRegion('raw', { bytes: rawBytes, mode: 'raw' })
  const logs = await client.createRegion('log', { bytes: 262_144 })
  const log = logs.log<unknown>({ codec: json })
  await log.append({ step: 0 })
  stage = {
    unit,
    client,
    region,
    reader: await client.openRegion('raw'),
    log,
    bytesLog: logs.log(),
    logs,
    checkpoints: logs.checkpoints<unknown>({ codec: json }),
    peer: Peer.start({ listen: '127.0.0.1:0', partner: '127.0.0.1:1' }),
  }
})
afterAll(async () => {
  await stage.peer.close()
  await stage.client.close()
  await stage.unit.close()
  process.chdir(home)
  await rm(folder, { recursive: true })
})

class Case {
  constructor(
    readonly target: PublicCall,
    readonly given: readonly (Given | Options)[],
  ) {}

  [fc.toStringMethod](): string {
    return `${this.target.name}(${this.given.map((given) => fc.stringify(given)).join(', ')})`
  }
}

/** Each parameter as it should be, or odd; options with some of their keys, some odd, and some that there are not. */
function caseOf(target: PublicCall): fc.Arbitrary<Case> {
  const value = target.waits || target.spare ? odd.filter((one) => !isSpared(target, one)) : odd
  const parameters = target.parameters.map((parameter): fc.Arbitrary<Given | Options> => {
    if (!isOptions(parameter)) return fc.oneof(fc.constant(parameter), value)
    const keys = Object.entries(parameter).map(([key, right]): [string, fc.Arbitrary<Given | undefined>] => [
      key,
      fc.oneof(
        { weight: 4, arbitrary: fc.constant<Given | undefined>(right) },
        { weight: 1, arbitrary: value },
        // What waits for something that does not come is always told for how long.
        { weight: target.waits && key === 'timeoutMs' ? 0 : 1, arbitrary: fc.constant(undefined) },
      ),
    ])
    const options = fc.record(Object.fromEntries(keys)).map(withoutUndefined)
    const misspelt = fc
      .tuple(options, fc.constantFrom('timeoutms', 'timeoutMS', 'sginal', 'durabilty', 'x'))
      .map(([right, key]): Options => ({ ...right, [key]: good('1', () => 1) }))
    return fc.oneof(
      { weight: 4, arbitrary: options },
      { weight: 1, arbitrary: misspelt },
      { weight: 1, arbitrary: value },
    )
  })
  return fc.tuple(...parameters).map((given) => new Case(target, given))
}

function isSpared(target: PublicCall, one: Given): boolean {
  const value = one.make()
  if (target.spare?.(value)) return true
  if (target.waits !== true) return false
  return value === 0 || (typeof value === 'number' && value > 1000) || isNoOption(value)
}

/** Right as options, and none of them: the call takes its default time. */
function isNoOption(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return value === undefined
  try {
    return Object.prototype.toString.call(value) === '[object Object]' && Object.keys(value).length === 0
  } catch {
    return false
  }
}

function withoutUndefined(options: Record<string, Given | undefined>): Options {
  return Object.fromEntries(Object.entries(options).filter((entry): entry is [string, Given] => entry[1] !== undefined))
}

/** What a refused call may not have changed. */
async function standing(): Promise<string> {
  const { client, reader, checkpoints } = stage
  const hash = createHash('sha256').update(await reader.read(0, rawBytes))
  for await (const info of client.regions()) hash.update(JSON.stringify(info))
  hash.update(JSON.stringify((await checkpoints.newest()) ?? 'empty'))
  return hash.digest('hex')
}

interface Ending {
  readonly error?: unknown
  readonly result?: unknown
}

async function carryOut({ target, given }: Case): Promise<Ending> {
  const values = given.map((parameter) => (isOptions(parameter) ? makeOptions(parameter) : parameter.make()))
  let promise: unknown
  try {
    promise = target.call(stage, values)
  } catch (error) {
    if (target.promises) throw new Error(`${target.name} threw instead of rejecting`, { cause: error })
    return { error }
  }
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${target.name} has not ended within ${hangMs} ms`)), hangMs)
  })
  const ending = Promise.resolve(promise).then(
    (result): Ending => ({ result }),
    (error: unknown): Ending => ({ error }),
  )
  try {
    return await Promise.race([ending, late])
  } finally {
    clearTimeout(timer)
  }
}

function expectCoded({ target }: Case, error: unknown): asserts error is CheckpointError {
  if (!(error instanceof CheckpointError)) throw new Error(`${target.name}: another error`, { cause: error })
  const allowed = ['INVALID_ARGUMENT', 'ABORTED', 'TIMEOUT', ...target.codes]
  expect(allowed, `${target.name}: ${error.code}: ${error.message}`).toContain(error.code)
  expect(Object.keys(errorCodes)).toContain(error.code)
  expect(error.message.length).toBeGreaterThan(10)
}

test('whatever it is called with, a public function succeeds or fails with its code, and a refused call did nothing', async () => {
  console.log(`seed ${seed} (RC_SEED=${seed} repeats it)`)
  const counts = new Map<string, number>()
  const property = fc.asyncProperty(fc.constantFrom(...publicCalls).chain(caseOf), async (one) => {
    const before = await standing()
    const { error, result } = await carryOut(one)
    const kind = error === undefined ? 'went well' : error instanceof CheckpointError ? error.code : 'other'
    counts.set(kind, (counts.get(kind) ?? 0) + 1)
    if (error === undefined) {
      await one.target.undo?.(stage, result)
      return
    }
    expectCoded(one, error)
    if (error.outcome === 'none') expect(await standing(), `${one.target.name} did something`).toBe(before)
    // What was given up may still land: not while the next one is looked at.
    else await Promise.all([stage.region.write(0, new Uint8Array(1)), stage.log.append({ settled: true })])
  })
  await fc.assert(property, {
    seed,
    numRuns: 1_000_000,
    interruptAfterTimeLimit: long ? 600_000 : 10_000,
    markInterruptAsFailure: false,
  })
  const all = [...counts.values()].reduce((sum, count) => sum + count, 0)
  console.log(`${all} calls: ${[...counts].map(([kind, count]) => `${kind} ${count}`).join(', ')}`)
  expect(all).toBeGreaterThan(50)
})

test('every option that there is not is refused by its name, and so is no object of options', async () => {
  const before = await standing()
  let calls = 0
  for (const target of publicCalls) {
    for (const [at, parameter] of target.parameters.entries()) {
      if (!isOptions(parameter)) continue
      const wrong: [unknown, RegExp][] = [
        [{ ...makeOptions(parameter), misspeltOption: 1 }, /misspeltOption/],
        [{ ...makeOptions(parameter), [strangeKey]: 1 }, /Symbol\(an option\)/],
        [null, /object/],
        [new AbortController().signal, /object/],
        [[], /object/],
        [5, /object/],
      ]
      if ('timeoutMs' in parameter) {
        for (const timeoutMs of [-1, Number.NaN, '5', null, 2 ** 53, 1n]) {
          wrong.push([{ ...makeOptions(parameter), timeoutMs }, /timeoutMs/])
        }
        wrong.push([{ ...makeOptions(parameter), timeoutms: 1 }, /did you mean timeoutMs/])
      }
      if ('signal' in parameter) wrong.push([{ ...makeOptions(parameter), signal: {} }, /signal/])
      for (const [value, message] of wrong) {
        const given = target.parameters.map((other, index) =>
          index === at
            ? good('wrong', () => value)
            : isOptions(other)
              ? good('right', () => makeOptions(other))
              : other,
        )
        const one = new Case(target, given)
        const { error } = await carryOut(one)
        if (error === undefined) throw new Error(`${target.name} took ${fc.stringify(value)}`)
        expectCoded(one, error)
        expect(error, target.name).toMatchObject({ code: 'INVALID_ARGUMENT', outcome: 'none' })
        expect(error.message, target.name).toMatch(message)
        calls++
      }
    }
  }
  expect(calls).toBeGreaterThan(250)
  expect(await standing()).toBe(before)
})

test('memory that is gone is refused by everything that takes memory, and nothing of it is saved', async () => {
  const before = await standing()
  const { region, reader, log, bytesLog } = stage
  const gone = ['memory that was transferred', 'memory shrunk away', 'memory shrunk away from a fixed view']
  for (const make of gone.map((name) => oddities[name] as () => Uint8Array)) {
    async function* chunks(): AsyncGenerator<Uint8Array> {
      yield new Uint8Array(8)
      yield make()
    }
    const codec = { id: 300, encode: chunks, decode: () => undefined }
    const calls: [string, () => Promise<unknown>][] = [
      ['write', () => region.write(0, make())],
      [
        'writeAll',
        () =>
          region.writeAll([
            { offset: 0, bytes: new Uint8Array(1) },
            { offset: 8, bytes: make() },
          ]),
      ],
      ['readInto', () => reader.readInto({ offset: 0, bytes: make() })],
      ['append', () => bytesLog.append(make())],
      ['append as JSON', () => log.append({ bytes: make() })],
      ['append by a codec', () => stage.logs.log({ codec: { ...codec, encode: make } }).append(undefined)],
      ['append by a codec that streams', () => stage.logs.log({ codec }).append(undefined)],
      ['appendStream', () => bytesLog.appendStream(chunks(), { bytes: 8 })],
    ]
    for (const [name, attempt] of calls) {
      await expect(attempt(), name).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', outcome: 'none' })
    }
  }
  expect(await standing()).toBe(before)
})

test('an append of shared memory is of what it held when it was called', async () => {
  const shared = new Uint8Array(new SharedArrayBuffer(100_000)).fill(5)
  const appended = stage.bytesLog.append(shared)
  shared.fill(6)
  const { sequence } = await appended
  const saved = await stage.logs.checkpoints().at(sequence)
  expect(saved.value).toEqual(new Uint8Array(100_000).fill(5))
})

test('a client is closed by a call that could not have closed it before', async () => {
  const client = await connect(stage.unit.address)
  await expect(client.close({ timeoutMs: -1 })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  await expect(client.status()).resolves.toMatchObject({ state: 'ready' })
  await client.close({ timeoutMs: Number.POSITIVE_INFINITY })
  await expect(client.status()).rejects.toMatchObject({ code: 'CLOSED' })
})

test('a call that only looks has changed nothing, however it ends', async () => {
  const { client } = stage
  const looks: ((call: { signal: AbortSignal }) => Promise<unknown>)[] = [
    (call) => client.status(call),
    (call) => client.regions(call).next(),
    (call) => client.openRegion('raw', call),
  ]
  for (const look of looks) {
    const abort = new AbortController()
    const looking = look({ signal: abort.signal })
    abort.abort()
    await expect(looking).rejects.toMatchObject({ code: 'ABORTED', outcome: 'none' })
  }
  await expect(client.openRegion('raw', { timeoutMs: 0.01 })).rejects.toMatchObject({
    code: 'TIMEOUT',
    outcome: 'none',
  })
})

test('no time-out of 25 days or more ends at once, wherever it is given', async () => {
  const { client, region, log, checkpoints, unit } = stage
  for (const timeoutMs of [2 ** 31 - 1, 2 ** 31, 30 * 86_400_000, 2 ** 53 - 1, Number.POSITIVE_INFINITY]) {
    await (await client.createRegion('made in time', { bytes: 65_536, timeoutMs })).close()
    await client.deleteRegion('made in time', { timeoutMs })
    const patient = await connect(unit.address, { timeoutMs, retryMs: timeoutMs })
    await (await patient.openRegion('raw', { timeoutMs })).metadata({ timeoutMs })
    await region.write(0, new Uint8Array(40_000), { timeoutMs })
    await log.append({ timeoutMs: String(timeoutMs) }, { timeoutMs })
    await checkpoints.latest({ timeoutMs })
    await log.clear({ timeoutMs })
    await client.status({ timeoutMs })
    await patient.close({ timeoutMs })
    const own = await PersistentMemoryUnit.start({ pool: { medium: 'memory', bytes: 1 << 20 } })
    await own.close({ timeoutMs })
  }
  const full = await client.createRegion('waits', { bytes: 65_536, onFull: 'wait' })
  const waiting = full.log()
  const fill = async () => {
    for (;;) await waiting.append(new Uint8Array(8192), { timeoutMs: 200 })
  }
  await expect(fill()).rejects.toMatchObject({ code: 'TIMEOUT' })
  const patient = waiting.append(new Uint8Array(8192), { timeoutMs: 2 ** 31 })
  await expect(Promise.race([patient, new Promise((resolve) => setTimeout(resolve, 100, 'waits'))])).resolves.toBe(
    'waits',
  )
  await waiting.clear()
  await expect(patient).resolves.toMatchObject({ durability: 'visible' })
  await full.close()
  await client.deleteRegion('waits')
})

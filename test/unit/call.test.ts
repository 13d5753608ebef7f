import { afterEach, expect, test, vi } from 'vitest'
import { parseAddress, unitAddress, unitAddresses } from '../../src/address.js'
import { Call, QueuedCall, unlessAborted } from '../../src/call/call.js'
import { checkBytes, show, timeoutOf } from '../../src/call/check.js'
import { takeCall, writeOptions } from '../../src/call/options.js'
import { shape, take } from '../../src/call/shape.js'
import { deadlineTimer, longestTimerMs, pause, Timer } from '../../src/call/timer.js'
import { Deadlines } from '../../src/client/deadlines.js'
import { openOptions, takeCreate } from '../../src/client/options.js'
import { CheckpointError, ProcessPair } from '../../src/index.js'

const refused = (code: string, message: RegExp) =>
  expect.objectContaining({ code, message: expect.stringMatching(message) })
const invalid = (message: RegExp) => refused('INVALID_ARGUMENT', message)

afterEach(() => {
  vi.useRealTimers()
})

test('an option that there is not is refused, and the nearest one named', () => {
  for (const [key, near] of [
    ['timeoutms', 'timeoutMs'],
    ['timoutMs', 'timeoutMs'],
    ['timeout', 'timeoutMs'],
    ['durabilty', 'durability'],
    ['Signal', 'signal'],
  ]) {
    expect(() => take(writeOptions, { [key as string]: 1 })).toThrow(
      invalid(new RegExp(`"${key}"; did you mean ${near}\\?`)),
    )
  }
  expect(() => take(writeOptions, { colour: 1 })).toThrow(
    invalid(/There is no option "colour"\. The options are: signal, timeoutMs, durability/),
  )
  expect(() => takeCreate({ bytes: 1, lease: { silenceMS: 5 } })).toThrow(invalid(/did you mean lease\.silenceMs/))
})

test('an option under a symbol is refused like any other that there is not, wherever it is nested', () => {
  const key = Symbol('timeoutMs')
  expect(() => take(writeOptions, { [key]: 1 })).toThrow(invalid(/There is no option Symbol\(timeoutMs\)\./))
  expect(() => takeCreate({ bytes: 1, lease: { [key]: 5 } })).toThrow(invalid(/option lease\.Symbol\(timeoutMs\)/))
  expect(() => takeCreate({ bytes: 65_536, labels: { [key]: 'a' } })).toThrow(
    invalid(/labels must have strings for keys/),
  )
  expect(() => new CheckpointError('TIMEOUT', 'late', { [key]: 1 } as object)).toThrow(invalid(/option Symbol/))
  // What a spread would not copy is no option: it is how the object is printed, say.
  expect(take(writeOptions, Object.defineProperty({ timeoutMs: 5 }, key, { value: 1 }))).toEqual({ timeoutMs: 5 })
})

test('how a region is made has no signal and no time-out of its own where it is a part of other options', () => {
  expect(takeCreate({ bytes: 65_536, timeoutMs: 5 })).toMatchObject({ timeoutMs: 5 })
  for (const more of [{ timeoutMs: 5 }, { signal: new AbortController().signal }]) {
    const create = { bytes: 65_536, ...more }
    expect(() => take(openOptions, { create } as object)).toThrow(
      invalid(/There is no option "create\.(timeoutMs|signal)"/),
    )
    const pair = { region: 'r', create, onPrimary: async () => undefined }
    expect(() => new ProcessPair('unit', pair)).toThrow(invalid(/There is no option "create\.(timeoutMs|signal)"/))
  }
})

test('each option is read once, so that what was checked is what is used', () => {
  let reads = 0
  const options = {
    get timeoutMs() {
      return ++reads === 1 ? 5 : -1
    },
  }
  expect(takeCall(options)).toEqual({ timeoutMs: 5 })
  expect(reads).toBe(1)
  const of = shape<{ a?: string }>({ a: (value) => String(value) })
  expect(take(of, { a: undefined })).toEqual({})
  expect(take(of, Object.create({ a: 'inherited' }))).toEqual({ a: 'inherited' })
})

test('a message shows what was given, whatever that is, and no more of it than helps', () => {
  const { proxy, revoke } = Proxy.revocable({}, {})
  revoke()
  expect([Object.create(null), proxy, Symbol('a'), null, [], new Map(), 'x'.repeat(500), -0, 1n].map(show)).toEqual([
    'an object',
    'an object',
    'a symbol',
    'null',
    'an object of class Array',
    'an object of class Map',
    `"${'x'.repeat(60)}..."`,
    '-0',
    '1n',
  ])
})

test('memory that is gone is told from memory that is empty', () => {
  type Resizable = ArrayBuffer & { resize(bytes: number): void }
  const buffer = new (ArrayBuffer as unknown as new (bytes: number, more: object) => Resizable)(64, {
    maxByteLength: 64,
  })
  const views = [new Uint8Array(buffer, 32), new Uint8Array(buffer, 32, 8)]
  for (const view of views) expect(() => checkBytes(view, 'it')).not.toThrow()
  buffer.resize(16)
  for (const view of views) expect(() => checkBytes(view, 'it')).toThrow(invalid(/is gone/))
  const sent = new Uint8Array(8)
  structuredClone(sent.buffer, { transfer: [sent.buffer] })
  expect(() => checkBytes(sent, 'it')).toThrow(invalid(/is gone/))
  for (const empty of [
    new Uint8Array(0),
    new Uint8Array(new SharedArrayBuffer(0)),
    Buffer.alloc(0),
    new Uint8Array(buffer, 16),
  ]) {
    expect(() => checkBytes(empty, 'it')).not.toThrow()
  }
  for (const other of [
    Object.create(Uint8Array.prototype),
    new DataView(new ArrayBuffer(1)),
    new Int8Array(1),
    [1],
    'a',
    null,
  ]) {
    expect(() => checkBytes(other, 'it')).toThrow(invalid(/must be a Uint8Array/))
  }
})

test('the address of a unit is host:port, host, or an IPv6 address in brackets', () => {
  for (const [given, meant] of [
    ['localhost', 'localhost:4790'],
    ['localhost:1', 'localhost:1'],
    ['unit-1.example.org:65535', 'unit-1.example.org:65535'],
    ['my_unit', 'my_unit:4790'],
    ['0xunit', '0xunit:4790'],
    ['1.unit-1', '1.unit-1:4790'],
    ['unix:5', 'unix:5'],
    ['127.0.0.1', '127.0.0.1:4790'],
    ['[::1]', '[::1]:4790'],
    ['[fe80::1%eth0]:5', '[fe80::1%eth0]:5'],
  ]) {
    expect(unitAddress(given)).toBe(meant)
  }
})

test('what could mean two things, or none, is no address', () => {
  for (const text of [
    '',
    ' ',
    ':4790',
    'host:',
    'host:0',
    'host:65536',
    'host:-1',
    'host:1e3',
    'host:80:80',
    'host :80',
    ' host:80',
    'host:80\n',
    'ho\0st',
    '::1',
    '::1:4790',
    'fe80::1%eth0',
    '[::1',
    '[::1]4790',
    '[]:80',
    '[127.0.0.1]:80',
    '[host]:80',
    '4790',
    '1.2.3',
    '256.0.0.1:80',
    '0x7f.1:80',
    '127.0.0.0x1',
    'host.0X7F:80',
    'host.1:80',
    '127.0.0.1.:80',
    '-host',
    'a..b',
    '.a',
    'http://host:80',
    'dns:///host:80',
    'unix:/tmp/socket',
    'unix:///tmp/socket',
    'ipv4:127.0.0.1:80',
    'user@host:80',
    'host:80/path',
    'unit:',
    'höst:80',
    `${'x'.repeat(254)}:80`,
  ]) {
    expect(() => unitAddress(text), text).toThrow(invalid(/must be host:port or host; /))
  }
  expect(() => unitAddress('::1')).toThrow(expect.objectContaining({ help: 'Write [::1]:4790.' }))
  for (const list of [[], [1], [''], ['a', null], new Array(2)])
    expect(() => unitAddresses(list)).toThrow(invalid(/units/))
  for (const none of [undefined, null, {}, 4790]) {
    const expected = { code: 'INVALID_ARGUMENT', help: expect.stringContaining('127.0.0.1:4790') }
    expect(() => unitAddresses(none)).toThrow(expect.objectContaining(expected))
    expect(() => unitAddresses(none)).toThrow(
      /^units must be the address of a unit, host:port, or a list of addresses; it is/,
    )
  }
  expect(unitAddresses(['a', 'b:1'])).toEqual(['a:4790', 'b:1'])
  expect(parseAddress('127.0.0.1:0', 'it')).toEqual({ host: '127.0.0.1', port: 0 })
  expect(() => parseAddress('127.0.0.1', 'it')).toThrow(invalid(/has no port/))
})

test('a timer of any length ends when it is due, and not before', () => {
  vi.useFakeTimers()
  const ended: number[] = []
  const long = [2 ** 31 - 1, 2 ** 31, 30 * 86_400_000, 100 * 86_400_000]
  for (const ms of long) new Timer(ms, () => ended.push(ms)).unref()
  const never = deadlineTimer(Number.POSITIVE_INFINITY, () => ended.push(-1))
  expect(never).toBeUndefined()
  new Timer(2 ** 53 - 1, () => ended.push(-2)).unref()
  const cancelled = new Timer(2 ** 32, () => ended.push(-3))
  vi.advanceTimersByTime(2 ** 31 - 2)
  expect(ended).toEqual([])
  vi.advanceTimersByTime(2)
  expect(ended).toEqual([2 ** 31 - 1, 2 ** 31])
  cancelled.cancel()
  vi.advanceTimersByTime(100 * 86_400_000)
  expect(ended).toEqual(long)
})

test('time-outs longer than a timer can be set to do not end at once', async () => {
  for (const timeoutMs of [2 ** 31, 30 * 86_400_000, 2 ** 53 - 1, Number.POSITIVE_INFINITY, 0]) {
    let done: (value: string) => void = () => undefined
    const work = new Promise<string>((resolve) => {
      done = resolve
    })
    const waited = new Call('The wait', takeCall({ timeoutMs })).race(work)
    await new Promise((resolve) => setTimeout(resolve, 5))
    done('done')
    expect(await waited).toBe('done')
  }
  expect([0, 5, Number.POSITIVE_INFINITY].map((timeoutMs) => timeoutOf({ timeoutMs }))).toEqual([
    Number.POSITIVE_INFINITY,
    5,
    Number.POSITIVE_INFINITY,
  ])
  expect(timeoutOf({})).toBe(30_000)
})

test('a call ends its waits by its time and its signal, with its outcome, and each wait once', async () => {
  const never = new Promise<never>(() => undefined)
  const late = new Call('The wait', { timeoutMs: 500 }, 'unknown')
  await expect(late.race(never)).rejects.toMatchObject({
    code: 'TIMEOUT',
    outcome: 'unknown',
    retryable: true,
    message: 'The wait did not end within 500 ms.',
  })
  // A timer of Node's may end up to a millisecond early.
  await new Promise((resolve) => setTimeout(resolve, 5))
  expect(late.leftMs).toBe(0)
  expect(() => late.check()).toThrow(refused('TIMEOUT', /The wait/))
  expect(() => late.rest()).toThrow(refused('TIMEOUT', /The wait/))
  late.restart()
  expect(late.rest().timeoutMs).toBeLessThanOrEqual(500)

  const abort = new AbortController()
  const patient = new Call('The wait', { signal: abort.signal, timeoutMs: 0 })
  expect(patient.rest()).toEqual({ signal: abort.signal, timeoutMs: Number.POSITIVE_INFINITY })
  const { timeoutMs } = new Call('The wait', { timeoutMs: 2 ** 53 - 1 }).rest()
  expect(Number.isSafeInteger(timeoutMs), String(timeoutMs)).toBe(true)
  expect(timeoutMs).toBeGreaterThan(2 ** 53 - 60_000)
  const given: unknown[] = []
  patient.onGivenUp((error) => given.push(error))
  patient.onGivenUp((error) => given.push(error))()
  const raced = patient.race(never)
  abort.abort('enough')
  await expect(raced).rejects.toMatchObject({ code: 'ABORTED', outcome: 'none', cause: 'enough' })
  await expect(patient.race(Promise.resolve(1))).rejects.toMatchObject({ code: 'ABORTED' })
  expect(given).toMatchObject([{ code: 'ABORTED', message: 'The wait was aborted.' }])
  await expect(unlessAborted(abort.signal, never)).rejects.toBe('enough')
  await expect(unlessAborted(new AbortController().signal, Promise.resolve(2))).resolves.toBe(2)
})

test('a queued call settles once, by an answer, a failure or its signal, and then leaves its signal alone', async () => {
  const abort = new AbortController()
  let settled = 0
  class Counted extends QueuedCall<number> {
    protected override onSettled(): void {
      settled++
    }
  }
  const [one, other, third] = [1, 2, 3].map((number) => new Counted(`Call ${number}`, { signal: abort.signal }))
  one?.resolve(5)
  one?.reject(new Error('late'))
  other?.reject(new Error('failed'))
  abort.abort()
  await expect(one?.promise).resolves.toBe(5)
  await expect(other?.promise).rejects.toThrow('failed')
  await expect(third?.promise).rejects.toMatchObject({ code: 'ABORTED', message: 'Call 3 was aborted.' })
  expect(settled).toBe(3)
})

test('an error keeps all but its outcome where it is told of another call', () => {
  const error = new CheckpointError('FENCED', 'taken', { retryable: false, help: 'stop', details: { epoch: 5n } })
  expect(error.withOutcome('none')).toBe(error)
  const { code, message, help, details, outcome, cause } = error.withOutcome('unknown')
  expect({ code, message, help, details, outcome, cause }).toEqual({
    code: 'FENCED',
    message: 'taken',
    help: 'stop',
    details: { epoch: 5n },
    outcome: 'unknown',
    cause: error,
  })
})

test('a deadline that is further away than a timer can be set to is kept all the same', () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
  const deadlines = new Deadlines()
  const end = performance.now() + longestTimerMs * 2.5
  let expired = 0
  let looks = 0
  deadlines.join({
    expire(now) {
      looks++
      if (now < end) return end
      expired++
      return Number.POSITIVE_INFINITY
    },
  })
  deadlines.watch(end)
  vi.advanceTimersByTime(longestTimerMs * 2)
  expect([expired, looks]).toEqual([0, 2])
  vi.advanceTimersByTime(longestTimerMs)
  expect(expired).toBe(1)
})

test('a pause ends with its time, or at once with its signal', async () => {
  const abort = new AbortController()
  const long = pause(2 ** 33, abort.signal)
  await pause(1)
  abort.abort()
  await long
  await pause(Number.POSITIVE_INFINITY, AbortSignal.abort())
})

/**
 * Values that callers hand in by mistake, and every public function with what it takes, for tests of what becomes of the one in the
 * other. Values have names, since many of them cannot be printed.
 */
import { rm } from 'node:fs/promises'
import fc from 'fast-check'
import {
  CheckpointError,
  type CheckpointLog,
  type CheckpointReader,
  type Client,
  connect,
  type ErrorCode,
  json,
  Peer,
  PersistentMemoryUnit,
  ProcessPair,
  type Region,
  type RegionReader,
  raw,
  v8Codec,
} from '../../src/index.js'

/** What a call is made on. */
export interface Stage {
  unit: PersistentMemoryUnit
  client: Client
  /** Raw, `rawBytes` long. */
  region: Region
  reader: RegionReader
  /** Of the logs. */
  logs: Region
  log: CheckpointLog<unknown>
  bytesLog: CheckpointLog<Uint8Array>
  checkpoints: CheckpointReader<unknown>
  peer: Peer
}
export const rawBytes = 65_536

/** Made anew for each use: some can be used once, or change. */
export class Given {
  constructor(
    readonly name: string,
    readonly make: () => unknown,
  ) {}

  [fc.toStringMethod](): string {
    return this.name
  }
}

const throwing = () => {
  throw new Error('a getter of the caller')
}
function detached(): Uint8Array {
  const bytes = new Uint8Array(64).fill(7)
  structuredClone(bytes.buffer, { transfer: [bytes.buffer] })
  return bytes
}
type Resizable = ArrayBuffer & { resize(bytes: number): void }
function shrunk(length?: number): Uint8Array {
  const buffer = new (ArrayBuffer as unknown as new (bytes: number, more: object) => Resizable)(64, {
    maxByteLength: 64,
  })
  const bytes = length === undefined ? new Uint8Array(buffer, 32) : new Uint8Array(buffer, 32, length)
  buffer.resize(8)
  return bytes
}
function circle(): object {
  const around: Record<string, unknown> = { a: [] }
  around.a = [around]
  return around
}

/** The key of an option that nobody has. */
export const strangeKey = Symbol('an option')

/** What is wrong everywhere, or nearly. */
export const oddities: Record<string, () => unknown> = {
  null: () => null,
  NaN: () => Number.NaN,
  '-Infinity': () => Number.NEGATIVE_INFINITY,
  Infinity: () => Number.POSITIVE_INFINITY,
  '-1': () => -1,
  '-0': () => -0,
  '0': () => 0,
  '1': () => 1,
  '0.5': () => 0.5,
  '2^31': () => 2 ** 31,
  '2^53': () => 2 ** 53,
  '1e300': () => 1e300,
  '-1n': () => -1n,
  '0n': () => 0n,
  '2n^64n': () => 2n ** 64n,
  true: () => true,
  'an empty text': () => '',
  'a text with NUL': () => 'a\0b',
  'a lone surrogate': () => '\ud800',
  'a long text': () => 'x'.repeat(1000),
  '"durable"': () => 'durable',
  '"127.0.0.1"': () => '127.0.0.1',
  '"::1"': () => '::1',
  'a symbol': () => Symbol('odd'),
  'an option under a symbol': () => ({ [strangeKey]: 1 }),
  'a function': () => () => undefined,
  'a class': () => class {},
  'an object of no prototype': () => Object.create(null),
  'an object that has no text': () => ({ toString: throwing, valueOf: throwing, [Symbol.toPrimitive]: throwing }),
  'an object with __proto__': () => JSON.parse('{"__proto__": 1}'),
  'getters that throw': () =>
    Object.defineProperties(
      {},
      Object.fromEntries(
        [
          'timeoutMs',
          'signal',
          'bytes',
          'offset',
          'length',
          'id',
          'codec',
          'from',
          'region',
          'cursor',
          'pool',
          'x',
        ].map((key) => [key, { get: throwing, enumerable: true }]),
      ),
    ),
  'a proxy that was revoked': () => {
    const { proxy, revoke } = Proxy.revocable({}, {})
    revoke()
    return proxy
  },
  'a proxy of an array that was revoked': () => {
    const { proxy, revoke } = Proxy.revocable([], {})
    revoke()
    return proxy
  },
  'a proxy that throws': () =>
    new Proxy(
      {},
      { get: throwing, has: throwing, ownKeys: throwing, getPrototypeOf: throwing, getOwnPropertyDescriptor: throwing },
    ),
  'a date': () => new Date(Number.NaN),
  'a map': () => new Map([['a', 1]]),
  'a promise': () => Promise.resolve({}),
  'an error': () => new Error('odd'),
  'a signal': () => new AbortController().signal,
  'a signal that has aborted': () => AbortSignal.abort(new Error('enough')),
  'what looks like a signal': () => Object.create(AbortSignal.prototype),
  'what looks like memory': () => Object.create(Uint8Array.prototype),
  'memory that was transferred': detached,
  'memory shrunk away': () => shrunk(),
  'memory shrunk away from a fixed view': () => shrunk(8),
  'shared memory': () => new Uint8Array(new SharedArrayBuffer(16)),
  'a DataView': () => new DataView(new ArrayBuffer(8)),
  'a Float64Array': () => new Float64Array(4),
  'an ArrayBuffer': () => new ArrayBuffer(8),
  'a sparse array': () => new Array(3),
  'a circle': circle,
  'bigints in it': () => ({ a: [1n] }),
  'a stream of nonsense': () => ({ [Symbol.asyncIterator]: () => ({ next: () => 5 }) }),
  'a stream of text': () =>
    (async function* () {
      yield 'text'
    })(),
  'an iterator that is none': () => ({ [Symbol.asyncIterator]: () => null }),
  'a codec that throws': () => ({ id: 300, encode: throwing, decode: throwing }),
  'a codec of nothing': () => ({ id: 301, encode: () => undefined, decode: () => undefined }),
  'a codec of memory that is gone': () => ({ id: 302, encode: detached, decode: () => undefined }),
  'a list of odd ranges': () => [{ offset: -1, bytes: new Uint8Array(1), length: 1 }, null],
  'a cursor of elsewhere': () => ({ region: 'elsewhere', epoch: 1n, sequence: 1n }),
}

export const odd: fc.Arbitrary<Given> = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(...Object.entries(oddities).map(([name, make]) => new Given(name, make))) },
  {
    weight: 1,
    arbitrary: fc
      .anything({
        withBigInt: true,
        withDate: true,
        withMap: true,
        withSet: true,
        withTypedArray: true,
        withSparseArray: true,
        maxDepth: 1,
      })
      .map((value) => new Given(fc.stringify(value), () => value)),
  },
)

export function good(name: string, make: () => unknown): Given {
  return new Given(name, make)
}
export function is(value: unknown): Given {
  return new Given(fc.stringify(value), () => value)
}

/** Options by their names, with a value of each that will do. */
export type Options = Record<string, Given>
export type Parameter = Given | Options

export interface PublicCall {
  readonly name: string
  readonly parameters: readonly Parameter[]
  /** Besides INVALID_ARGUMENT and, where it takes a signal or a time, ABORTED and TIMEOUT. */
  readonly codes: readonly ErrorCode[]
  /** @returns what it returned, or its promise */
  call(stage: Stage, given: unknown[]): unknown
  /** Undoes what a call did that went well. */
  undo?(stage: Stage, result: unknown): unknown
  /** It returns a promise and never throws. */
  readonly promises?: true
  /** It waits for what may never come, so that it is given no time that is long. */
  readonly waits?: true
  /** Values that would cost much and are right. */
  readonly spare?: (value: unknown) => boolean
}

const call: Options = { timeoutMs: is(20_000), signal: good('a signal', () => new AbortController().signal) }
const write: Options = { ...call, durability: is('visible') }
const creation: Options = {
  ...call,
  bytes: is(65_536),
  mode: is('append'),
  onFull: is('drop-oldest'),
  lease: is({ silenceMs: 1000, stallMs: 0 }),
  labels: is({ team: 'a' }),
}
const bytes = good('16 bytes', () => new Uint8Array(16).fill(3))
const address = good('the address of the unit', () => '127.0.0.1:1')
const chunks = good('a stream of 16 bytes', () =>
  (async function* () {
    yield new Uint8Array(16)
  })(),
)
const dataCodes: ErrorCode[] = ['OUT_OF_BOUNDS', 'NOT_DURABLE']
const logCodes: ErrorCode[] = ['NOT_DURABLE', 'REGION_TOO_SMALL', 'LIMIT_REACHED']
const readCodes: ErrorCode[] = ['CHECKPOINT_NOT_FOUND', 'CHECKPOINT_LAPPED', 'CURSOR_INVALID', 'CODEC_MISMATCH']
const large = (value: unknown) => typeof value === 'number' && value > 1e6 && value < 2 ** 40

async function drain(iterator: AsyncIterable<unknown>): Promise<void> {
  for await (const _ of iterator) if (_ === iterator) return
}

// biome-ignore lint/suspicious/noExplicitAny: what is called is given what its types do not allow.
type Any = any

export const publicCalls: readonly PublicCall[] = [
  {
    name: 'connect',
    parameters: [
      address,
      { ...call, transport: is('iwarp'), maxBytesInFlight: is(65_536), retryMs: is(0), identity: is('me') },
    ],
    codes: ['CONNECTION_REFUSED', 'CONNECTION_LOST', 'NOT_SUPPORTED', 'SYSTEM'],
    promises: true,
    call: (_, given) => (connect as Any)(...given),
    undo: (_, client) => (client as Client).close(),
  },
  {
    name: 'client.createRegion',
    parameters: [is('made'), creation],
    codes: ['REGION_EXISTS', 'POOL_FULL', 'LIMIT_REACHED', 'REGION_TOO_SMALL', 'CONNECTION_LOST'],
    promises: true,
    call: ({ client }, given) => (client.createRegion as Any)(...given),
    async undo({ client }, region) {
      await (region as Region).close()
      await client.deleteRegion((region as Region).name)
    },
  },
  {
    name: 'client.openRegion',
    parameters: [
      is('raw'),
      { ...write, mode: is('read'), lease: is({ silenceMs: 1000 }), create: is({ bytes: 65_536 }) },
    ],
    codes: [
      'REGION_NOT_FOUND',
      'REGION_BUSY',
      'NOT_DURABLE',
      'REGION_TOO_SMALL',
      'POOL_FULL',
      'LIMIT_REACHED',
      'CONNECTION_LOST',
    ],
    promises: true,
    call: ({ client }, given) => (client.openRegion as Any)(...given),
    undo: (_, region) => (region as RegionReader).close(),
  },
  {
    name: 'client.deleteRegion',
    parameters: [is('nowhere'), call],
    codes: ['REGION_NOT_FOUND'],
    promises: true,
    call: ({ client }, given) => (client.deleteRegion as Any)(...given),
  },
  {
    name: 'client.regions',
    parameters: [{ ...call, prefix: is('') }],
    codes: [],
    call: ({ client }, given) => drain((client.regions as Any)(...given)),
  },
  {
    name: 'client.watch',
    parameters: [is('raw'), { sinceRevision: is(1n), signal: call.signal as Given }],
    codes: [],
    call: ({ client }, given) => (client.watch as Any)(...given),
    undo: (_, watch) => (watch as AsyncGenerator).return(undefined),
  },
  {
    name: 'client.allocate',
    parameters: [is(4096)],
    codes: ['OUT_OF_MEMORY'],
    call: ({ client }, given) => (client.allocate as Any)(...given),
    undo: (_, buffer) => (buffer as Disposable)[Symbol.dispose](),
    spare: large,
  },
  {
    name: 'client.status',
    parameters: [call],
    codes: [],
    promises: true,
    call: ({ client }, given) => (client.status as Any)(...given),
  },
  {
    name: 'client.close',
    parameters: [call],
    codes: [],
    promises: true,
    async call({ unit }, given) {
      const client = await connect(unit.address)
      try {
        const closing = (client.close as Any)(...given)
        await closing
      } catch (error) {
        // It is as open as before, and can be closed.
        await client.status()
        throw error
      } finally {
        await client.close()
      }
    },
  },
  {
    name: 'region.read',
    parameters: [is(0), is(16), call],
    codes: dataCodes,
    promises: true,
    call: ({ reader }, given) => (reader.read as Any)(...given),
  },
  {
    name: 'region.readInto',
    parameters: [good('a range', () => ({ offset: 0, bytes: new Uint8Array(8) })), call],
    codes: dataCodes,
    promises: true,
    call: ({ reader }, given) => (reader.readInto as Any)(...given),
  },
  {
    name: 'region.write',
    parameters: [is(64), bytes, write],
    codes: dataCodes,
    promises: true,
    call: ({ region }, given) => (region.write as Any)(...given),
  },
  {
    name: 'region.writeAll',
    parameters: [good('a list of ranges', () => [{ offset: 0n, bytes: new Uint8Array(8).fill(1) }]), write],
    codes: dataCodes,
    promises: true,
    call: ({ region }, given) => (region.writeAll as Any)(...given),
  },
  {
    name: 'region.flush',
    parameters: [is([{ offset: 0, length: 8 }]), call],
    codes: dataCodes,
    promises: true,
    call: ({ region }, given) => (region.flush as Any)(...given),
  },
  ...(['metadata', 'addressContext'] as const).map(
    (method): PublicCall => ({
      name: `region.${method}`,
      parameters: [call],
      codes: [],
      promises: true,
      call: ({ reader }, given) => (reader[method] as Any)(...given),
    }),
  ),
  {
    name: 'region.checkpoints',
    parameters: [{ codec: is(json) }],
    codes: ['REGION_MODE'],
    call: ({ log, reader }, given) => (log ? (reader.checkpoints as Any)(...given) : undefined),
  },
  {
    name: 'region.log',
    parameters: [{ codec: is(json), schema: is(1), delta: is({ fullEvery: 2 }) }],
    codes: ['REGION_MODE'],
    call: ({ region }, given) => (region.log as Any)(...given),
  },
  {
    name: 'log.append',
    parameters: [is({ step: 1 }), write],
    codes: logCodes,
    promises: true,
    call: ({ log }, given) => (log.append as Any)(...given),
  },
  {
    name: 'log.append of bytes',
    parameters: [bytes, write],
    codes: logCodes,
    promises: true,
    call: ({ bytesLog }, given) => (bytesLog.append as Any)(...given),
  },
  {
    name: 'log.appendStream',
    parameters: [chunks, { ...write, bytes: is(16) }],
    codes: logCodes,
    promises: true,
    call: ({ bytesLog }, given) => (bytesLog.appendStream as Any)(...given),
  },
  {
    name: 'log.clear',
    parameters: [{ ...write, before: is(1n) }],
    codes: logCodes,
    promises: true,
    call: ({ log }, given) => (log.clear as Any)(...given),
  },
  {
    name: 'checkpoints.latest',
    parameters: [{ ...call, beforeDamage: is(true) }],
    codes: readCodes,
    promises: true,
    call: ({ checkpoints }, given) => (checkpoints.latest as Any)(...given),
  },
  ...(['newest', 'all', 'list', 'durableSequence'] as const).map(
    (method): PublicCall => ({
      name: `checkpoints.${method}`,
      parameters: [call],
      codes: readCodes,
      promises: true,
      call: ({ checkpoints }, given) => (checkpoints[method] as Any)(...given),
    }),
  ),
  {
    name: 'checkpoints.at',
    parameters: [is(1n), call],
    codes: readCodes,
    promises: true,
    call: ({ checkpoints }, given) => (checkpoints.at as Any)(...given),
  },
  {
    name: 'checkpoints.unread',
    parameters: [is('a saved cursor'), call],
    codes: readCodes,
    call: ({ checkpoints }, given) => drain((checkpoints.unread as Any)(...given)),
  },
  {
    name: 'checkpoints.follow',
    parameters: [{ from: is('latest'), signal: call.signal as Given }],
    codes: readCodes,
    call: ({ checkpoints }, given) => (checkpoints.follow as Any)(...given),
    undo: (_, follow) => (follow as AsyncGenerator).return(undefined),
  },
  {
    name: 'checkpoints.stream',
    parameters: [is(1n), call],
    codes: readCodes,
    call: ({ checkpoints }, given) => drain((checkpoints.stream as Any)(...given)),
  },
  {
    name: 'checkpoints.saveCursor',
    parameters: [is('mine'), good('a cursor', () => undefined), call],
    codes: [...readCodes, 'LIMIT_REACHED'],
    promises: true,
    call: ({ checkpoints, log }, [name, at, options]) =>
      (checkpoints.saveCursor as Any)(name, at ?? { region: idOf(log), epoch: 1n, sequence: 1n }, options),
  },
  {
    name: 'follow.save',
    parameters: [is('mine'), call],
    codes: [...readCodes, 'LIMIT_REACHED'],
    promises: true,
    async call({ checkpoints }, given) {
      const follow = checkpoints.follow()
      try {
        return await (follow.save as Any)(...given)
      } finally {
        await follow.return()
      }
    },
  },
  ...[json, v8Codec, raw].flatMap((codec): PublicCall[] => [
    {
      name: `encode of codec ${codec.id}`,
      parameters: [codec === raw ? bytes : is({ a: [1, null, 'x'] })],
      codes: [],
      call: (_, given) => (codec.encode as Any)(...given),
    },
    {
      name: `decode of codec ${codec.id}`,
      parameters: [good('what it encoded', () => (codec === raw ? new Uint8Array(1) : codec.encode({ a: 1 } as Any)))],
      codes: ['CODEC_MISMATCH'],
      call: (_, given) => (codec.decode as Any)(...given, 0),
    },
  ]),
  {
    name: 'new ProcessPair',
    parameters: [
      address,
      {
        region: is('pair'),
        onPrimary: good('some work', () => async () => undefined),
        onStandby: good('a listener', () => () => undefined),
        onDamage: good('a choice', () => () => 'wait'),
        standby: is('hot'),
        followMs: is(5),
        codec: is(json),
        schema: is(0),
        create: is({ bytes: 65_536 }),
        lease: is({ silenceMs: 500 }),
        transport: is('iwarp'),
        maxBytesInFlight: is(65_536),
        retryMs: is(0),
        identity: is('me'),
        timeoutMs: is(1000),
      },
    ],
    codes: ['REGION_TOO_SMALL'],
    call: (_, given) => new (ProcessPair as Any)(...given),
    undo: (_, pair) => (pair as ProcessPair)[Symbol.asyncDispose](),
  },
  {
    name: 'pair.run',
    parameters: [{ signal: good('an aborted signal', () => AbortSignal.abort()) }],
    codes: ['CONNECTION_REFUSED'],
    promises: true,
    async call(_, given) {
      const pair = new ProcessPair('127.0.0.1:1', { region: 'pair', onPrimary: async () => undefined, timeoutMs: 1000 })
      const running = (pair.run as Any)(...given)
      await Promise.all([running, pair[Symbol.asyncDispose]()])
    },
  },
  {
    name: 'PersistentMemoryUnit.start',
    parameters: [
      {
        pool: is({ medium: 'memory', bytes: 1 << 20 }),
        listen: is('127.0.0.1:0'),
        data: is(['127.0.0.1:0']),
        advertise: is([]),
        transport: is('iwarp'),
        security: is({ mode: 'loopback' }),
        limits: is({ sessions: 2 }),
        signal: call.signal as Given,
        log: good('a log', () => () => undefined),
      },
    ],
    codes: ['UNAUTHENTICATED', 'NOT_SUPPORTED', 'ADDRESS_IN_USE', 'SYSTEM', 'POOL_FULL'],
    promises: true,
    call: (_, given) => (PersistentMemoryUnit.start as Any)(...given),
    undo: (_, unit) => (unit as PersistentMemoryUnit).close(),
  },
  {
    name: 'PersistentMemoryUnit.createPool',
    // In the folder of the test.
    parameters: [is({ medium: 'file', path: 'made', bytes: 1 << 20 }), { signal: call.signal as Given }],
    codes: ['POOL_FULL', 'SYSTEM', 'POOL_EXISTS', 'NOT_SUPPORTED'],
    promises: true,
    call: (_, given) => (PersistentMemoryUnit.createPool as Any)(...given),
    undo: () => rm('made', { force: true }),
  },
  {
    name: 'client.openRegion for writing',
    parameters: [
      is('owned'),
      { ...call, mode: is('write'), lease: is({ silenceMs: 1000 }), create: is({ bytes: 65_536, mode: 'raw' }) },
    ],
    codes: ['REGION_NOT_FOUND', 'REGION_BUSY', 'REGION_TOO_SMALL', 'POOL_FULL', 'LIMIT_REACHED', 'CONNECTION_LOST'],
    promises: true,
    call: ({ client }, given) => (client.openRegion as Any)(...given),
    async undo({ client }, region) {
      await (region as RegionReader).close()
      const { name } = region as RegionReader
      if (name !== 'raw' && name !== 'log') await client.deleteRegion(name)
    },
  },
  {
    name: 'unit.close',
    parameters: [call],
    codes: [],
    promises: true,
    async call(_, given) {
      const unit = await PersistentMemoryUnit.start({ pool: { medium: 'memory', bytes: 1 << 20 } })
      try {
        await (unit.close as Any)(...given)
      } finally {
        await unit.close()
      }
    },
  },
  {
    name: 'Peer.start',
    parameters: [
      {
        listen: is('127.0.0.1:0'),
        partner: is('127.0.0.1:1'),
        name: is('pair'),
        secret: is('0123456789abcdef'),
        transport: is('iwarp'),
      },
    ],
    codes: ['UNAUTHENTICATED', 'NOT_SUPPORTED', 'ADDRESS_IN_USE', 'SYSTEM'],
    call: (_, given) => (Peer.start as Any)(...given),
    undo: (_, peer) => (peer as Peer).close(),
  },
  {
    name: 'peer.publish',
    parameters: [{ state: is('ready'), epoch: is(1n), progress: is(2n) }],
    codes: [],
    call: ({ peer }, given) => (peer.publish as Any)(...given),
  },
  ...(['status', 'whenLinked'] as const).map(
    (method): PublicCall => ({
      name: `peer.${method}`,
      parameters: [{ timeoutMs: is(1), signal: call.signal as Given }],
      codes: ['CONNECTION_REFUSED', 'CONNECTION_LOST'],
      promises: true,
      waits: true,
      call: ({ peer }, given) => (peer[method] as Any)(...given),
    }),
  ),
  {
    name: 'new CheckpointError',
    parameters: [
      is('FENCED'),
      is('message'),
      { outcome: is('none'), retryable: is(true), help: is('h'), details: is({}), cause: is(1) },
    ],
    codes: [],
    call: (_, given) => new (CheckpointError as Any)(...given),
  },
  {
    name: 'CheckpointError.from',
    parameters: [is({ name: 'CheckpointError', code: 'FENCED', message: 'm' })],
    codes: [],
    call: (_, given) => (CheckpointError.from as Any)(...given),
  },
]

function idOf(log: CheckpointLog<unknown>): string {
  return (JSON.parse(JSON.stringify(log)) as { id: string }).id
}

export function isOptions(parameter: Parameter): parameter is Options {
  return !(parameter instanceof Given)
}

/** The options as an object, made anew. */
export function makeOptions(options: Options): Record<string, unknown> {
  return Object.fromEntries(Object.entries(options).map(([key, given]) => [key, given.make()]))
}

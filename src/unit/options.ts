/** What a unit is started with, and what is checked of it before anything is touched. */
import { parseAddress } from '../address.js'
import {
  abortSignal,
  type Check,
  callable,
  invalid,
  oneOf,
  sizeFrom,
  text,
  trueOrFalse,
  wholeNumber,
} from '../call/check.js'
import { transport } from '../call/options.js'
import { asOptions, listOf, needed, nested, shape, take } from '../call/shape.js'
import { CheckpointError } from '../errors.js'
import { roundUp } from '../pool/geometry.js'
import type { Size, Transport } from '../types.js'

/** Where the unit's pool lives. */
export type PoolOptions =
  /** In memory: it survives its clients, not the unit. */
  | { medium: 'memory'; bytes: Size; maxRegions?: number }
  /**
   * In a file. With `create` a new one is made, with all its space reserved, when nothing is there; `bytes` and `maxRegions` are
   * for that. Without it a missing pool is an error, so that an existing pool is never silently replaced by an empty one.
   */
  | { medium: 'file'; path: string; create?: boolean; bytes?: Size; maxRegions?: number }
  /**
   * On a persistent memory device such as /dev/dax0.0, all of it; regions take multiples of 2 MiB. With `create` it is
   * made a pool when its first and its last 4 KiB are zeros, and no region is in it.
   */
  | { medium: 'devdax'; path: string; create?: boolean; maxRegions?: number }

/** How {@link PersistentMemoryUnit.createPool} is called. */
export interface MakingOptions {
  signal?: AbortSignal
}

export type Security =
  /** No authentication; loopback addresses only. The default. */
  | { mode: 'loopback' }
  /** No authentication on any address: whoever reaches the unit may read, write and delete everything. */
  | { mode: 'dangerously-unauthenticated' }
  /** NOT_SUPPORTED so far. */
  | { mode: 'tls'; ca: string; cert: string; key: string }
  /** NOT_SUPPORTED so far. */
  | { mode: 'token'; file: string }

export interface Limits {
  /** Clients at a time. Default 1,024. */
  sessions?: number
  /** Data and session connections at a time. Default 4,096. */
  connections?: number
  /** Open handles a session, and as many watches. Default 4,096. */
  handles?: number
  /** Bytes of a region. Default: the pool's. */
  regionBytes?: Size
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error'
export type UnitLog = (level: LogLevel, message: string, fields?: Readonly<Record<string, unknown>>) => void

export interface UnitOptions {
  pool: PoolOptions
  /** host:port of the control service; port 0 takes any. Default 127.0.0.1:0. */
  listen?: string
  /** host:port of the data plane, one or more. Default: the host of `listen`, any port. */
  data?: readonly string[]
  /**
   * What clients are told instead of the data plane's own addresses, for containers and NAT: host:port, or host alone
   * to keep each port. Names are resolved when the unit starts.
   */
  advertise?: readonly string[]
  /** Fabrics to listen on. Default `auto`: all that this build and machine have. */
  transport?: Transport
  /** Default `{ mode: 'loopback' }`. */
  security?: Security
  limits?: Limits
  /** Aborting it closes the unit, also while it starts. */
  signal?: AbortSignal
  /**
   * Called with what an operator may want to know: every takeover, fence, loss of an owner, mended copy, refusal and failure,
   * with names and identities escaped. What it throws or rejects with ends nothing. The unit itself prints nothing; without
   * a log its one warning, that it runs unauthenticated, goes to `process.emitWarning`.
   */
  log?: UnitLog
}

export interface CheckedOptions {
  pool: { medium: 'memory'; bytes: number; maxRegions?: number } | CheckedFilePool | CheckedDevdaxPool
  listen: string
  data: readonly string[]
  advertise: readonly string[]
  transport: Transport
  anyAddress: boolean
  limits: { sessions: number; connections: number; handles: number; regionBytes: number | undefined }
  log: UnitLog | undefined
}

export interface CheckedFilePool {
  medium: 'file'
  path: string
  create: boolean
  bytes?: number
  maxRegions?: number
}

export interface CheckedDevdaxPool {
  medium: 'devdax'
  path: string
  create: boolean
  maxRegions?: number
}

const count = wholeNumber(1, 2 ** 32 - 1)
const path: Check<string> = (value, what) => {
  const given = text(value, what)
  if (given === '' || given.includes('\0')) throw invalid(`${what} must be the path of a file or device.`)
  return given
}
const table = { maxRegions: count }
const pools = {
  memory: shape<Extract<PoolOptions, { medium: 'memory' }>>({
    medium: needed(oneOf('memory')),
    bytes: needed(sizeFrom(1)),
    ...table,
  }),
  file: shape<Extract<PoolOptions, { medium: 'file' }>>({
    medium: needed(oneOf('file')),
    path: needed(path),
    create: trueOrFalse,
    bytes: sizeFrom(1),
    ...table,
  }),
  devdax: shape<Extract<PoolOptions, { medium: 'devdax' }>>({
    medium: needed(oneOf('devdax')),
    path: needed(path),
    create: trueOrFalse,
    ...table,
  }),
}
const securities = {
  loopback: shape<Extract<Security, { mode: 'loopback' }>>({ mode: needed(oneOf('loopback')) }),
  'dangerously-unauthenticated': shape<Extract<Security, { mode: 'dangerously-unauthenticated' }>>({
    mode: needed(oneOf('dangerously-unauthenticated')),
  }),
  tls: shape<Extract<Security, { mode: 'tls' }>>({
    mode: needed(oneOf('tls')),
    ca: needed(text),
    cert: needed(text),
    key: needed(text),
  }),
  token: shape<Extract<Security, { mode: 'token' }>>({ mode: needed(oneOf('token')), file: needed(text) }),
}

const pool: Check<PoolOptions> = (value, what) => {
  const medium = oneOf('memory', 'file', 'devdax')(asOptions(value, what).medium, `${what}.medium`)
  return take<PoolOptions>(pools[medium], value, what)
}

const security: Check<Security> = (value, what) => {
  const mode = oneOf(
    'loopback',
    'dangerously-unauthenticated',
    'tls',
    'token',
  )(asOptions(value, what).mode, `${what}.mode`)
  return take<Security>(securities[mode], value, what)
}

const listening: Check<string> = (value, what) => {
  parseAddress(value, what)
  return value as string
}
const advertised: Check<string> = (value, what) => {
  parseAddress(value, what, { port: 0, leastPort: 1 })
  return value as string
}

const unitOptions = shape<UnitOptions>({
  pool: needed(pool),
  listen: listening,
  data: listOf(listening),
  advertise: listOf(advertised),
  transport,
  security,
  limits: nested(shape<Limits>({ sessions: count, connections: count, handles: count, regionBytes: sizeFrom(1) })),
  signal: abortSignal,
  log: callable<UnitLog>,
})

/** @throws CheckpointError `INVALID_ARGUMENT`, `NOT_SUPPORTED` */
export function checkOptions(options: unknown): CheckedOptions & { signal: AbortSignal | undefined } {
  const given = take(unitOptions, options)
  const { limits = {}, log } = given
  return {
    pool: checkedPool(given.pool),
    listen: given.listen ?? '127.0.0.1:0',
    data: given.data ?? [],
    advertise: given.advertise ?? [],
    transport: given.transport ?? 'auto',
    anyAddress: allowsAnyAddress(given.security),
    limits: {
      sessions: limits.sessions ?? 1024,
      connections: limits.connections ?? 4096,
      handles: limits.handles ?? 4096,
      regionBytes: limits.regionBytes === undefined ? undefined : Number(limits.regionBytes),
    },
    log,
    signal: given.signal,
  }
}

const makingOptions = shape<MakingOptions>({ signal: abortSignal })

/** @throws CheckpointError `INVALID_ARGUMENT` */
export function checkMaking(options: unknown, making: unknown): { pool: CheckedOptions['pool'] } & MakingOptions {
  return { pool: checkedPool(pool(options, 'pool')), ...take(makingOptions, making) }
}

/** Pools are whole blocks. */
function checkedPool(given: PoolOptions): CheckedOptions['pool'] {
  const maxRegions = given.maxRegions === undefined ? {} : { maxRegions: given.maxRegions }
  const bytes = (size: Size) => roundUp(Number(size), 4096)
  switch (given.medium) {
    case 'memory':
      return { medium: 'memory', bytes: bytes(given.bytes), ...maxRegions }
    case 'devdax':
      return { medium: 'devdax', path: given.path, create: given.create ?? false, ...maxRegions }
    case 'file': {
      const size = given.bytes === undefined ? {} : { bytes: bytes(given.bytes) }
      return { medium: 'file', path: given.path, create: given.create ?? false, ...size, ...maxRegions }
    }
  }
}

/** Whether addresses other than loopback are allowed. */
function allowsAnyAddress(given: Security = { mode: 'loopback' }): boolean {
  if (given.mode === 'tls' || given.mode === 'token') {
    throw new CheckpointError('NOT_SUPPORTED', `Security mode ${given.mode} is not supported by this release.`, {
      help: 'Keep the unit on loopback addresses, or behind a network that only trusted hosts reach.',
    })
  }
  return given.mode === 'dangerously-unauthenticated'
}

/** What a unit is started with, and what is checked of it before anything is touched. */
import { CheckpointError } from '../errors.js'
import { roundUp } from '../pool/geometry.js'
import type { Size, Transport } from '../types.js'

/** Where the unit's pool lives. */
export type PoolOptions =
  /** In memory: it survives its clients, not the unit. */
  | { medium: 'memory'; bytes: Size; maxRegions?: number }
  /** In a file, made with all its space reserved when it is not there; `bytes` is needed then only. */
  | { medium: 'file'; path: string; bytes?: Size; maxRegions?: number }
  /**
   * On a persistent memory device such as /dev/dax0.0, all of it. It becomes a pool when its first 8 KiB are zeros;
   * regions take multiples of 2 MiB.
   */
  | { medium: 'devdax'; path: string; maxRegions?: number }

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
  /** Open handles a session. Default 4,096. */
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
   * Called with what an operator may want to know. The unit itself prints nothing; without a log its one warning, that it
   * runs unauthenticated, goes to `process.emitWarning`.
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
  log: UnitLog
  /** Somebody reads the log. */
  logged: boolean
}
export interface CheckedFilePool {
  medium: 'file'
  path: string
  bytes?: number
  maxRegions?: number
}

export interface CheckedDevdaxPool {
  medium: 'devdax'
  path: string
  maxRegions?: number
}

/** @throws CheckpointError `INVALID_ARGUMENT`, `NOT_SUPPORTED` */
export function checkOptions(options: UnitOptions): CheckedOptions {
  if (typeof options !== 'object' || options === null) throw invalid('A unit is started with an object of options.')
  const listen = options.listen ?? '127.0.0.1:0'
  const limits = options.limits ?? {}
  const regionBytes = limits.regionBytes === undefined ? undefined : toBytes(limits.regionBytes, 'limits.regionBytes')
  return {
    pool: checkPool(options.pool),
    listen,
    data: options.data ?? [],
    advertise: options.advertise ?? [],
    transport: checkTransport(options.transport ?? 'auto'),
    anyAddress: checkSecurity(options.security ?? { mode: 'loopback' }),
    limits: {
      sessions: count(limits.sessions, 1024, 'limits.sessions'),
      connections: count(limits.connections, 4096, 'limits.connections'),
      handles: count(limits.handles, 4096, 'limits.handles'),
      regionBytes,
    },
    log: options.log ?? (() => undefined),
    logged: options.log !== undefined,
  }
}

function checkPool(pool: PoolOptions): CheckedOptions['pool'] {
  if (typeof pool !== 'object' || pool === null)
    throw invalid('A unit needs a pool: { medium, bytes } or { medium, path }.')
  if (pool.medium !== 'memory' && pool.medium !== 'file' && pool.medium !== 'devdax') {
    throw invalid(`A pool's medium is memory, file or devdax; it is ${String((pool as { medium?: unknown }).medium)}.`)
  }
  const maxRegions = pool.maxRegions === undefined ? {} : { maxRegions: count(pool.maxRegions, 0, 'pool.maxRegions') }
  if (pool.medium === 'memory') return { medium: 'memory', bytes: poolBytes(pool.bytes), ...maxRegions }
  if (typeof pool.path !== 'string' || pool.path === '' || pool.path.includes('\0')) {
    throw invalid(`A ${pool.medium} pool needs a path.`)
  }
  if (pool.medium === 'devdax') return { medium: 'devdax', path: pool.path, ...maxRegions }
  return {
    medium: 'file',
    path: pool.path,
    ...(pool.bytes === undefined ? {} : { bytes: poolBytes(pool.bytes) }),
    ...maxRegions,
  }
}

/** Pools are whole blocks. */
function poolBytes(bytes: Size): number {
  return roundUp(toBytes(bytes, 'pool.bytes'), 4096)
}

function checkTransport(transport: Transport): Transport {
  if (transport === 'auto' || transport === 'verbs' || transport === 'iwarp') return transport
  throw invalid(`transport is auto, verbs or iwarp; it is ${String(transport)}.`)
}

/** Whether addresses other than loopback are allowed. */
function checkSecurity(security: Security): boolean {
  switch (security.mode) {
    case 'loopback':
      return false
    case 'dangerously-unauthenticated':
      return true
    case 'tls':
    case 'token':
      throw new CheckpointError('NOT_SUPPORTED', `Security mode ${security.mode} is not supported by this release.`, {
        help: 'Keep the unit on loopback addresses, or behind a network that only trusted hosts reach.',
      })
    default:
      throw invalid(`Security mode ${String((security as { mode?: unknown }).mode)} is not known.`)
  }
}

function toBytes(size: Size, what: string): number {
  const bytes = typeof size === 'bigint' && size <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(size) : size
  if (typeof bytes === 'number' && Number.isSafeInteger(bytes) && bytes > 0) return bytes
  throw invalid(`${what} is a number of bytes from 1 to 2^53-1; it is ${String(size)}.`)
}

function count(value: number | undefined, byDefault: number, what: string): number {
  const number = value ?? byDefault
  if (Number.isSafeInteger(number) && number > 0) return number
  throw invalid(`${what} is a whole number from 1 on; it is ${String(value)}.`)
}

function invalid(message: string): CheckpointError {
  return new CheckpointError('INVALID_ARGUMENT', message)
}

/** What the calls of this package take besides their plain arguments, and the limits of it. */
import type { Codec } from '../checkpoint/codec.js'
import { mostDeltas } from '../checkpoint/delta/payload.js'
import type { FollowOptions } from '../checkpoint/follow.js'
import { geometryOf } from '../checkpoint/geometry.js'
import type { LogOptions } from '../checkpoint/log.js'
import type { LatestOptions, ReaderOptions } from '../checkpoint/reader.js'
import { minBytesInFlight } from '../client/in-flight-budget.js'
import { labelsProblem, limits as slotLimits } from '../pool/slot.js'
import type {
  CallOptions,
  ConnectOptions,
  Cursor,
  Lease,
  OpenOptions,
  RegionMode,
  RegionOptions,
  Size,
  WriteOptions,
} from '../types.js'
import {
  abortSignal,
  boundedText,
  type Check,
  callable,
  invalid,
  milliseconds,
  oneOf,
  requireNotAborted,
  show,
  sizeFrom,
  text,
  toSize,
  uint64,
  wholeNumber,
} from './check.js'
import { asOptions, needed, nested, shape, take, textRecord } from './shape.js'

/** Heartbeats come every 100 ms. */
export const minSilenceMs = 200
export const maxLeaseMs = 86_400_000

const call = { signal: abortSignal, timeoutMs: milliseconds }
const durability = oneOf('visible', 'durable')
export const transport = oneOf('auto', 'verbs', 'iwarp')

export const callOptions = shape<CallOptions>(call)
export const writeOptions = shape<WriteOptions>({ ...call, durability })

export const lease = shape<Lease>({
  silenceMs: wholeNumber(minSilenceMs, maxLeaseMs),
  stallMs: wholeNumber(0, maxLeaseMs),
})

function yesOrNo(value: unknown, what: string): boolean {
  if (typeof value === 'boolean') return value
  throw invalid(`${what} is true or false, not ${show(value)}.`)
}

function labels(value: unknown, what: string): Record<string, string> {
  const given = textRecord(value, what)
  const problem = labelsProblem(given)
  if (problem !== undefined) throw invalid(`${what}: ${problem}.`)
  return given
}

const regionFields = {
  bytes: needed(sizeFrom(1)),
  mode: oneOf('append', 'overwrite', 'raw'),
  onFull: oneOf('drop-oldest', 'wait', 'fail'),
  lease: nested(lease),
  labels,
}
const regionOptions = shape<RegionOptions>(regionFields)
const createOptions = shape<RegionOptions & CallOptions>({ ...call, ...regionFields })

/**
 * How a region is made, as a part of other options: one that is large enough for its format. The signal and the time-out are those
 * of the call it is made for.
 * @throws CheckpointError `INVALID_ARGUMENT`, `REGION_TOO_SMALL`
 */
export function checkRegion(value: unknown, what: string): RegionOptions {
  return roomy(take(regionOptions, value, what))
}

/** The same as the options of a call of its own. */
export function takeCreate(value: unknown): RegionOptions & CallOptions {
  return roomy(take(createOptions, value))
}

function roomy<T extends RegionOptions>(region: T): T {
  requireRoom(region.mode ?? 'append', Number(region.bytes))
  return region
}

/** @throws CheckpointError `REGION_TOO_SMALL` where a region of that size could never hold one checkpoint */
export function requireRoom(mode: RegionMode, bytes: number): void {
  if (mode !== 'raw') geometryOf(mode, bytes)
}

export interface OpenCall extends OpenOptions {
  mode?: 'read' | 'write' | 'takeOver'
  create?: RegionOptions
}
export const openOptions = shape<OpenCall>({
  ...call,
  durability,
  lease: nested(lease),
  mode: oneOf('read', 'write', 'takeOver'),
  create: checkRegion,
})

export const connectOptionFields = {
  ...call,
  transport,
  maxBytesInFlight: wholeNumber(minBytesInFlight),
  retryMs: milliseconds,
  identity: (value: unknown, what: string) => boundedText(value, what, 1, slotLimits.identityBytes),
}
export const connectOptions = shape<ConnectOptions>(connectOptionFields)

export interface ListCall extends CallOptions {
  prefix?: string
}
export const listOptions = shape<ListCall>({ ...call, prefix: text })

export interface WatchCall {
  sinceRevision?: bigint
  signal?: AbortSignal
}
export const watchOptions = shape<WatchCall>({ sinceRevision: uint64, signal: abortSignal })

/** Something with the methods of a codec; its own methods are called on it, so that it stays what it is. */
export function codec<T>(value: unknown, what: string): Codec<T> {
  if (typeof value !== 'object' && typeof value !== 'function') {
    throw invalid(`${what} must be a codec, such as json; it is ${show(value)}.`)
  }
  try {
    const { id, encode, decode } = value as Codec<T>
    wholeNumber(0, 0xffff)(id, `${what}.id`)
    callable(encode, `${what}.encode`)
    callable(decode, `${what}.decode`)
  } catch (error) {
    throw invalid(error instanceof Error ? error.message : `${what} cannot be read.`, undefined, error)
  }
  return value as Codec<T>
}

export const schema = wholeNumber(0, 2 ** 32 - 1)

export const readerOptions = shape<ReaderOptions<unknown>>({ codec })
export const logOptions = shape<LogOptions<unknown>>({
  codec,
  schema,
  delta: nested(shape<{ readonly fullEvery: number }>({ fullEvery: needed(wholeNumber(1, mostDeltas + 1)) })),
})

export interface StreamCall extends WriteOptions {
  bytes: Size
}
export const streamOptions = shape<StreamCall>({ ...call, durability, bytes: needed(toSize as Check<Size>) })

export interface ClearCall extends WriteOptions {
  before?: bigint
}
export const clearOptions = shape<ClearCall>({ ...call, durability, before: uint64 })

export const latestOptions = shape<LatestOptions>({ ...call, beforeDamage: yesOrNo })
export const followOptions = shape<FollowOptions>({
  from: (value, what) => (typeof value === 'string' ? value : (asOptions(value, what) as unknown as Cursor)),
  signal: abortSignal,
})

/** The name under which a cursor is saved. */
export function cursorName(value: unknown, what = 'The name of a cursor'): string {
  return boundedText(value, what, 1, slotLimits.cursorNameBytes)
}

/** @throws CheckpointError `INVALID_ARGUMENT`, `ABORTED` */
export function takeCall(value: unknown): CallOptions {
  if (value === undefined) return {}
  const taken = take(callOptions, value)
  requireNotAborted(taken)
  return taken
}

/** @throws CheckpointError `INVALID_ARGUMENT`, `ABORTED` */
export function takeWrite(value: unknown): WriteOptions {
  if (value === undefined) return {}
  const taken = take(writeOptions, value)
  requireNotAborted(taken)
  return taken
}

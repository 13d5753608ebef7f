/** What the calls of this package take besides their plain arguments, and the limits of it. */
import { geometryOf } from '../checkpoint/geometry.js'
import { minBytesInFlight } from '../client/in-flight-budget.js'
import { labelsProblem, limits as slotLimits } from '../pool/slot.js'
import type {
  CallOptions,
  ConnectOptions,
  Lease,
  OpenOptions,
  RegionMode,
  RegionOptions,
  WriteOptions,
} from '../types.js'
import {
  abortSignal,
  boundedText,
  invalid,
  milliseconds,
  oneOf,
  requireNotAborted,
  sizeFrom,
  text,
  uint64,
  wholeNumber,
} from './check.js'
import { needed, nested, shape, take, textRecord } from './shape.js'

/** Heartbeats come every 100 ms. */
export const minSilenceMs = 200
export const maxLeaseMs = 86_400_000

/** What every call takes. */
export const callFields = { signal: abortSignal, timeoutMs: milliseconds }
export const durability = oneOf('visible', 'durable')
export const transport = oneOf('auto', 'verbs', 'iwarp')

export const callOptions = shape<CallOptions>(callFields)
export const writeOptions = shape<WriteOptions>({ ...callFields, durability })

export const lease = shape<Lease>({
  silenceMs: wholeNumber(minSilenceMs, maxLeaseMs),
  stallMs: wholeNumber(0, maxLeaseMs),
})

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
const createOptions = shape<RegionOptions & CallOptions>({ ...callFields, ...regionFields })

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
  ...callFields,
  durability,
  lease: nested(lease),
  mode: oneOf('read', 'write', 'takeOver'),
  create: checkRegion,
})

export const connectOptionFields = {
  ...callFields,
  transport,
  maxBytesInFlight: wholeNumber(minBytesInFlight),
  retryMs: milliseconds,
  identity: (value: unknown, what: string) => boundedText(value, what, 1, slotLimits.identityBytes),
}
export const connectOptions = shape<ConnectOptions>(connectOptionFields)

export interface ListCall extends CallOptions {
  prefix?: string
}
export const listOptions = shape<ListCall>({ ...callFields, prefix: text })

export interface WatchCall {
  sinceRevision?: bigint
  signal?: AbortSignal
}
export const watchOptions = shape<WatchCall>({ sinceRevision: uint64, signal: abortSignal })

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

/** What the calls of a client take, and the check of each. */
import {
  abortSignal,
  boundedText,
  invalid,
  milliseconds,
  oneOf,
  sizeFrom,
  text,
  uint64,
  wholeNumber,
} from '../call/check.js'
import { callFields, durability, lease, transport } from '../call/options.js'
import { needed, nested, shape, take, textRecord } from '../call/shape.js'
import { requireRoom } from '../checkpoint/geometry.js'
import { labelsProblem } from '../pool/slot.js'
import { textLimits } from '../text-limits.js'
import type { CallOptions, ConnectOptions, OpenOptions, RegionOptions } from '../types.js'
import { minBytesInFlight } from './in-flight-budget.js'

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
  identity: (value: unknown, what: string) => boundedText(value, what, 1, textLimits.identityBytes),
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

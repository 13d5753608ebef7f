/** What the calls of logs and readers take, and the check of each. */
import {
  abortSignal,
  boundedText,
  type Check,
  callable,
  invalid,
  show,
  toSize,
  uint64,
  wholeNumber,
} from '../call/check.js'
import { callFields, durability } from '../call/options.js'
import { asOptions, needed, nested, shape } from '../call/shape.js'
import { textLimits } from '../text-limits.js'
import type { CallOptions, Cursor, Size, WriteOptions } from '../types.js'
import type { Codec } from './codec.js'
import { mostDeltas } from './delta/payload.js'

export interface LogOptions<T> {
  /** Default: raw bytes. */
  codec?: Codec<T>
  /** The application's number for the form of its values, given back to `decode`: 0 (default) to 2^32-1. */
  schema?: number
  /**
   * Of `fullEvery` checkpoints in a row (1 to 1024) at least one is written in full; the others, as far as `append` writes them,
   * hold the blocks of 256 bytes that changed since the one before, found by comparing all bytes. A checkpoint is full also when more than half has
   * changed, after a failure, and when the chain would get longer than the largest checkpoint. Readers restore the exact
   * bytes without an option. The log keeps a copy of the last state in memory. Append regions with `drop-oldest` only.
   */
  delta?: { readonly fullEvery: number }
}

export interface ReaderOptions<T> {
  /** Default: raw bytes. */
  codec?: Codec<T>
}

export interface LatestOptions extends CallOptions {
  /**
   * When the newest is damaged, give the newest whole one before it, with `damaged` set on it, instead of rejecting. What was
   * acknowledged in the newest is not in that state.
   */
  beforeDamage?: boolean
}

export interface FollowOptions {
  /**
   * Where to begin. `latest` (default): the newest checkpoint there is, then each that comes. `oldest`: everything that is
   * kept first. A cursor, or the name of a saved one: what is behind it.
   */
  from?: Cursor | string | 'oldest' | 'latest'
  /** Ends the iteration with `ABORTED`. */
  signal?: AbortSignal
}

/** Something with the methods of a codec. Its own methods are called on it, so that it stays what it is. */
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
export const streamOptions = shape<StreamCall>({ ...callFields, durability, bytes: needed(toSize as Check<Size>) })

export interface ClearCall extends WriteOptions {
  before?: bigint
}
export const clearOptions = shape<ClearCall>({ ...callFields, durability, before: uint64 })

export const latestOptions = shape<LatestOptions>({ ...callFields, beforeDamage: yesOrNo })
export const followOptions = shape<FollowOptions>({
  from: (value, what) => (typeof value === 'string' ? value : (asOptions(value, what) as unknown as Cursor)),
  signal: abortSignal,
})

function yesOrNo(value: unknown, what: string): boolean {
  if (typeof value === 'boolean') return value
  throw invalid(`${what} is true or false, not ${show(value)}.`)
}

/** The name under which a cursor is saved. */
export function cursorName(value: unknown, what = 'The name of a cursor'): string {
  return boundedText(value, what, 1, textLimits.cursorNameBytes)
}

/**
 * Checks of what callers hand in, made before anything is sent or touched. Each names the argument, what was expected and what
 * was given, and none of them is thrown off by what it was given: an object without a prototype, a proxy, a getter that throws.
 */
import { isUint8Array } from 'node:util/types'
import { CheckpointError } from '../errors.js'
import { textLimits } from '../text-limits.js'
import type { CallOptions, Size } from '../types.js'

/** Returns what it was given, if that will do. `what` names it in the message. */
export type Check<T> = (value: unknown, what: string) => T

export const defaultTimeoutMs = 30_000
const maxShown = 60

/** @param cause what went wrong when the argument was looked at */
export function invalid(message: string, help?: string, cause?: unknown): CheckpointError {
  return new CheckpointError('INVALID_ARGUMENT', message, {
    ...(help === undefined ? {} : { help }),
    ...(cause === undefined ? {} : { cause }),
  })
}

/** What was given, for a message: short, and of objects no more than their kind. Never of secrets. */
export function show(value: unknown): string {
  switch (typeof value) {
    case 'string':
      return JSON.stringify(value.length > maxShown ? `${value.slice(0, maxShown)}...` : value)
    case 'bigint':
      return `${value}n`
    case 'number':
      return Object.is(value, -0) ? '-0' : String(value)
    case 'boolean':
    case 'undefined':
      return String(value)
    default:
      return kindOf(value)
  }
}

/** The kind of a value, without the value. */
export function kindOf(value: unknown): string {
  if (value === null) return 'null'
  if (typeof value !== 'object') return value === undefined ? 'undefined' : `a ${typeof value}`
  try {
    const { name } = value.constructor
    if (typeof name === 'string' && name !== '' && name !== 'Object') return `an object of class ${name}`
    return Array.isArray(value) ? 'an array' : 'an object'
  } catch {
    // It has no constructor, or is a proxy that answers nothing.
    return 'an object'
  }
}

export function oneOf<const T extends readonly string[]>(...words: T): Check<T[number]> {
  const list = `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`
  return (value, what) => {
    if (typeof value === 'string' && words.includes(value)) return value
    throw invalid(`${what} must be ${list}; it is ${show(value)}.`)
  }
}

export function text(value: unknown, what: string): string {
  if (typeof value === 'string') return value
  throw invalid(`${what} must be a string; it is ${show(value)}.`)
}

export function callable<F>(value: unknown, what: string): F {
  if (typeof value === 'function') return value as F
  throw invalid(`${what} must be a function; it is ${show(value)}.`)
}

export function trueOrFalse(value: unknown, what: string): boolean {
  if (typeof value === 'boolean') return value
  throw invalid(`${what} must be true or false; it is ${show(value)}.`)
}

export function wholeNumber(least: number, most = Number.MAX_SAFE_INTEGER): Check<number> {
  return (value, what) => {
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= least && value <= most) return value
    throw invalid(`${what} must be a whole number from ${least} to ${limitName(most)}; it is ${show(value)}.`)
  }
}

/** A number of 64 bits, as counters and revisions are. */
export function uint64(value: unknown, what: string): bigint {
  if (typeof value === 'bigint' && value >= 0n && value < 2n ** 64n) return value
  throw invalid(`${what} must be a bigint from 0 to 2^64-1; it is ${show(value)}.`)
}

/**
 * A time in milliseconds: 0 to 2^53-1, fractions too, or Infinity. It may be longer than a timer of Node's can be set to; see
 * timer.ts.
 */
export function milliseconds(value: unknown, what: string): number {
  if (
    typeof value === 'number' &&
    value >= 0 &&
    (value <= Number.MAX_SAFE_INTEGER || value === Number.POSITIVE_INFINITY)
  ) {
    return value
  }
  throw invalid(`${what} must be a number of milliseconds from 0 to 2^53-1, or Infinity; it is ${show(value)}.`)
}

/** A size or offset as a safe integer. */
export function toSize(value: unknown, what: string): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value
  if (typeof value === 'bigint' && value >= 0n && value <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(value)
  throw invalid(`${what} must be an integer or a bigint from 0 to 2^53-1; it is ${show(value)}.`)
}

/** A size of at least so many bytes. */
export function sizeFrom(least: number): Check<Size> {
  return (value, what) => {
    const bytes = toSize(value, what)
    if (bytes >= least) return bytes
    throw invalid(`${what} must be ${least} or more; it is ${show(value)}.`)
  }
}

/** The name of a region, an owner or a pair: 1 to 255 bytes of well-formed UTF-8, without NUL. */
export function name(value: unknown, what: string): string {
  return boundedText(value, what, 1, textLimits.nameBytes)
}

/** A text of so many bytes of well-formed UTF-8, without NUL. */
export function boundedText(value: unknown, what: string, least: number, most: number): string {
  const given = text(value, what)
  if (!given.isWellFormed()) throw invalid(`${what} must be well-formed Unicode; it has a lone surrogate.`)
  const bytes = Buffer.byteLength(given)
  if (bytes < least || bytes > most) {
    throw invalid(`${what} must have ${least} to ${most} bytes of UTF-8; it has ${bytes}.`)
  }
  if (given.includes('\0')) throw invalid(`${what} must not contain NUL.`)
  return given
}

export function checkName(value: unknown, what = 'The name of a region'): string {
  return name(value, what)
}

/** An AbortSignal, whether it has aborted or not. */
export function abortSignal(value: unknown, what: string): AbortSignal {
  try {
    if (value instanceof AbortSignal && typeof value.aborted === 'boolean') return value
  } catch {
    // It has the prototype and is none.
  }
  throw invalid(`${what} must be an AbortSignal; it is ${show(value)}.`)
}

/** @throws CheckpointError `ABORTED` */
export function requireNotAborted({ signal }: CallOptions): void {
  if (!signal?.aborted) return
  throw new CheckpointError('ABORTED', 'The call was aborted before it began.', { cause: signal.reason })
}

/** Milliseconds until the deadline of a call; Infinity for none. */
export function timeoutOf({ timeoutMs = defaultTimeoutMs }: CallOptions): number {
  return timeoutMs === 0 ? Number.POSITIVE_INFINITY : timeoutMs
}

/**
 * A Uint8Array, or a Buffer, whose memory is there: not one that was transferred to a worker, or that a resizable buffer has
 * shrunk away from under. Both say that they have no bytes, and what they held would be gone without a word.
 */
export function checkBytes(value: unknown, what: string): asserts value is Uint8Array {
  if (!isUint8Array(value)) {
    throw invalid(`${what} must be a Uint8Array; it is ${show(value)}.`, 'Encode values with region.log({ codec }).')
  }
  if (value.byteLength === 0 && isGone(value)) {
    throw invalid(
      `The memory of ${what[0]?.toLowerCase()}${what.slice(1)} is gone: its ArrayBuffer was transferred elsewhere, or made smaller than the view of it.`,
    )
  }
}

/** The same, of a view of any kind. */
export function isGone(view: ArrayBufferView): boolean {
  if (view.byteLength > 0) return false
  try {
    // The one operation that any view refuses whose memory is gone, and that does nothing else.
    if (view instanceof DataView) void view.byteOffset
    else typedArrayValues.call(view)
    return false
  } catch {
    return true
  }
}

const typedArrayValues: () => unknown = Object.getPrototypeOf(Uint8Array.prototype).values

export function checkRange(offset: number, length: number, size: number, region: string): void {
  if (offset + length > size) {
    throw new CheckpointError(
      'OUT_OF_BOUNDS',
      `${length} bytes at offset ${offset} reach outside of region '${region}', which has ${size} bytes.`,
      { details: { offset, length, size } },
    )
  }
}

/** Memory whose size or owner can change under us is copied: shared memory, and buffers that can be resized. */
export function mustBeCopied(bytes: Uint8Array): boolean {
  const { buffer } = bytes
  return !(buffer instanceof ArrayBuffer) || (buffer as ArrayBuffer & { resizable?: boolean }).resizable === true
}

function limitName(most: number): string {
  if (most === Number.MAX_SAFE_INTEGER) return '2^53-1'
  return most === 2 ** 32 - 1 ? '2^32-1' : String(most)
}

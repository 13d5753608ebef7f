/** Checks of what callers hand in, made before anything is sent. */
import { CheckpointError } from '../errors.js'
import type { CallOptions, Size } from '../types.js'

export const defaultTimeoutMs = 30_000
const maxTimerMs = 2 ** 31 - 1
const maxNameBytes = 255

export function invalid(message: string, help?: string): CheckpointError {
  return new CheckpointError('INVALID_ARGUMENT', message, help === undefined ? {} : { help })
}

/** A size or offset as a safe integer. */
export function toSize(value: Size, what: string): number {
  if (typeof value === 'number') {
    if (Number.isSafeInteger(value) && value >= 0) return value
    throw invalid(`${what} must be an integer from 0 to 2^53-1; it is ${value}.`)
  }
  if (typeof value === 'bigint') {
    if (value >= 0n && value <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(value)
    throw invalid(`${what} must be from 0 to 2^53-1; it is ${value}.`)
  }
  throw invalid(`${what} must be a number or a bigint; it is of type ${typeof value}.`)
}

/** The name of a region: 1 to 255 bytes of well-formed UTF-8, without NUL. */
export function checkName(name: string, what = 'The name of a region'): string {
  if (typeof name !== 'string') throw invalid(`${what} must be a string; it is of type ${typeof name}.`)
  if (!name.isWellFormed()) throw invalid(`${what} must be well-formed Unicode; it has a lone surrogate.`)
  const bytes = Buffer.byteLength(name)
  if (bytes < 1 || bytes > maxNameBytes) throw invalid(`${what} must have 1 to 255 bytes of UTF-8; it has ${bytes}.`)
  if (name.includes('\0')) throw invalid(`${what} must not contain NUL.`)
  return name
}

export function checkBytes(bytes: unknown, what: string): asserts bytes is Uint8Array {
  if (!(bytes instanceof Uint8Array)) {
    throw invalid(
      `${what} must be a Uint8Array; it is ${describe(bytes)}.`,
      'Encode values with region.log({ codec }).',
    )
  }
  if (bytes.byteLength === 0 && isDetached(bytes.buffer)) {
    throw invalid(`The memory of ${what} was transferred elsewhere (its ArrayBuffer is detached).`)
  }
}

export function checkRange(offset: number, length: number, size: number, name: string): void {
  if (offset + length > size) {
    throw new CheckpointError(
      'OUT_OF_BOUNDS',
      `${length} bytes at offset ${offset} reach outside of region '${name}', which has ${size} bytes.`,
      { details: { offset, length, size } },
    )
  }
}

/** Milliseconds of the call's deadline; 0 for none. */
export function checkTimeout(options: CallOptions | undefined): number {
  const timeoutMs = options?.timeoutMs
  if (timeoutMs === undefined) return defaultTimeoutMs
  if (typeof timeoutMs !== 'number' || !(timeoutMs >= 0)) {
    throw invalid(`timeoutMs must be a number of milliseconds, 0 for none; it is ${String(timeoutMs)}.`)
  }
  return timeoutMs > maxTimerMs ? 0 : timeoutMs
}

export function checkSignal(signal: AbortSignal | undefined): void {
  if (signal === undefined) return
  if (!(signal instanceof AbortSignal)) throw invalid(`signal must be an AbortSignal; it is ${describe(signal)}.`)
  if (signal.aborted)
    throw new CheckpointError('ABORTED', 'The call was aborted before it began.', { cause: signal.reason })
}

/** Memory whose size or owner can change under us is copied: shared memory, and buffers that can be resized. */
export function mustBeCopied(bytes: Uint8Array): boolean {
  const { buffer } = bytes
  return !(buffer instanceof ArrayBuffer) || (buffer as ArrayBuffer & { resizable?: boolean }).resizable === true
}

function isDetached(buffer: ArrayBufferLike): boolean {
  if (buffer.byteLength !== 0 || !(buffer instanceof ArrayBuffer)) return false
  try {
    new Uint8Array(buffer)
    return false
  } catch {
    return true
  }
}

function describe(value: unknown): string {
  return value === null ? 'null' : typeof value === 'object' ? (value.constructor?.name ?? 'an object') : typeof value
}

/** Numbers of `native/base/result.h` and the documented codes they stand for. */
import { getSystemErrorName } from 'node:util'
import { isPassing } from './error-traits.js'
import { CheckpointError, type CheckpointErrorOptions, type ErrorCode, errorCodes } from './errors.js'

/** `ErrorCode` of `native/base/result.h`. */
export const nativeCode = {
  ok: 0,
  invalidArgument: 1,
  connectionRefused: 2,
  connectionClosed: 3,
  connectionBroken: 4,
  timedOut: 5,
  remoteAccess: 6,
  protocolViolation: 7,
  versionMismatch: 8,
  tokenInvalid: 9,
  fenced: 10,
  notSupported: 11,
  noMemory: 12,
  memlockLimit: 13,
  systemError: 14,
  mediumFailed: 15,
  mediumFull: 16,
  poolInUse: 17,
  notFound: 18,
  exists: 19,
  stopped: 20,
  limitReached: 21,
  localClosed: 22,
  outOfBounds: 23,
  notDurable: 24,
  unauthenticated: 25,
} as const

const codes: Readonly<Record<number, ErrorCode>> = {
  [nativeCode.invalidArgument]: 'INVALID_ARGUMENT',
  [nativeCode.connectionRefused]: 'CONNECTION_REFUSED',
  [nativeCode.connectionClosed]: 'CONNECTION_LOST',
  [nativeCode.connectionBroken]: 'CONNECTION_LOST',
  [nativeCode.timedOut]: 'TIMEOUT',
  [nativeCode.remoteAccess]: 'REMOTE_ACCESS',
  [nativeCode.protocolViolation]: 'PROTOCOL_VIOLATION',
  [nativeCode.versionMismatch]: 'VERSION_MISMATCH',
  [nativeCode.tokenInvalid]: 'TOKEN_INVALID',
  [nativeCode.fenced]: 'FENCED',
  [nativeCode.notSupported]: 'NOT_SUPPORTED',
  [nativeCode.noMemory]: 'OUT_OF_MEMORY',
  [nativeCode.memlockLimit]: 'MEMLOCK_LIMIT',
  [nativeCode.systemError]: 'SYSTEM',
  [nativeCode.mediumFailed]: 'MEDIUM_FAILED',
  [nativeCode.mediumFull]: 'POOL_FULL',
  [nativeCode.poolInUse]: 'POOL_IN_USE',
  [nativeCode.notFound]: 'REGION_NOT_FOUND',
  [nativeCode.exists]: 'REGION_EXISTS',
  [nativeCode.stopped]: 'UNIT_STOPPING',
  [nativeCode.limitReached]: 'LIMIT_REACHED',
  [nativeCode.localClosed]: 'CLOSED',
  [nativeCode.outOfBounds]: 'OUT_OF_BOUNDS',
  [nativeCode.notDurable]: 'NOT_DURABLE',
  [nativeCode.unauthenticated]: 'UNAUTHENTICATED',
}

/**
 * What native code answers before it has done anything. After every other code nobody can tell from the code alone: who
 * knows where it happened says so, and without that it is unknown.
 */
const refusals: ReadonlySet<ErrorCode> = new Set([
  'INVALID_ARGUMENT',
  'CONNECTION_REFUSED',
  'VERSION_MISMATCH',
  'TOKEN_INVALID',
  'NOT_SUPPORTED',
  'MEMLOCK_LIMIT',
  'OUT_OF_MEMORY',
  'POOL_FULL',
  'POOL_IN_USE',
  'REGION_NOT_FOUND',
  'REGION_EXISTS',
  'LIMIT_REACHED',
  'CLOSED',
  'OUT_OF_BOUNDS',
  'NOT_DURABLE',
  'UNAUTHENTICATED',
])

/** A CheckpointError for a number that native code answered; `message` says what was asked and what was found. */
export function fromNativeCode(
  code: number,
  message: string,
  systemError = 0,
  options: CheckpointErrorOptions = {},
): CheckpointError {
  const known = codes[code] ?? 'INTERNAL'
  const systemName = systemError > 0 ? systemErrorName(systemError) : undefined
  const text = message === '' ? errorCodes[known] : message
  return new CheckpointError(
    known,
    systemName === undefined || text.includes(systemName) ? text : `${text} (${systemName})`,
    {
      retryable: isPassing(known),
      outcome: refusals.has(known) ? 'none' : 'unknown',
      ...(systemName === undefined ? {} : { details: { systemError: systemName } }),
      ...options,
    },
  )
}

/** What a native call threw or rejected with, as a CheckpointError; those of our own pass as they are. */
export function fromNative(error: unknown, options: CheckpointErrorOptions = {}): CheckpointError {
  if (error instanceof CheckpointError) return error
  const bug: CheckpointErrorOptions = { cause: error, outcome: 'unknown', ...options }
  if (!(error instanceof Error)) return new CheckpointError('INTERNAL', String(error), bug)
  const { nativeCode: code, systemError } = error as Error & { nativeCode?: unknown; systemError?: unknown }
  if (typeof code !== 'number') return new CheckpointError('INTERNAL', error.message, bug)
  return fromNativeCode(code, error.message, typeof systemError === 'number' ? systemError : 0, {
    cause: error,
    ...options,
  })
}

/** Calls native code, whose errors are thrown as CheckpointErrors. */
export function callNative<T>(call: () => T): T {
  try {
    return call()
  } catch (error) {
    throw fromNative(error)
  }
}

/** For the rejections of native code. */
export function rethrow(error: unknown): never {
  throw fromNative(error)
}

function systemErrorName(errno: number): string {
  try {
    return getSystemErrorName(-errno)
  } catch {
    return `errno ${errno}`
  }
}

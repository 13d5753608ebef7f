/**
 * The one error class of the package and the list of its codes. `docs/errors.md` explains each; a test keeps the two in step.
 */

import { printsError } from './call/printed.js'

/**
 * What a failed call may have done on the other side.
 * `none`: nothing was changed. `unknown`: it may have taken effect, in whole or in part. `done`: it took effect, but
 * something after it failed.
 */
export type Outcome = 'none' | 'unknown' | 'done'

/** Every code a {@link CheckpointError} can carry, with what it means in one line. */
export const errorCodes = {
  INVALID_ARGUMENT: 'An argument is of the wrong type or out of its range; nothing was sent.',
  OUT_OF_BOUNDS: 'A range reaches beyond the region; nothing was sent.',
  READ_ONLY: 'It was opened for reading and cannot be written.',
  CLOSED: 'The client, region or unit has been closed by this process.',
  ABORTED: 'The caller aborted the call with its AbortSignal.',
  TIMEOUT: 'The deadline of the call passed.',
  CONNECTION_REFUSED: 'Nothing listens at the address, or the unit rejected the connection.',
  CONNECTION_LOST: 'The connection to the unit broke and could not be restored within the deadline.',
  PROTOCOL_VIOLATION: 'The other side sent something that the protocol does not allow.',
  VERSION_MISMATCH: 'The two sides share no protocol version.',
  TOKEN_INVALID: 'The one-time token of a connection is unknown, used or expired.',
  REMOTE_ACCESS: 'The unit refused a key, a bound or a right.',
  SESSION_EXPIRED: 'The unit no longer knows the session; the client has to open another.',
  FENCED: 'A later epoch owns the region; this owner may no longer write.',
  REGION_EXISTS: 'A region of that name exists.',
  REGION_NOT_FOUND: 'No region of that name exists.',
  REGION_BUSY: 'Another owner that is alive has the region open for writing.',
  REGION_MODE: 'The region was created with another mode than the call needs.',
  REGION_TOO_SMALL: 'The region is too small for the mode, or the checkpoint too large for the region.',
  REGION_FULL: 'The log is full and its policy keeps everything in it.',
  REGION_DAMAGED: 'The region cannot be served: its entry contradicts others, or its bytes cannot be read.',
  POOL_NOT_FOUND: 'There is no pool, and creating one was not requested.',
  POOL_EXISTS: 'Something exists already where a pool was to be created; it was not touched.',
  POOL_FULL: 'The pool has no room for a region of that size, or no free entry in its table.',
  POOL_IN_USE: 'Another unit has the pool open.',
  POOL_DAMAGED: 'It is not a pool of this package, or it is damaged; it was not touched.',
  POOL_INCOMPATIBLE: 'The pool has features that this version does not know.',
  POOL_READ_ONLY: 'The pool was opened for reading only, or its medium failed.',
  NOT_DURABLE: 'The pool cannot make writes durable.',
  MEDIUM_FAILED: 'A write or sync of the medium failed; see the cause.',
  WRITES_LOST: 'The unit came back without writes that were visible but not durable.',
  CHECKPOINT_NOT_FOUND: 'No checkpoint of that sequence number is kept.',
  CHECKPOINT_LAPPED: 'The log has dropped the checkpoint; start again from the oldest.',
  CHECKPOINT_DAMAGED: 'Durable checkpoints are no longer intact, though nothing has overwritten them.',
  CURSOR_INVALID: 'The cursor belongs to another region, is malformed, or no cursor of that name is saved.',
  CODEC_MISMATCH: 'The checkpoint was written with another codec, or its payload does not decode.',
  LIMIT_REACHED: 'A configured limit was reached.',
  MEMLOCK_LIMIT: 'RLIMIT_MEMLOCK is too low to register the memory.',
  OUT_OF_MEMORY: 'No memory is available.',
  UNAUTHENTICATED: 'Authentication is required but not configured, or the other side did not prove its secret.',
  NOT_SUPPORTED: 'This fabric, medium, device or version cannot do it.',
  PLATFORM_UNSUPPORTED: 'The package runs on Linux only.',
  ADDON_NOT_FOUND: 'The native addon could not be loaded.',
  ADDRESS_IN_USE: 'The address to listen on is in use.',
  UNIT_STOPPING: 'The unit is stopping.',
  SYSTEM: 'The operating system refused; see the cause.',
  INTERNAL: 'A bug in this package; please report it.',
} as const

export type ErrorCode = keyof typeof errorCodes

export interface CheckpointErrorOptions {
  cause?: unknown
  outcome?: Outcome
  /** The same call may succeed if you make it again. */
  retryable?: boolean
  /** What would help, in one or two sentences. */
  help?: string
  /** Facts for programs: who owns a busy region, the epoch that fenced, the oldest sequence kept. */
  details?: Readonly<Record<string, unknown>>
}

const outcomes: ReadonlySet<unknown> = new Set<Outcome>(['none', 'unknown', 'done'])
const optionKeys: ReadonlySet<string> = new Set(['cause', 'outcome', 'retryable', 'help', 'details'])

/**
 * The one error this package throws. Programs branch on {@link CheckpointError.code}, people read the message.
 *
 * `structuredClone` and `postMessage` keep everything but its class, and {@link CheckpointError.from} restores that. (Of an object
 * that `Error` itself has made, they keep only message, stack and cause. So this object is made in another way, and
 * `util.types.isNativeError` is false for it, while `instanceof Error` is true.) In JSON, 64-bit numbers are strings, and the stack
 * is left out.
 */
export class CheckpointError extends Error {
  declare readonly code: ErrorCode
  declare readonly outcome: Outcome
  declare readonly retryable: boolean
  declare readonly help?: string
  declare readonly details?: Readonly<Record<string, unknown>>

  /** @throws CheckpointError `INVALID_ARGUMENT` for an unknown code or invalid options */
  constructor(code: ErrorCode, message: string, options: CheckpointErrorOptions = {}) {
    const problem = problemOf(code, message, options)
    super(problem ?? message)
    if (problem !== undefined) throw new CheckpointError('INVALID_ARGUMENT', problem)
    const { cause, outcome = 'none', retryable = false, help, details } = options
    const error: CheckpointError = Object.create(new.target.prototype)
    Object.assign(error, { name: 'CheckpointError', message, code, outcome, retryable })
    if (help !== undefined) Object.assign(error, { help })
    if (details !== undefined) Object.assign(error, { details })
    // A cause that cannot be cloned would keep the whole error from being cloned.
    if (cause !== undefined)
      Object.defineProperty(error, 'cause', { value: cause, enumerable: isCloneable(cause), ...open })
    Error.captureStackTrace(error, new.target)
    Object.defineProperty(error, 'stack', { enumerable: true })
    // biome-ignore lint/correctness/noConstructorReturn: an object of this class that Error has not made, as explained above.
    return error
  }

  /**
   * Restores an error that was cloned, posted to another thread or written as JSON; undefined for anything else.
   */
  static from(value: unknown): CheckpointError | undefined {
    if (typeof value !== 'object' || value === null) return undefined
    try {
      if (value instanceof CheckpointError) return value
      const { name, code, message, outcome, retryable, help, details, cause, stack } = value as CheckpointError
      if (name !== 'CheckpointError') return undefined
      const error = new CheckpointError(code, message, {
        outcome,
        retryable,
        ...(help === undefined ? {} : { help }),
        ...(details === undefined ? {} : { details }),
        ...(cause === undefined ? {} : { cause: CheckpointError.from(cause) ?? cause }),
      })
      if (typeof stack === 'string') error.stack = stack
      return error
    } catch {
      return undefined
    }
  }

  /** The same error for a call that may have done something else; this one is its cause. @internal */
  withOutcome(outcome: Outcome): CheckpointError {
    if (this.outcome === outcome) return this
    const { code, message, retryable, help, details } = this
    return new CheckpointError(code, message, {
      cause: this,
      outcome,
      retryable,
      ...(help === undefined ? {} : { help }),
      ...(details === undefined ? {} : { details }),
    })
  }

  get [Symbol.toStringTag](): string {
    return 'Error'
  }
}

const open = { configurable: true, writable: true } as const

function isCloneable(cause: unknown): boolean {
  if (typeof cause === 'object') {
    try {
      return (
        cause === null || cause instanceof CheckpointError || Object.prototype.toString.call(cause) === '[object Error]'
      )
    } catch {
      // A revoked proxy, or one whose traps throw.
      return false
    }
  }
  return typeof cause !== 'function' && typeof cause !== 'symbol'
}

function problemOf(code: unknown, message: unknown, options: unknown): string | undefined {
  if (typeof code !== 'string' || !Object.hasOwn(errorCodes, code)) return 'code must be one of errorCodes.'
  if (typeof message !== 'string') return `message must be a string; it is of type ${typeof message}.`
  if (typeof options !== 'object' || options === null) return 'The options must be an object.'
  try {
    if (Object.prototype.toString.call(options) !== '[object Object]')
      return 'The options must be an object of options.'
    const keys = [...Object.keys(options), ...Object.getOwnPropertySymbols(options)]
    const unknown = keys.find((key) => typeof key === 'symbol' || !optionKeys.has(key))
    if (unknown !== undefined) {
      const shown = typeof unknown === 'symbol' ? String(unknown) : JSON.stringify(unknown)
      return `There is no option ${shown}. The options are: ${[...optionKeys].join(', ')}.`
    }
    const { outcome, retryable, help, details, cause: _ } = options as CheckpointErrorOptions
    if (outcome !== undefined && !outcomes.has(outcome)) return 'outcome must be none, unknown or done.'
    if (retryable !== undefined && typeof retryable !== 'boolean') return 'retryable must be a boolean.'
    if (help !== undefined && typeof help !== 'string') return 'help must be a string.'
    if (details !== undefined && (typeof details !== 'object' || details === null)) return 'details must be an object.'
  } catch {
    return 'The options cannot be read.'
  }
  return undefined
}

printsError(CheckpointError)

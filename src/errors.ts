/**
 * The one error class of the package and the list of its codes. `docs/errors.md` explains each; a test keeps the two equal.
 */

/**
 * What a failed call may have done on the other side.
 * `none`: nothing was changed. `unknown`: it may have taken effect, in whole or in part. `done`: it took effect, but
 * something after it failed.
 */
export type Outcome = 'none' | 'unknown' | 'done'

/** Every code a {@link CheckpointError} can carry, with what it means in one line. */
export const errorCodes = {
  INVALID_ARGUMENT: 'An argument is of the wrong type or out of its range; nothing was sent.',
  OUT_OF_BOUNDS: 'A range reaches outside of the region; nothing was sent.',
  READ_ONLY: 'A write was asked of something opened for reading.',
  CLOSED: 'The client, region or unit has been closed by this process.',
  ABORTED: 'The caller aborted the call with its AbortSignal.',
  TIMEOUT: 'The deadline of the call passed.',
  CONNECTION_REFUSED: 'Nobody listens at the address, or the unit rejected the connection.',
  CONNECTION_LOST: 'The connection to the unit broke and could not be made again within the deadline.',
  PROTOCOL_VIOLATION: 'The other side sent what the protocol does not allow.',
  VERSION_MISMATCH: 'The two sides share no protocol version.',
  TOKEN_INVALID: 'The one-time token of a connection is unknown, used or expired.',
  REMOTE_ACCESS: 'The unit refused a key, a bound or a right.',
  SESSION_EXPIRED: 'The unit no longer knows the session; the client has to open another.',
  FENCED: 'A later epoch owns the region; this owner may not write any more.',
  REGION_EXISTS: 'A region of that name exists.',
  REGION_NOT_FOUND: 'No region of that name exists.',
  REGION_BUSY: 'Another owner that is alive has the region open for writing.',
  REGION_MODE: 'The region was created with another mode than the call needs.',
  REGION_TOO_SMALL: 'The region is too small for the mode, or the checkpoint too large for the region.',
  REGION_FULL: 'The log is full and its policy keeps what is in it.',
  REGION_DAMAGED: 'The region cannot be served: its entry is at odds with others, or its bytes cannot be read.',
  POOL_NOT_FOUND: 'There is no pool, and making one was not asked for.',
  POOL_EXISTS: 'There is something already where a pool was to be made; it was not touched.',
  POOL_FULL: 'The pool has no room for a region of that size, or no free entry in its table.',
  POOL_IN_USE: 'Another unit has the pool open.',
  POOL_DAMAGED: 'The pool is not one of ours, or damaged; it was not touched.',
  POOL_INCOMPATIBLE: 'The pool has features that this version does not know.',
  POOL_READ_ONLY: 'The pool was opened for reading only, or its medium failed.',
  NOT_DURABLE: 'Durable was asked of a pool that cannot keep it.',
  MEDIUM_FAILED: 'A write or sync of the medium failed; see the cause.',
  WRITES_LOST: 'The unit came back without writes that were visible but not durable.',
  CHECKPOINT_NOT_FOUND: 'No checkpoint of that sequence number is kept.',
  CHECKPOINT_LAPPED: 'The log has gone past what was asked for; restart from the oldest.',
  CHECKPOINT_DAMAGED: 'A record failed its checksum though nothing was writing it.',
  CURSOR_INVALID: 'The cursor belongs to another region, is malformed, or no cursor of that name is saved.',
  CODEC_MISMATCH: 'The checkpoint was written with another codec, or its payload does not decode.',
  LIMIT_REACHED: 'A configured limit was reached.',
  MEMLOCK_LIMIT: 'RLIMIT_MEMLOCK is too low to register the memory.',
  OUT_OF_MEMORY: 'Memory could not be had.',
  UNAUTHENTICATED: 'No authentication is configured where it is needed, or the other side did not prove its secret.',
  NOT_SUPPORTED: 'This fabric, medium, device or version cannot do it.',
  PLATFORM_UNSUPPORTED: 'The package runs on Linux only.',
  ADDON_NOT_FOUND: 'The native addon could not be loaded.',
  ADDRESS_IN_USE: 'The address to listen on is taken.',
  UNIT_STOPPING: 'The unit is stopping.',
  SYSTEM: 'The operating system refused; see the cause.',
  INTERNAL: 'A bug in this package; please report it.',
} as const

export type ErrorCode = keyof typeof errorCodes

export interface CheckpointErrorOptions {
  cause?: unknown
  outcome?: Outcome
  /** The same call may succeed when it is made again. */
  retryable?: boolean
  /** What would help, in one or two sentences. */
  help?: string
  /** Facts a program may want: who owns a busy region, the epoch that fenced, the oldest sequence kept. */
  details?: Readonly<Record<string, unknown>>
}

/** The one error this package throws. Programs branch on {@link CheckpointError.code}, people read the message. */
export class CheckpointError extends Error {
  readonly code: ErrorCode
  readonly outcome: Outcome
  readonly retryable: boolean
  readonly help?: string
  readonly details?: Readonly<Record<string, unknown>>

  constructor(code: ErrorCode, message: string, options: CheckpointErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'CheckpointError'
    this.code = code
    this.outcome = options.outcome ?? 'none'
    this.retryable = options.retryable ?? false
    if (options.help !== undefined) this.help = options.help
    if (options.details !== undefined) this.details = options.details
  }
}

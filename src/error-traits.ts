/** What each error code implies, whatever call it ends. A new code does not compile without a row here. */
import type { ErrorCode } from './errors.js'

interface Traits {
  /** The gRPC status that carries it; UNKNOWN where none is closer. */
  status: number
  /**
   * Who brings about that another try can succeed. `time`: the unit, or the way to it, may be back by then. `person`: somebody has
   * to change the program, its configuration or the machine. `state`: it depends on what was asked, and on what others do.
   */
  mendedBy: 'time' | 'person' | 'state'
}

const unknown = 2

const traits: Readonly<Record<ErrorCode, Traits>> = {
  INVALID_ARGUMENT: { status: 3, mendedBy: 'person' },
  OUT_OF_BOUNDS: { status: 11, mendedBy: 'state' },
  READ_ONLY: { status: unknown, mendedBy: 'state' },
  CLOSED: { status: unknown, mendedBy: 'state' },
  ABORTED: { status: 1, mendedBy: 'state' },
  TIMEOUT: { status: 4, mendedBy: 'time' },
  CONNECTION_REFUSED: { status: unknown, mendedBy: 'time' },
  CONNECTION_LOST: { status: unknown, mendedBy: 'time' },
  PROTOCOL_VIOLATION: { status: unknown, mendedBy: 'state' },
  VERSION_MISMATCH: { status: unknown, mendedBy: 'person' },
  TOKEN_INVALID: { status: unknown, mendedBy: 'time' },
  REMOTE_ACCESS: { status: unknown, mendedBy: 'state' },
  SESSION_EXPIRED: { status: 5, mendedBy: 'time' },
  FENCED: { status: 10, mendedBy: 'state' },
  REGION_EXISTS: { status: 6, mendedBy: 'state' },
  REGION_NOT_FOUND: { status: 5, mendedBy: 'state' },
  REGION_BUSY: { status: 9, mendedBy: 'state' },
  REGION_MODE: { status: 9, mendedBy: 'state' },
  REGION_TOO_SMALL: { status: 9, mendedBy: 'state' },
  REGION_FULL: { status: unknown, mendedBy: 'state' },
  REGION_DAMAGED: { status: 15, mendedBy: 'state' },
  POOL_NOT_FOUND: { status: unknown, mendedBy: 'person' },
  POOL_EXISTS: { status: unknown, mendedBy: 'state' },
  POOL_FULL: { status: 8, mendedBy: 'state' },
  POOL_IN_USE: { status: unknown, mendedBy: 'state' },
  POOL_DAMAGED: { status: 15, mendedBy: 'person' },
  POOL_INCOMPATIBLE: { status: unknown, mendedBy: 'person' },
  POOL_READ_ONLY: { status: 9, mendedBy: 'state' },
  NOT_DURABLE: { status: 9, mendedBy: 'state' },
  MEDIUM_FAILED: { status: 15, mendedBy: 'state' },
  WRITES_LOST: { status: unknown, mendedBy: 'state' },
  CHECKPOINT_NOT_FOUND: { status: 5, mendedBy: 'state' },
  CHECKPOINT_LAPPED: { status: unknown, mendedBy: 'state' },
  CHECKPOINT_DAMAGED: { status: unknown, mendedBy: 'state' },
  CURSOR_INVALID: { status: 9, mendedBy: 'state' },
  CODEC_MISMATCH: { status: unknown, mendedBy: 'state' },
  LIMIT_REACHED: { status: 8, mendedBy: 'state' },
  MEMLOCK_LIMIT: { status: 8, mendedBy: 'state' },
  OUT_OF_MEMORY: { status: 8, mendedBy: 'state' },
  UNAUTHENTICATED: { status: 16, mendedBy: 'person' },
  NOT_SUPPORTED: { status: 12, mendedBy: 'person' },
  PLATFORM_UNSUPPORTED: { status: unknown, mendedBy: 'person' },
  ADDON_NOT_FOUND: { status: unknown, mendedBy: 'person' },
  ADDRESS_IN_USE: { status: unknown, mendedBy: 'state' },
  UNIT_STOPPING: { status: 14, mendedBy: 'time' },
  SYSTEM: { status: unknown, mendedBy: 'state' },
  INTERNAL: { status: 13, mendedBy: 'state' },
}

/** The gRPC status of an error with this code. */
export function statusOf(code: ErrorCode): number {
  return traits[code].status
}

/** Whether the unit, or the way to it, may be back at another try. */
export function isPassing(code: ErrorCode): boolean {
  return traits[code].mendedBy === 'time'
}

/** Whether no other try succeeds before a person has mended something. */
export function needsPerson(code: ErrorCode): boolean {
  return traits[code].mendedBy === 'person'
}

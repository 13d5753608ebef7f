/** Errors of a call to a unit after which another try can succeed: it, or the way to it, may be back by then. */
import type { ErrorCode } from '../errors.js'

export const passing: ReadonlySet<ErrorCode> = new Set([
  'CONNECTION_REFUSED',
  'CONNECTION_LOST',
  'TIMEOUT',
  'TOKEN_INVALID',
  'SESSION_EXPIRED',
  'UNIT_STOPPING',
])

/** What the process ends with when a command has failed. docs/cli.md lists it. */
import { CheckpointError, type ErrorCode } from '../errors.js'

/** EX_CONFIG of sysexits.h: a service manager that knows it does not start the service again. */
const needsPerson = 78

/** Failures of `serve` that the same start would meet again until somebody has mended something. */
const lasting: ReadonlySet<string> = new Set<ErrorCode>([
  'INVALID_ARGUMENT',
  'UNAUTHENTICATED',
  'POOL_NOT_FOUND',
  'POOL_DAMAGED',
  'POOL_INCOMPATIBLE',
  'NOT_SUPPORTED',
  'PLATFORM_UNSUPPORTED',
  'ADDON_NOT_FOUND',
])

/** Of `serve`, for an error other than wrong usage. */
export function serveExitCode(error: unknown): number {
  return error instanceof CheckpointError && lasting.has(error.code) ? needsPerson : 1
}

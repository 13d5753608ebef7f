/** The exit codes of failed commands. docs/cli.md lists them. */
import { CheckpointError, type ErrorCode } from '../errors.js'

/** EX_CONFIG of sysexits.h: a service manager that is set up for it does not restart the service. */
const needsPerson = 78

/** Failures of `serve` that every restart would hit again until a person has fixed something. */
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

/** The exit code of `serve` for an error other than wrong usage. */
export function serveExitCode(error: unknown): number {
  return error instanceof CheckpointError && lasting.has(error.code) ? needsPerson : 1
}

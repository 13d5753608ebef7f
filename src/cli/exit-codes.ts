/** The exit codes of failed commands. docs/cli.md lists them. */
import { needsPerson } from '../error-traits.js'
import { CheckpointError } from '../errors.js'

/** EX_CONFIG of sysexits.h: a service manager that is set up for it does not restart the service. */
const exConfig = 78

/** The exit code of `serve` for an error other than wrong usage: every restart would meet again what a person has to mend. */
export function serveExitCode(error: unknown): number {
  return error instanceof CheckpointError && needsPerson(error.code) ? exConfig : 1
}

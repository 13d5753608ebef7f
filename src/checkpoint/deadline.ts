/** One deadline and abort signal for a call that makes many reads. */
import { Call } from '../call/call.js'
import { takeCall } from '../call/options.js'
import type { CallOptions } from '../types.js'

export class Deadline extends Call {
  /** @throws CheckpointError `INVALID_ARGUMENT`; `ABORTED` when the signal is already */
  constructor(options?: CallOptions) {
    super('The call', takeCall(options))
  }
}

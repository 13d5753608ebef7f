import type { CheckpointError } from '../errors.js'

/** What a handler is given in place of a request whose bytes are not the message they should be. */
export class UnreadableRequest {
  constructor(readonly error: CheckpointError) {}
}

import type { CheckpointError } from '../errors.js'

/** What a handler gets instead of a request whose bytes are not the expected message. */
export class UnreadableRequest {
  constructor(readonly error: CheckpointError) {}
}

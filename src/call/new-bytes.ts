/** Memory whose size others decide: it may be more than there is. */
import { CheckpointError } from '../errors.js'

/** @throws CheckpointError `OUT_OF_MEMORY` */
export function newBytes(length: number, help: string): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(length)
  } catch (cause) {
    throw new CheckpointError('OUT_OF_MEMORY', `There is no memory for ${length} bytes.`, { cause, help })
  }
}

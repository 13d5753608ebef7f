/** Memory whose size others decide: it may be more than there is. */
import { CheckpointError } from '../errors.js'

/** @throws CheckpointError `OUT_OF_MEMORY` */
export function newBytes(length: number, help?: string): Uint8Array<ArrayBuffer> {
  try {
    return new Uint8Array(length)
  } catch (cause) {
    throw new CheckpointError('OUT_OF_MEMORY', `There is no memory for ${length} bytes.`, {
      cause,
      ...(help === undefined ? {} : { help }),
    })
  }
}

/** As long as it is now: shared memory may grow meanwhile. @throws CheckpointError `OUT_OF_MEMORY` */
export function copyOf(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  const { byteLength } = bytes
  const copy = newBytes(byteLength)
  copy.set(bytes.subarray(0, byteLength))
  return copy
}

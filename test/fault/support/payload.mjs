// Checkpoints whose every byte follows from who wrote them: a mixed, torn or stale one cannot pass for a whole one.
import { Random } from './random.mjs'

const headerBytes = 16

/**
 * @param {number} seed of the test @param {number} round of the writer @param {bigint} sequence @param {number} maxBytes
 * @returns {Buffer}
 */
export function payloadOf(seed, round, sequence, maxBytes) {
  const random = new Random(seed, round, Number(sequence))
  const bytes = Buffer.alloc(random.logUniform(headerBytes, maxBytes))
  bytes.writeUInt32LE(seed >>> 0, 0)
  bytes.writeUInt32LE(round, 4)
  bytes.writeBigUInt64LE(sequence, 8)
  random.fill(bytes.subarray(headerBytes))
  return bytes
}

/**
 * Says what is wrong with a checkpoint, or undefined when it is whole and the one it claims to be.
 * @param {{ sequence: bigint, value: Uint8Array }} checkpoint @param {number} seed @param {number} maxBytes
 * @returns {string | undefined}
 */
export function whatIsWrong({ sequence, value }, seed, maxBytes) {
  const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
  if (bytes.length < headerBytes) return `checkpoint ${sequence} has ${bytes.length} bytes`
  const writtenAs = bytes.readBigUInt64LE(8)
  if (bytes.readUInt32LE(0) !== seed >>> 0) return `checkpoint ${sequence} is of another test`
  if (writtenAs !== sequence) return `checkpoint ${sequence} holds what was appended as ${writtenAs}`
  const round = bytes.readUInt32LE(4)
  const expected = payloadOf(seed, round, sequence, maxBytes)
  if (expected.length !== bytes.length) {
    return `checkpoint ${sequence} of round ${round} has ${bytes.length} bytes in place of ${expected.length}`
  }
  if (expected.equals(bytes)) return undefined
  const at = expected.findIndex((byte, index) => byte !== bytes[index])
  return `checkpoint ${sequence} of round ${round} differs from byte ${at} of ${bytes.length} on`
}

/** The round in which a checkpoint was written. @param {Uint8Array} value */
export function roundOf(value) {
  return Buffer.from(value.buffer, value.byteOffset, value.byteLength).readUInt32LE(4)
}

// Checkpoints whose every byte follows from who wrote them: a mixed, torn or stale one cannot pass for a whole one.
import { Random } from './random.mjs'

const headerBytes = 16

/**
 * @param {number} seed of the test @param {number} round of the writer @param {number} number of the checkpoint in
 *   its round @param {number} maxBytes
 * @returns {Buffer}
 */
export function payloadOf(seed, round, number, maxBytes) {
  const random = new Random(seed, round, number)
  const bytes = Buffer.alloc(random.logUniform(headerBytes, maxBytes))
  bytes.writeUInt32LE(seed >>> 0, 0)
  bytes.writeUInt32LE(round, 4)
  bytes.writeBigUInt64LE(BigInt(number), 8)
  random.fill(bytes.subarray(headerBytes))
  return bytes
}

/**
 * Who wrote a checkpoint. Throws when it is not whole, or not one that this test wrote.
 * @param {{ sequence: bigint, value: Uint8Array }} checkpoint @param {number} seed @param {number} maxBytes
 * @returns {{ round: number, number: number }}
 */
export function authorOf({ sequence, value }, seed, maxBytes) {
  const bytes = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
  if (bytes.length < headerBytes) throw new Error(`checkpoint ${sequence} has ${bytes.length} bytes`)
  if (bytes.readUInt32LE(0) !== seed >>> 0) throw new Error(`checkpoint ${sequence} is of another test`)
  const round = bytes.readUInt32LE(4)
  const number = Number(bytes.readBigUInt64LE(8))
  const expected = payloadOf(seed, round, number, maxBytes)
  if (expected.equals(bytes)) return { round, number }
  const name = `checkpoint ${sequence} (round ${round}, number ${number})`
  if (expected.length !== bytes.length) throw new Error(`${name} has ${bytes.length} bytes, not ${expected.length}`)
  const at = expected.findIndex((byte, index) => byte !== bytes[index])
  throw new Error(`${name} differs from byte ${at} of ${bytes.length} on`)
}

/**
 * Checks all checkpoints of a log: each is whole, they come in the order in which they were appended, and with `dense`
 * none is missing between two others of a round. (Between rounds a sequence number may be skipped: a torn record had
 * it. Two slots keep the newest durable checkpoint and the newest one.)
 * @param {readonly { sequence: bigint, value: Uint8Array }[]} all @param {number} seed @param {number} maxBytes
 * @param {boolean} dense
 * @returns {{ sequence: bigint, round: number, number: number }[]}
 */
export function checkOrder(all, seed, maxBytes, dense) {
  const authors = all.map((checkpoint) => ({
    sequence: checkpoint.sequence,
    ...authorOf(checkpoint, seed, maxBytes),
  }))
  for (const [index, now] of authors.entries()) {
    const before = authors[index - 1]
    if (!before) continue
    const step = now.round === before.round ? now.number - before.number : now.number
    const inOrder = now.sequence > before.sequence && now.round >= before.round && (dense ? step === 1 : step >= 1)
    if (!inOrder) {
      const told = [before, now].map(({ sequence, round, number }) => `${sequence} (round ${round}, number ${number})`)
      throw new Error(`${told[1]} follows ${told[0]}`)
    }
  }
  return authors
}

/** What every structure of the pool has in common: a block with a magic in front and a CRC32C of the rest at its end. */
import { crc32c } from './crc32c.js'
import { blockBytes } from './geometry.js'

const crcOffset = blockBytes - 4
export const writeNumberOffset = 8
const zeros = new Uint8Array(blockBytes)

/** Fills in the checksum. */
export function seal(block: Buffer): Buffer {
  block.writeUInt32LE(crc32c(block.subarray(0, crcOffset)), crcOffset)
  return block
}

/** Checks length, magic and checksum, in this order, and says what is wrong. */
export function sealProblem(block: Uint8Array, magic: string): string | undefined {
  if (block.byteLength !== blockBytes) return `has ${block.byteLength} bytes instead of ${blockBytes}`
  const view = asBuffer(block)
  if (!view.subarray(0, 8).equals(Buffer.from(magic, 'latin1'))) {
    return isZero(block) ? 'is all zeros' : `does not begin with "${magic}"`
  }
  const stored = view.readUInt32LE(crcOffset)
  const computed = crc32c(view.subarray(0, crcOffset))
  if (stored !== computed) return `has checksum ${hex(stored)}, and its bytes give ${hex(computed)}`
  return undefined
}

export function isZero(block: Uint8Array): boolean {
  return block.byteLength <= blockBytes && Buffer.compare(block, zeros.subarray(0, block.byteLength)) === 0
}

/** Whether two valid copies say the same, whatever their write numbers. */
export function sameContent(a: Uint8Array, b: Uint8Array): boolean {
  const from = writeNumberOffset + 8
  return Buffer.compare(a.subarray(from, crcOffset), b.subarray(from, crcOffset)) === 0
}

export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** A 64-bit number that must be exact in JavaScript; NaN where it is not. */
export function safeNumber(value: bigint): number {
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : Number.NaN
}

const uuidPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

export function uuidToBytes(uuid: string): Buffer {
  if (!uuidPattern.test(uuid)) throw new RangeError(`${uuid} is not a UUID`)
  return Buffer.from(uuid.replaceAll('-', ''), 'hex')
}

export function uuidFromBytes(bytes: Uint8Array): string {
  const text = asBuffer(bytes).toString('hex')
  return [text.slice(0, 8), text.slice(8, 12), text.slice(12, 16), text.slice(16, 20), text.slice(20)].join('-')
}

/** UTF-8, or nothing when the bytes are not. */
export function decodeUtf8(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
  } catch {
    return undefined
  }
}

function hex(value: number): string {
  return `0x${value.toString(16).padStart(8, '0')}`
}

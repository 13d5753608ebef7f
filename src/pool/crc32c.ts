/**
 * CRC32C (Castagnoli, RFC 3720 B.4) in TypeScript. The pool's structures are a few KiB each, and parsing them must work
 * where the addon does not load: a client on any platform, the inspect command, a test.
 */

/** The reflected polynomial 0x1EDC6F41. */
const polynomial = 0x82f63b78

/** Eight tables, to process eight bytes at a time. */
const tables = makeTables()

function makeTables(): Uint32Array {
  const result = new Uint32Array(8 * 256)
  for (let byte = 0; byte < 256; byte++) {
    let value = byte
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ polynomial : value >>> 1
    result[byte] = value
  }
  for (let index = 256; index < result.length; index++) {
    const previous = result[index - 256] ?? 0
    result[index] = (previous >>> 8) ^ (result[previous & 0xff] ?? 0)
  }
  return result
}

export function crc32c(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const table = (which: number, byte: number): number => tables[(which << 8) | (byte & 0xff)] ?? 0
  let crc = 0xffffffff
  let at = 0
  for (; at + 8 <= bytes.byteLength; at += 8) {
    const low = view.getUint32(at, true) ^ crc
    const high = view.getUint32(at + 4, true)
    crc =
      table(7, low) ^
      table(6, low >>> 8) ^
      table(5, low >>> 16) ^
      table(4, low >>> 24) ^
      table(3, high) ^
      table(2, high >>> 8) ^
      table(1, high >>> 16) ^
      table(0, high >>> 24)
  }
  for (; at < bytes.byteLength; at++) crc = (crc >>> 8) ^ table(0, crc ^ view.getUint8(at))
  return (crc ^ 0xffffffff) >>> 0
}

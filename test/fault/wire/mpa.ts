// MPA (RFC 5044, RFC 6581): set-up frames and FPDUs, as a peer would write them that need not be well-behaved.
import { crc32c } from './crc32c.js'

const requestKey = Buffer.from('MPA ID Req Frame', 'latin1')
const replyKey = Buffer.from('MPA ID Rep Frame', 'latin1')
const frameHeaderBytes = 20

/** Bits of the flags byte (RFC 5044 section 7.1, RFC 6581 section 8). */
export const mpaFlags = { markers: 0x80, crc: 0x40, reject: 0x20, enhanced: 0x10 } as const

export interface SetUp {
  key?: Buffer
  flags?: number
  revision?: number
  /** The length that the frame claims, when it lies. */
  privateDataLength?: number
  /** Reads in flight, inbound and outbound (RFC 6581); left out of revision 1. */
  ird?: number
  ord?: number
  privateData: Uint8Array
}

export function encodeRequest(setUp: SetUp): Buffer {
  const revision = setUp.revision ?? 2
  const flags = setUp.flags ?? mpaFlags.crc | (revision >= 2 ? mpaFlags.enhanced : 0)
  const enhanced = Buffer.alloc(flags & mpaFlags.enhanced ? 4 : 0)
  if (enhanced.length > 0) {
    enhanced.writeUInt16BE(setUp.ird ?? 16, 0)
    enhanced.writeUInt16BE(setUp.ord ?? 16, 2)
  }
  const header = Buffer.alloc(4)
  header[0] = flags
  header[1] = revision
  header.writeUInt16BE(setUp.privateDataLength ?? enhanced.length + setUp.privateData.length, 2)
  return Buffer.concat([setUp.key ?? requestKey, header, enhanced, setUp.privateData])
}

export interface Reply {
  flags: number
  revision: number
  rejected: boolean
  privateData: Buffer
  /** Bytes of the stream that the frame took. */
  bytes: number
}

/** The reply at the start of a stream, or undefined while it is not whole. */
export function parseReply(stream: Buffer): Reply | undefined {
  if (stream.length < frameHeaderBytes) return undefined
  if (!stream.subarray(0, 16).equals(replyKey)) throw new Error(`no MPA reply: ${stream.toString('hex', 0, 32)}`)
  const flags = stream.readUInt8(16)
  const length = stream.readUInt16BE(18)
  if (stream.length < frameHeaderBytes + length) return undefined
  const skip = flags & mpaFlags.enhanced ? 4 : 0
  return {
    flags,
    revision: stream.readUInt8(17),
    rejected: (flags & mpaFlags.reject) !== 0,
    privateData: stream.subarray(frameHeaderBytes + skip, frameHeaderBytes + length),
    bytes: frameHeaderBytes + length,
  }
}

/** One FPDU: length, ULPDU, padding to 4 bytes, CRC32C of it all. */
export function encodeFpdu(ulpdu: Uint8Array): Buffer {
  const padded = Math.ceil((2 + ulpdu.length) / 4) * 4
  const frame = Buffer.alloc(padded + 4)
  frame.writeUInt16BE(ulpdu.length, 0)
  frame.set(ulpdu, 2)
  sealFpdu(frame)
  return frame
}

/** Makes the CRC at the end of a frame right for what is before it. */
export function sealFpdu(frame: Buffer): void {
  frame.writeUInt32LE(crc32c(frame.subarray(0, -4)), frame.length - 4)
}

/** The FPDU at the start of a stream, or undefined while it is not whole. Throws when its CRC is wrong. */
export function parseFpdu(stream: Buffer): { ulpdu: Buffer; bytes: number } | undefined {
  if (stream.length < 2) return undefined
  const length = stream.readUInt16BE(0)
  const padded = Math.ceil((2 + length) / 4) * 4
  if (stream.length < padded + 4) return undefined
  const found = stream.readUInt32LE(padded)
  if (found !== crc32c(stream.subarray(0, padded))) throw new Error('the unit sent a frame with a wrong CRC')
  return { ulpdu: stream.subarray(2, 2 + length), bytes: padded + 4 }
}

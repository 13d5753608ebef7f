// DDP and RDMAP headers (RFC 5041 section 4, RFC 5040 section 4), with every field open to be set wrongly.

export const opcode = { write: 0, readRequest: 1, readResponse: 2, send: 3, terminate: 7 } as const
export const queue = { send: 0, readRequest: 1, terminate: 2 } as const

interface Control {
  opcode: number
  last?: boolean
  ddpVersion?: number
  rdmapVersion?: number
}
export interface Tagged extends Control {
  key: number
  address: bigint
  payload: Uint8Array
}
export interface Untagged extends Control {
  queue: number
  msn: number
  offset?: number
  /** The key that a Send with Invalidate names. */
  invalidates?: number
  payload: Uint8Array
}

function control(tagged: boolean, { last, ddpVersion, rdmapVersion, opcode: code }: Control): [number, number] {
  return [(tagged ? 0x80 : 0) | ((last ?? true) ? 0x40 : 0) | (ddpVersion ?? 1), ((rdmapVersion ?? 1) << 6) | code]
}

export function encodeTagged(segment: Tagged): Buffer {
  const header = Buffer.alloc(14)
  header.set(control(true, segment), 0)
  header.writeUInt32BE(segment.key, 2)
  header.writeBigUInt64BE(BigInt.asUintN(64, segment.address), 6)
  return Buffer.concat([header, segment.payload])
}

export function encodeUntagged(segment: Untagged): Buffer {
  const header = Buffer.alloc(18)
  header.set(control(false, segment), 0)
  header.writeUInt32BE(segment.invalidates ?? 0, 2)
  header.writeUInt32BE(segment.queue, 6)
  header.writeUInt32BE(segment.msn, 10)
  header.writeUInt32BE(segment.offset ?? 0, 14)
  return Buffer.concat([header, segment.payload])
}

export interface ReadRequest {
  sinkKey: number
  sinkAddress: bigint
  length: number
  sourceKey: number
  sourceAddress: bigint
}

export function encodeReadRequest(request: ReadRequest): Buffer {
  const payload = Buffer.alloc(28)
  payload.writeUInt32BE(request.sinkKey, 0)
  payload.writeBigUInt64BE(request.sinkAddress, 4)
  payload.writeUInt32BE(request.length, 12)
  payload.writeUInt32BE(request.sourceKey, 16)
  payload.writeBigUInt64BE(BigInt.asUintN(64, request.sourceAddress), 20)
  return payload
}

export interface Segment {
  tagged: boolean
  last: boolean
  opcode: number
  /** Tagged. */
  key: number
  address: bigint
  /** Untagged. */
  queue: number
  msn: number
  payload: Buffer
}

/** Undefined when the ULPDU is too short for a header. */
export function parseSegment(ulpdu: Buffer): Segment | undefined {
  const tagged = ulpdu.length > 0 && (ulpdu.readUInt8(0) & 0x80) !== 0
  if (ulpdu.length < (tagged ? 14 : 18)) return undefined
  return {
    tagged,
    last: (ulpdu.readUInt8(0) & 0x40) !== 0,
    opcode: ulpdu.readUInt8(1) & 0x0f,
    key: tagged ? ulpdu.readUInt32BE(2) : 0,
    address: tagged ? ulpdu.readBigUInt64BE(6) : 0n,
    queue: tagged ? 0 : ulpdu.readUInt32BE(6),
    msn: tagged ? 0 : ulpdu.readUInt32BE(10),
    payload: ulpdu.subarray(tagged ? 14 : 18),
  }
}

/** What a Terminate says, as "layer/type/code" in the numbers of RFC 5040 section 4.8. */
export function terminateCode(payload: Buffer): string {
  const first = payload.readUInt8(0)
  return `${first >> 4}/${first & 0x0f}/${payload.readUInt8(1)}`
}

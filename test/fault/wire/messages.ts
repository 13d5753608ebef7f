// The data protocol's messages and private data (docs/data-protocol.md), written from the document.

export const connectionKind = { data: 1, session: 2 } as const
export const messageType = { hello: 1, grant: 2, welcome: 3, refuse: 4, flush: 5, flushed: 6, heartbeat: 7 } as const

/** Private data of a connect: the fabric's preamble, then kind and token. */
export function connectData(kind: number, token: Uint8Array): Buffer {
  const preamble = Buffer.from([...Buffer.from('RDCP'), 1, 1, 0, 0])
  return Buffer.concat([preamble, Buffer.from([kind, 0, 0, 0]), token])
}

function message(type: number, version: number, bytes: number): Buffer {
  const buffer = Buffer.alloc(bytes)
  buffer.write('RDCM', 0, 'latin1')
  buffer.writeUInt16LE(type, 4)
  buffer.writeUInt16LE(version, 6)
  return buffer
}

export function hello(versionMin = 1, versionMax = 1): Buffer {
  const buffer = message(messageType.hello, 0, 24)
  buffer.writeUInt16LE(versionMin, 8)
  buffer.writeUInt16LE(versionMax, 10)
  buffer.writeUInt32LE(4096, 16)
  return buffer
}

export interface Grant {
  key: number
  base: bigint
  length: bigint
  epoch: bigint
  rights: number
  credits: number
  maxMessage: number
}

export function parseGrant(buffer: Buffer): Grant {
  if (typeOf(buffer) !== messageType.grant) throw new Error(`not a grant: ${buffer.toString('hex')}`)
  return {
    key: buffer.readUInt32LE(12),
    base: buffer.readBigUInt64LE(16),
    length: buffer.readBigUInt64LE(24),
    epoch: buffer.readBigUInt64LE(32),
    rights: buffer.readUInt32LE(48),
    credits: buffer.readUInt32LE(52),
    maxMessage: buffer.readUInt32LE(56),
  }
}

export function flush(request: bigint, ranges: readonly { offset: bigint; length: bigint }[], count?: number): Buffer {
  const buffer = message(messageType.flush, 1, 24 + 16 * ranges.length)
  buffer.writeBigUInt64LE(request, 8)
  buffer.writeUInt32LE(count ?? ranges.length, 16)
  for (const [index, range] of ranges.entries()) {
    buffer.writeBigUInt64LE(range.offset, 24 + 16 * index)
    buffer.writeBigUInt64LE(range.length, 32 + 16 * index)
  }
  return buffer
}

export function heartbeat(sequence: bigint): Buffer {
  const buffer = message(messageType.heartbeat, 1, 32)
  buffer.writeBigUInt64LE(sequence, 8)
  buffer.writeBigUInt64LE(process.hrtime.bigint(), 16)
  return buffer
}

export function typeOf(buffer: Buffer): number {
  return buffer.length >= 6 && buffer.toString('latin1', 0, 4) === 'RDCM' ? buffer.readUInt16LE(4) : 0
}

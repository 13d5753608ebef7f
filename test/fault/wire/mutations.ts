// Frames that a peer under a valid grant could send, and what a malicious or broken one makes of them.
import type { Random } from '../support/random.mjs'
import { flush } from './messages.js'
import { encodeFpdu, sealFpdu } from './mpa.js'
import { encodeReadRequest, encodeTagged, encodeUntagged, opcode, parseSegment, queue } from './rdmap.js'

export interface Target {
  key: number
  base: bigint
  length: bigint
  sendMsn: number
  readMsn: number
}

const readSink = { sinkKey: 0x5eed, sinkAddress: 0n }

/** A valid frame of any kind. */
export function validFrame(random: Random, target: Target): Buffer {
  const length = random.logUniform(1, 4096)
  const offset = BigInt(random.integer(0, Number(target.length) - length))
  switch (random.integer(0, 3)) {
    case 0:
    case 1: {
      const payload = random.fill(Buffer.alloc(length))
      return encodeFpdu(encodeTagged({ opcode: opcode.write, key: target.key, address: target.base + offset, payload }))
    }
    case 2: {
      const request = { ...readSink, length, sourceKey: target.key, sourceAddress: target.base + offset }
      const payload = encodeReadRequest(request)
      return encodeFpdu(
        encodeUntagged({ opcode: opcode.readRequest, queue: queue.readRequest, msn: target.readMsn, payload }),
      )
    }
    default: {
      const payload = flush(1n, [{ offset, length: BigInt(length) }])
      return encodeFpdu(encodeUntagged({ opcode: opcode.send, queue: queue.send, msn: target.sendMsn, payload }))
    }
  }
}

/** Changes a frame in one to four places; with `repair` its CRC is made right again. */
export function mutate(random: Random, valid: Buffer, repair: boolean): Buffer {
  let frame = Buffer.from(valid)
  for (let edits = random.integer(1, 4); edits > 0; edits--) {
    // Headers are where the decisions are made.
    const at = random.chance(0.8)
      ? random.integer(0, Math.min(47, frame.length - 1))
      : random.integer(0, frame.length - 1)
    switch (random.integer(0, 6)) {
      case 0:
        frame[at]! ^= 1 << random.integer(0, 7)
        break
      case 1:
        frame[at] = random.pick([0x00, 0xff, 0x7f, 0x80, 0x01])
        break
      case 2:
        frame[at] = random.integer(0, 255)
        break
      case 3:
        frame.fill(random.pick([0x00, 0xff]), at, Math.min(frame.length, at + random.pick([2, 4, 8])))
        break
      case 4:
        frame = Buffer.concat([
          frame.subarray(0, at),
          random.fill(Buffer.alloc(random.integer(1, 16))),
          frame.subarray(at),
        ])
        break
      case 5:
        if (frame.length > 16) frame = Buffer.concat([frame.subarray(0, at), frame.subarray(at + random.integer(1, 4))])
        break
      default:
        frame.writeUInt16BE(random.pick([0, 1, 13, 17, frame.length - 6, 0xfffe, 0xffff]) & 0xffff, 0)
    }
    if (frame.length < 8) break
  }
  if (repair && frame.length >= 8) {
    // The length must fit as well, or the CRC would not be looked for where it is.
    if (random.chance(0.7)) {
      const body = frame.length - 4
      frame = Buffer.concat([frame.subarray(0, body - (body % 4)), frame.subarray(-4)])
      if (random.chance(0.8)) frame.writeUInt16BE(Math.max(0, frame.length - 6 - random.integer(0, 3)), 0)
    }
    sealFpdu(frame)
  }
  return frame
}

/**
 * The bytes that frames in a stream address under the target's own grant: those, and no others, may change. A frame
 * whose CRC is wrong counts, because placing may come before checking.
 */
export function* addressed(stream: Buffer, target: Target): Generator<{ from: number; to: number }> {
  let at = 0
  while (at + 2 <= stream.length) {
    const length = stream.readUInt16BE(at)
    const segment = parseSegment(stream.subarray(at + 2, at + 2 + length))
    if (segment?.tagged && segment.key === target.key) {
      const from = segment.address - target.base
      const to = from + BigInt(length - 14)
      if (from >= 0n && to <= target.length) yield { from: Number(from), to: Number(to) }
    }
    at += Math.ceil((2 + length) / 4) * 4 + 4
  }
}

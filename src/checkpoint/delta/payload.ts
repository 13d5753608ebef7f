/**
 * The payload of a delta record: what it builds on, and runs of bytes that replace those of its base. What is read is
 * untrusted: everything is checked before any of it is used. docs/checkpoint-format.md is the specification.
 */

import { newBytes } from '../../call/new-bytes.js'
import { type RecordHeader, safeNumber } from '../record/header.js'

export const deltaMagic = 0x584b4352 // "RCKX"
export const deltaHeaderBytes = 64
export const runHeaderBytes = 16
/** Deltas in a row that build on one full checkpoint. */
export const mostDeltas = 1023

/** The record that a delta builds on. */
export interface DeltaBase {
  readonly epoch: bigint
  readonly sequence: bigint
  /** CRC of its header, which has that of its payload in it. */
  readonly headerCrc: number
}

export interface DeltaHeader extends DeltaBase {
  /** Deltas from the full checkpoint to this one, this one among them. */
  readonly depth: number
  readonly baseBytes: number
  readonly totalBytes: number
}

/** Writes the first 64 bytes of the payload. */
export function writeDeltaHeader(target: Uint8Array, delta: DeltaHeader): void {
  const view = new DataView(target.buffer, target.byteOffset, deltaHeaderBytes)
  target.fill(0, 0, deltaHeaderBytes)
  view.setUint32(0, deltaMagic, true)
  view.setUint16(4, 1, true)
  view.setUint16(6, deltaHeaderBytes, true)
  view.setUint32(8, delta.depth, true)
  view.setUint32(12, delta.headerCrc, true)
  view.setBigUint64(16, delta.sequence, true)
  view.setBigUint64(24, delta.epoch, true)
  view.setBigUint64(32, BigInt(delta.baseBytes), true)
  view.setBigUint64(40, BigInt(delta.totalBytes), true)
}

export interface Delta extends DeltaHeader {
  /** Places in the restored checkpoint and the bytes that go there. */
  readonly runs: readonly { readonly offset: number; readonly bytes: Uint8Array }[]
}

/**
 * The delta in a payload, if it is one that its record may have: it builds on something older, lies within the lengths
 * that it names, and says what every byte beyond its base is. Allocates in proportion to the payload only.
 */
export function parseDelta(payload: Uint8Array, record: RecordHeader): Delta | undefined {
  if (payload.length < deltaHeaderBytes) return undefined
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length)
  if (view.getUint32(0, true) !== deltaMagic || view.getUint16(4, true) !== 1) return undefined
  if (view.getUint16(6, true) !== deltaHeaderBytes) return undefined
  const depth = view.getUint32(8, true)
  const sequence = view.getBigUint64(16, true)
  const epoch = view.getBigUint64(24, true)
  const baseBytes = safeNumber(view.getBigUint64(32, true))
  const totalBytes = safeNumber(view.getBigUint64(40, true))
  if (baseBytes === undefined || totalBytes === undefined || totalBytes !== record.totalBytes) return undefined
  if (depth < 1 || depth > mostDeltas || epoch > record.epoch) return undefined
  // Older than itself, not older than the full one: no chain turns back on itself.
  if (sequence >= record.sequence || sequence < record.baseSequence) return undefined
  if ((depth === 1) !== (sequence === record.baseSequence)) return undefined
  const runs: { offset: number; bytes: Uint8Array }[] = []
  let end = 0
  for (let at = deltaHeaderBytes; at < payload.length; ) {
    if (payload.length - at < runHeaderBytes) return undefined
    const offset = safeNumber(view.getBigUint64(at, true))
    const length = safeNumber(view.getBigUint64(at + 8, true))
    at += runHeaderBytes
    if (offset === undefined || length === undefined || length === 0 || offset < end) return undefined
    if (length > payload.length - at || offset > totalBytes || length > totalBytes - offset) return undefined
    if (offset > Math.max(end, baseBytes)) return undefined
    runs.push({ offset, bytes: payload.subarray(at, at + length) })
    end = offset + length
    at += length
  }
  if (totalBytes > Math.max(end, baseBytes)) return undefined
  return { depth, headerCrc: view.getUint32(12, true), sequence, epoch, baseBytes, totalBytes, runs }
}

/** The checkpoint of a delta, in the memory of its base where that has the right length. */
export function applyDelta(base: Uint8Array<ArrayBuffer>, { totalBytes, runs }: Delta): Uint8Array<ArrayBuffer> {
  let state = base
  if (base.length !== totalBytes) {
    state = newBytes(totalBytes, 'Free memory of the process, or read another checkpoint.')
    state.set(base.subarray(0, totalBytes))
  }
  for (const { offset, bytes } of runs) state.set(bytes, offset)
  return state
}

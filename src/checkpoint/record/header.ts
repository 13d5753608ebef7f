/**
 * The 128 bytes in front of every record. A header is believed only as a whole: checksum, region, place and lengths are
 * checked before anything in it is used. docs/checkpoint-format.md is the specification.
 */
import { CheckpointError } from '../../errors.js'
import { cellBytes, cellsOf, type DataArea, recordHeaderBytes } from '../geometry.js'

export const recordMagic = 0x524b4352 // "RCKR"
export const recordVersion = 2
export const recordKind = { full: 1, delta: 2, part: 3, bridge: 4 } as const
export const lastPartFlag = 0x0001
/** The log header was durable before this record was sent. Readers may ignore it. */
export const headerDurableFlag = 0x0100
/** Flag bits that a reader must know to read the record; the other eight may be ignored. */
const incompatibleFlags = 0x00ff
/** Total length of a stream whose length was not known when the part was written. */
export const unknownTotal = 0xffff_ffff_ffff_ffffn

export interface RecordFields {
  kind: number
  flags: number
  codec: number
  schema: number
  part: number
  /** CRC of the header of the record before it in the log. */
  previousCrc: number
  /** Behind this sequence number no crash has taken anything from the log, up to this record. */
  unbrokenFrom: bigint
  epoch: bigint
  sequence: bigint
  /** Of the full checkpoint that a delta's chain begins with; 0 in other records. */
  baseSequence: bigint
  /** Of the part's first byte in the whole checkpoint. */
  offset: number
  timeMs: number
  payloadBytes: number
  totalBytes: number | undefined
  durableSequence: bigint
  /** In cells since the log's beginning (append) or of the area (overwrite). */
  position: number
  /** Of a bridge: the header CRC of the record behind it. */
  payloadCrc: number
}

export interface RecordHeader extends Readonly<RecordFields> {
  /** Cells of the whole record. */
  readonly cells: number
  readonly headerCrc: number
}

export type Crc32c = (bytes: Uint8Array, seed?: number) => number

/** Writes the header to the first 128 bytes of target and returns its CRC. */
export function writeRecordHeader(
  target: Uint8Array,
  fields: RecordFields,
  instance: Uint8Array,
  crc32c: Crc32c,
): number {
  const view = new DataView(target.buffer, target.byteOffset, recordHeaderBytes)
  view.setUint32(0, recordMagic, true)
  view.setUint8(4, recordVersion)
  view.setUint8(5, fields.kind)
  view.setUint16(6, recordHeaderBytes, true)
  view.setUint16(8, fields.flags, true)
  view.setUint16(10, fields.codec, true)
  view.setUint32(12, fields.schema, true)
  view.setUint32(16, fields.part, true)
  view.setUint32(20, fields.previousCrc, true)
  target.set(instance, 24)
  view.setBigUint64(40, fields.unbrokenFrom, true)
  view.setBigUint64(48, fields.epoch, true)
  view.setBigUint64(56, fields.sequence, true)
  view.setBigUint64(64, fields.baseSequence, true)
  view.setBigUint64(72, BigInt(fields.offset), true)
  view.setBigUint64(80, BigInt(fields.timeMs), true)
  view.setBigUint64(88, BigInt(fields.payloadBytes), true)
  view.setBigUint64(96, fields.totalBytes === undefined ? unknownTotal : BigInt(fields.totalBytes), true)
  view.setBigUint64(104, fields.durableSequence, true)
  view.setBigUint64(112, BigInt(fields.position), true)
  view.setUint32(120, fields.payloadCrc, true)
  const crc = crc32c(target.subarray(0, 124))
  view.setUint32(124, crc, true)
  return crc
}

/**
 * The header in these 128 bytes if they are one, of this region and for this place; else undefined.
 * @throws CheckpointError `NOT_SUPPORTED` for a sound header of a later version of the format
 */
export function parseRecordHeader(
  bytes: Uint8Array,
  position: number,
  area: DataArea,
  instance: Uint8Array,
  crc32c: Crc32c,
): RecordHeader | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, recordHeaderBytes)
  if (view.getUint32(0, true) !== recordMagic) return undefined
  const headerCrc = view.getUint32(124, true)
  if (crc32c(bytes.subarray(0, 124)) !== headerCrc) return undefined
  for (let index = 0; index < 16; index++) if (bytes[24 + index] !== instance[index]) return undefined
  if (view.getBigUint64(112, true) !== BigInt(position)) return undefined
  const version = view.getUint8(4)
  const kind = view.getUint8(5)
  const flags = view.getUint16(8, true)
  const unknownFlags = flags & incompatibleFlags & ~lastPartFlag
  if (version !== recordVersion || view.getUint16(6, true) !== recordHeaderBytes || unknownFlags !== 0 || kind > 4) {
    throw new CheckpointError(
      'NOT_SUPPORTED',
      `This release cannot read a record of this log: header version ${version}, kind ${kind}, ` +
        `flags 0x${flags.toString(16)}.`,
      { help: 'Upgrade this process to the version that writes the log.' },
    )
  }
  const offset = safeNumber(view.getBigUint64(72, true))
  const timeMs = safeNumber(view.getBigUint64(80, true))
  const payloadBytes = safeNumber(view.getBigUint64(88, true))
  const rawTotal = view.getBigUint64(96, true)
  const totalBytes = rawTotal === unknownTotal ? undefined : safeNumber(rawTotal)
  if (kind === 0 || offset === undefined || timeMs === undefined || payloadBytes === undefined) return undefined
  if (rawTotal !== unknownTotal && totalBytes === undefined) return undefined
  // A bridge reaches over whatever a crash took.
  const mostCells = kind === recordKind.bridge ? area.cells : area.maximumCells
  if (payloadBytes > mostCells * cellBytes || cellsOf(payloadBytes) > mostCells) return undefined
  const part = view.getUint32(16, true)
  const last = (flags & lastPartFlag) !== 0
  const end = offset + payloadBytes
  if (kind === recordKind.bridge ? !last : kind !== recordKind.part && (part !== 0 || offset !== 0 || !last)) {
    return undefined
  }
  const sequence = view.getBigUint64(56, true)
  const baseSequence = view.getBigUint64(64, true)
  if (sequence === 0n) return undefined
  if (kind === recordKind.delta) {
    // The length of what it restores, which would have fitted as a whole.
    if (totalBytes === undefined || totalBytes > area.maximumCells * cellBytes) return undefined
    if (baseSequence === 0n || baseSequence >= sequence) return undefined
  } else if (
    kind !== recordKind.bridge &&
    (totalBytes === undefined ? last : end > totalBytes || (last && end !== totalBytes))
  ) {
    return undefined
  }
  return {
    kind,
    flags,
    codec: view.getUint16(10, true),
    schema: view.getUint32(12, true),
    part,
    previousCrc: view.getUint32(20, true),
    unbrokenFrom: view.getBigUint64(40, true),
    epoch: view.getBigUint64(48, true),
    sequence,
    baseSequence,
    offset,
    timeMs,
    payloadBytes,
    totalBytes,
    durableSequence: view.getBigUint64(104, true),
    position,
    payloadCrc: view.getUint32(120, true),
    cells: cellsOf(payloadBytes),
    headerCrc,
  }
}

export function isLast(header: RecordHeader): boolean {
  return (header.flags & lastPartFlag) !== 0
}

/** Whether next, found right behind previous, goes on the log, and is not left over from an earlier lap or a lost suffix. */
export function continues(previous: RecordHeader, next: RecordHeader): boolean {
  if (next.epoch < previous.epoch) return false
  if (isBridge(previous)) return next.headerCrc === previous.payloadCrc || bridges(previous, next)
  if (isBridge(next)) return bridges(previous, next)
  if (next.previousCrc !== previous.headerCrc) return false
  if (isLast(previous)) return next.sequence > previous.sequence && next.part === 0 && next.offset === 0
  return isNextPart(previous, next)
}

function bridges(previous: RecordHeader, next: RecordHeader): boolean {
  return isBridge(next) && next.previousCrc === previous.headerCrc && next.sequence >= previous.sequence
}

/** Whether it holds nothing, and stands for what a crash took from the middle of the log: the numbers up to its own. */
export function isBridge({ kind }: RecordHeader): boolean {
  return kind === recordKind.bridge
}

/** The greatest number that may lie in front of a record. */
export function numberBefore({ part, sequence }: Pick<RecordHeader, 'part' | 'sequence'>): bigint {
  return part > 0 ? sequence : sequence - 1n
}

/** Whether next is the part that follows previous in one stream. */
export function isNextPart(previous: RecordHeader, next: RecordHeader): boolean {
  return (
    next.previousCrc === previous.headerCrc &&
    next.kind === recordKind.part &&
    next.sequence === previous.sequence &&
    next.epoch === previous.epoch &&
    next.part === previous.part + 1 &&
    next.offset === previous.offset + previous.payloadBytes
  )
}

/** The 16 bytes of a UUID. */
export function instanceBytes(id: string): Uint8Array {
  const digits = id.replaceAll('-', '')
  if (!/^[0-9a-fA-F]{32}$/.test(digits)) {
    throw new CheckpointError('INVALID_ARGUMENT', `The region's instance id ${JSON.stringify(id)} is not a UUID.`)
  }
  return Uint8Array.from({ length: 16 }, (_, index) => Number.parseInt(digits.slice(2 * index, 2 * index + 2), 16))
}

export function safeNumber(value: bigint): number | undefined {
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : undefined
}

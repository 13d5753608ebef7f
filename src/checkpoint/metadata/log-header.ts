/**
 * The log header, kept in both copies of the metadata: what a clear leaves behind. A region that was never cleared has none.
 */
import { CheckpointError } from '../../errors.js'
import { cellBytes, type Geometry } from '../geometry.js'
import { type Crc32c, safeNumber } from '../record/header.js'

const headerMagic = 0x4c4b4352 // "RCKL"
const headerVersion = 2
export const logHeaderUsedBytes = 128

export interface LogHeader {
  /** Grows by one with each clear; 0 when there was none. */
  readonly generation: bigint
  /** Records below it are cleared. */
  readonly firstSequence: bigint
  /** Cells: where the log went on when it was cleared. */
  readonly position: number
}

const emptyHeader: LogHeader = { generation: 0n, firstSequence: 1n, position: 0 }

export function writeLogHeader(
  target: Uint8Array,
  header: LogHeader,
  geometry: Geometry,
  instance: Uint8Array,
  crc32c: Crc32c,
): void {
  const view = new DataView(target.buffer, target.byteOffset, logHeaderUsedBytes)
  target.fill(0)
  view.setUint32(0, headerMagic, true)
  view.setUint16(4, headerVersion, true)
  view.setUint16(6, logHeaderUsedBytes, true)
  view.setUint8(8, geometry.mode === 'append' ? 1 : 2)
  target.set(instance, 16)
  view.setBigUint64(32, header.generation, true)
  view.setBigUint64(40, header.firstSequence, true)
  view.setBigUint64(48, BigInt(header.position), true)
  // 56, 64, 72: feature bits compatible, read-only-compatible, incompatible; none is defined yet.
  view.setBigUint64(80, BigInt(geometry.area.offset), true)
  view.setBigUint64(88, BigInt(geometry.area.cells * cellBytes), true)
  view.setUint32(96, geometry.mode === 'append' ? geometry.segments : 2, true)
  view.setUint32(100, geometry.mode === 'append' ? geometry.marks : 0, true)
  view.setUint32(124, crc32c(target.subarray(0, 124)), true)
}

/** What the two copies say. */
export interface LogHeaders {
  readonly header: LogHeader
  /** Whether each copy is what was written last: the owner writes the others anew. */
  readonly sound: readonly [boolean, boolean]
}

/**
 * The newer of the two copies that is whole. A clear writes one after the other, so that at most one of them is torn.
 * @param copies the first 128 bytes of each
 * @throws CheckpointError `CHECKPOINT_DAMAGED` when copies were written and none is whole; `NOT_SUPPORTED` when a later
 * version's feature forbids it
 */
export function readLogHeader(
  copies: readonly [Uint8Array, Uint8Array],
  geometry: Geometry,
  instance: Uint8Array,
  writing: boolean,
  crc32c: Crc32c,
): LogHeaders {
  const a = parseCopy(copies[0], geometry, instance, writing, crc32c)
  const b = parseCopy(copies[1], geometry, instance, writing, crc32c)
  const whole = [a, b].filter((copy) => typeof copy === 'object')
  const [first, second] = whole
  if (first !== undefined) {
    const header = second !== undefined && second.generation > first.generation ? second : first
    const isNewest = (copy: typeof a) => typeof copy === 'object' && copy.generation === header.generation
    return { header, sound: [isNewest(a), isNewest(b)] }
  }
  // The first clear was torn in the one before it came to the other, or a bit of nothing was flipped.
  if (a === 'empty' || b === 'empty') return { header: emptyHeader, sound: [a === 'empty', b === 'empty'] }
  throw new CheckpointError('CHECKPOINT_DAMAGED', 'Both copies of the log header are damaged.', {
    help: 'The region was written by something else than this package, or its medium is damaged.',
  })
}

function parseCopy(
  bytes: Uint8Array,
  geometry: Geometry,
  instance: Uint8Array,
  writing: boolean,
  crc32c: Crc32c,
): LogHeader | 'empty' | 'damaged' {
  const used = bytes.subarray(0, logHeaderUsedBytes)
  if (used.every((byte) => byte === 0)) return 'empty'
  const view = new DataView(used.buffer, used.byteOffset, logHeaderUsedBytes)
  if (view.getUint32(0, true) !== headerMagic || crc32c(used.subarray(0, 124)) !== view.getUint32(124, true)) {
    return 'damaged'
  }
  if (instance.some((byte, index) => used[16 + index] !== byte)) return 'damaged'
  const readOnlyCompatible = view.getBigUint64(64, true)
  const incompatible = view.getBigUint64(72, true)
  if (view.getUint16(4, true) !== headerVersion || incompatible !== 0n || (writing && readOnlyCompatible !== 0n)) {
    throw new CheckpointError(
      'NOT_SUPPORTED',
      `The log was written by a later version of the package: header version ${view.getUint16(4, true)}, features ` +
        `read-only-compatible 0x${readOnlyCompatible.toString(16)}, incompatible 0x${incompatible.toString(16)}.`,
      { help: 'Upgrade this process to the version that writes the log.' },
    )
  }
  const generation = view.getBigUint64(32, true)
  const position = safeNumber(view.getBigUint64(48, true))
  const sameGeometry =
    view.getUint8(8) === (geometry.mode === 'append' ? 1 : 2) &&
    view.getBigUint64(80, true) === BigInt(geometry.area.offset) &&
    view.getBigUint64(88, true) === BigInt(geometry.area.cells * cellBytes)
  if (generation === 0n || position === undefined || !sameGeometry) return 'damaged'
  return { generation, firstSequence: view.getBigUint64(40, true), position }
}

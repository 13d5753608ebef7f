/**
 * The log header: what a clear leaves behind. It is kept in both copies of the metadata, and the tips repeat it.
 *
 * - On a pool that keeps something durable it is durable before the first record is sent. So a log with records and without a
 *   header has lost it: nobody knows what was cleared, and such a log is damaged.
 * - Its generation never falls. The greatest of all that is sound counts, so that a clear never comes undone.
 */
import { CheckpointError } from '../../errors.js'
import { cellBytes, type Geometry } from '../geometry.js'
import { type Crc32c, safeNumber } from '../record/header.js'

const headerMagic = 0x4c4b4352 // "RCKL"
const headerVersion = 2
export const logHeaderUsedBytes = 128

export interface LogHeader {
  /** 1 in a log that was never cleared; grows by one with each clear. 0 where no header was ever written. */
  readonly generation: bigint
  /** Records below it are cleared. */
  readonly firstSequence: bigint
  /** Cells: where the log went on when it was cleared. */
  readonly position: number
}

const emptyHeader: LogHeader = { generation: 0n, firstSequence: 1n, position: 0 }
/** The first that an owner writes. */
export const firstHeader: LogHeader = { ...emptyHeader, generation: 1n }

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

/** What the two copies and the tips say. */
export interface LogHeaders {
  readonly header: LogHeader
  /** Whether each copy is what was written last: the owner writes the others again. */
  readonly sound: readonly [boolean, boolean]
}

/**
 * The newest of all that is sound.
 * @param copies the first 128 bytes of each
 * @param repeated as the sound tips say
 * @throws CheckpointError `CHECKPOINT_DAMAGED` when copies were written and none is whole; `NOT_SUPPORTED` when a later
 * version's feature forbids it
 */
export function readLogHeader(
  copies: readonly [Uint8Array, Uint8Array],
  geometry: Geometry,
  instance: Uint8Array,
  writing: boolean,
  crc32c: Crc32c,
  repeated: readonly LogHeader[] = [],
): LogHeaders {
  const a = parseCopy(copies[0], geometry, instance, writing, crc32c)
  const b = parseCopy(copies[1], geometry, instance, writing, crc32c)
  let header = emptyHeader
  for (const sound of [a, b, ...repeated]) {
    if (typeof sound === 'object' && sound.generation > header.generation) header = sound
  }
  if (header.generation > 0n) {
    const isNewest = (copy: typeof a) => typeof copy === 'object' && copy.generation === header.generation
    return { header, sound: [isNewest(a), isNewest(b)] }
  }
  // The first header was torn in one copy before it came to the other, or there is none.
  if (a === 'empty' || b === 'empty') return { header: emptyHeader, sound: [a === 'empty', b === 'empty'] }
  throw headerLost()
}

export function headerLost(): CheckpointError {
  return new CheckpointError(
    'CHECKPOINT_DAMAGED',
    'Both copies of the log header are damaged, and so are the tips that repeat it: what was cleared is not known.',
    {
      help:
        'Something other than this package wrote to the region, or its medium is damaged. Delete the region and create it ' +
        'again; what its records held cannot be told from what was cleared.',
    },
  )
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
      `This release cannot read the log: header version ${view.getUint16(4, true)}, features ` +
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

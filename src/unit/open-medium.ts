/** Opening the native medium of a pool, and its errors as coded ones. */

import { stat } from 'node:fs/promises'
import { CheckpointError } from '../errors.js'
import type { NativeMedium, NativeModule } from '../native.js'
import { callNative, fromNative, rethrow } from '../native-error.js'
import { slotBytes, slotsWrittenAtOnce, superblockBytes, superblockOffsets, tableStart } from '../pool/geometry.js'
import type { PoolMedium } from '../pool/medium.js'
import { looksUsed } from '../pool/slot.js'
import { isZero } from '../pool/structure.js'
import type { CheckedOptions } from './options.js'

export interface OpenedMedium {
  native: NativeMedium
  medium: PoolMedium
}

/** A mapping of a devdax device, and so each extent of a pool on one, begins and ends at multiples of it. */
export const devdaxAlignment = 2 * 1024 * 1024

/**
 * Opens what is there. Nothing is made of what is not: make-pool.ts does that where it was asked for.
 * @param onFailed told once, when a write or sync has failed, or what was opened is not in its place any more: removed,
 * replaced, cut short, written over, in a file system that turned read-only. `failure` of the medium says what
 * @throws CheckpointError `POOL_NOT_FOUND`, `POOL_IN_USE`, `POOL_DAMAGED`, `INVALID_ARGUMENT`, `OUT_OF_MEMORY`, `SYSTEM`
 */
export async function openMedium(
  module: NativeModule,
  pool: CheckedOptions['pool'],
  onFailed: () => void,
): Promise<OpenedMedium> {
  if (pool.medium === 'memory') {
    const native = await module.Medium.open({ medium: 'memory', bytes: pool.bytes }).catch(rethrow)
    return { native, medium: coded(native) }
  }
  const native = await openThere(module, pool, onFailed)
  return { native, medium: coded(native) }
}

function openThere(
  module: NativeModule,
  pool: Exclude<CheckedOptions['pool'], { medium: 'memory' }>,
  onFailed: () => void,
): Promise<NativeMedium> {
  switch (pool.medium) {
    case 'file':
      return openFile(module, pool.path, pool.bytes, onFailed)
    case 'devdax':
      return openDevdax(module, pool.path, onFailed)
  }
}

async function openFile(
  module: NativeModule,
  path: string,
  wanted: number | undefined,
  onFailed: () => void,
): Promise<NativeMedium> {
  if (await isAbsent(path)) throw notFound(path, `--path ${path} --bytes SIZE`)
  const native = await module.Medium.open({ medium: 'file', path, create: false }, { onFailed }).catch(
    (error: unknown) => {
      throw foreign(fromNative(error))
    },
  )
  const { bytes } = native
  if (wanted !== undefined && wanted !== bytes) {
    await native.close()
    throw new CheckpointError(
      'INVALID_ARGUMENT',
      `The pool at ${path} has ${bytes} bytes, and ${wanted} were asked for; a pool keeps its size.`,
      { help: 'Omit the size to open the existing pool.' },
    )
  }
  return native
}

async function openDevdax(module: NativeModule, path: string, onFailed: () => void): Promise<NativeMedium> {
  const native = await module.Medium.open({ medium: 'devdax', path }, { onFailed }).catch(rethrow)
  if (!holdsNothing(native)) return native
  await native.close()
  throw notFound(path, `--devdax ${path}`)
}

/**
 * A device has no length that says whether it is a pool: it is none when both superblocks are zeros, and no region is where
 * the table of a pool begins. With a region there it is a pool that has lost its superblocks.
 */
export function holdsNothing(native: NativeMedium): boolean {
  if (native.bytes < 2 * superblockBytes) return false
  const read = (offset: number, length: number) => callNative(() => native.read(offset, length))
  if (!superblockOffsets(native.bytes).every((offset) => isZero(read(offset, superblockBytes)))) return false
  const length = Math.min(slotsWrittenAtOnce * slotBytes, native.bytes - tableStart)
  const blocks = read(tableStart, length - (length % slotBytes))
  for (let at = 0; at < blocks.length; at += slotBytes) {
    if (looksUsed(blocks.subarray(at, at + slotBytes))) return false
  }
  return true
}

function notFound(path: string, flags: string): CheckpointError {
  return new CheckpointError(
    'POOL_NOT_FOUND',
    `There is no pool at ${path}, and a unit does not create one unless asked to.`,
    {
      help:
        `If there was one, find it first: its regions are in it. To begin with a new one: rdma-checkpoint pool create ${flags}; ` +
        'or start the unit with --create (RDMA_CHECKPOINT_CREATE=1, pool.create).',
    },
  )
}

/** What native code cannot take as a pool at all, such as a file that is not whole blocks. */
function foreign(error: CheckpointError): CheckpointError {
  if (error.code !== 'INVALID_ARGUMENT') return error
  return new CheckpointError('POOL_DAMAGED', `${error.message}. It was not touched.`, {
    cause: error,
    help: 'Check the path. If it was a pool, restore it from a copy. To start over, move it aside and create a new pool (pool create).',
  })
}

/** Whether nothing is there: not even an empty file, which may be what is left of a pool. */
export async function isAbsent(file: string): Promise<boolean> {
  try {
    await stat(file)
    return false
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return true
    throw new CheckpointError('SYSTEM', `Cannot access the pool ${file}: ${(error as Error).message}`, {
      cause: error,
    })
  }
}

export function coded(native: NativeMedium): PoolMedium {
  return {
    bytes: native.bytes,
    blockSize: native.blockSize,
    durable: native.durable,
    get failure() {
      const { failure } = native
      return failure === undefined ? undefined : fromNative(failure)
    },
    read: (offset, length) => callNative(() => native.read(offset, length)),
    write: (offset, bytes) => callNative(() => native.write(offset, bytes)),
    flush: (ranges) => native.flush(ranges).catch(rethrow),
    zero: (offset, length) => native.zero(offset, length).catch(rethrow),
    load: (offset, length) => native.load(offset, length).catch(rethrow),
  }
}

/** Opening the native medium of a pool, and its errors as coded ones. */
import { statSync } from 'node:fs'
import { CheckpointError } from '../errors.js'
import type { NativeMedium, NativeModule } from '../native.js'
import { fromNative } from '../native-error.js'
import { superblockBytes, superblockOffsets } from '../pool/geometry.js'
import type { PoolMedium } from '../pool/medium.js'
import { isZero } from '../pool/structure.js'
import type { CheckedDevdaxPool, CheckedOptions } from './options.js'

export interface OpenedMedium {
  native: NativeMedium
  medium: PoolMedium
  /** It holds nothing yet. */
  fresh: boolean
  /** What the extents of a new pool begin and end at, where blocks are not enough. */
  extentAlignment?: number
}

/** A mapping of a devdax device begins and ends at multiples of it. */
const devdaxAlignment = 2 * 1024 * 1024

/**
 * @throws CheckpointError `POOL_IN_USE`, `POOL_FULL` when its space cannot be reserved, `INVALID_ARGUMENT`, `SYSTEM`
 */
export async function openMedium(module: NativeModule, pool: CheckedOptions['pool']): Promise<OpenedMedium> {
  if (pool.medium === 'memory') {
    const native = await module.Medium.open({ medium: 'memory', bytes: pool.bytes }).catch(rethrow)
    return { native, medium: coded(native), fresh: true }
  }
  if (pool.medium === 'devdax') return await openDevdax(module, pool)
  const fresh = isAbsentOrEmpty(pool.path)
  if (fresh && pool.bytes === undefined) {
    throw new CheckpointError('INVALID_ARGUMENT', `There is no pool at ${pool.path}, and no size to make one of.`, {
      help: 'Check the path, or say how many bytes a new pool shall have.',
    })
  }
  const native = await module.Medium.open({
    medium: 'file',
    path: pool.path,
    create: fresh,
    ...(fresh && pool.bytes !== undefined ? { bytes: pool.bytes } : {}),
  }).catch((error: unknown) => {
    throw fresh ? fromNative(error) : foreign(fromNative(error))
  })
  const { bytes } = native
  if (!fresh && pool.bytes !== undefined && pool.bytes !== bytes) {
    await native.close()
    throw new CheckpointError(
      'INVALID_ARGUMENT',
      `The pool at ${pool.path} has ${bytes} bytes, and ${pool.bytes} were asked for; a pool keeps its size.`,
      { help: 'Leave the size away to open the pool as it is.' },
    )
  }
  return { native, medium: coded(native), fresh }
}

/** A device has no length that says whether it is a pool: it holds nothing yet when both superblocks are zeros. */
async function openDevdax(module: NativeModule, pool: CheckedDevdaxPool): Promise<OpenedMedium> {
  const native = await module.Medium.open({ medium: 'devdax', path: pool.path }).catch(rethrow)
  try {
    const fresh =
      native.bytes >= 2 * superblockBytes &&
      superblockOffsets.every((offset) => isZero(native.read(offset, superblockBytes)))
    return { native, medium: coded(native), fresh, extentAlignment: devdaxAlignment }
  } catch (error) {
    await native.close()
    throw fromNative(error)
  }
}

/** What native code cannot take as a pool at all, such as a file that is not whole blocks. */
function foreign(error: CheckpointError): CheckpointError {
  if (error.code !== 'INVALID_ARGUMENT') return error
  return new CheckpointError('POOL_DAMAGED', `${error.message}. It was not touched.`, {
    cause: error,
    help: 'Check the path; to begin anew, move the file away and start again.',
  })
}

function isAbsentOrEmpty(path: string): boolean {
  try {
    return statSync(path).size === 0
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return true
    throw new CheckpointError('SYSTEM', `The pool ${path} cannot be looked at: ${(error as Error).message}`, {
      cause: error,
    })
  }
}

function coded(native: NativeMedium): PoolMedium {
  return {
    bytes: native.bytes,
    blockSize: native.blockSize,
    durable: native.durable,
    read: (offset, length) => sync(() => native.read(offset, length)),
    write: (offset, bytes) => sync(() => native.write(offset, bytes)),
    flush: (ranges) => native.flush(ranges).catch(rethrow),
    zero: (offset, length) => native.zero(offset, length).catch(rethrow),
    load: (offset, length) => native.load(offset, length).catch(rethrow),
  }
}

function sync<T>(call: () => T): T {
  try {
    return call()
  } catch (error) {
    throw fromNative(error)
  }
}

function rethrow(error: unknown): never {
  throw fromNative(error)
}

/**
 * Making a pool that was asked for. A pool in a file is made beside its place, under a name of its own, and takes its place
 * only when it is whole and durable: whatever ends the making leaves nothing where the pool belongs.
 */
import { randomBytes } from 'node:crypto'
import { link, lstat, open, readdir, readlink, rename, unlink } from 'node:fs/promises'
import path from 'node:path'
import { CheckpointError } from '../errors.js'
import type { NativeMedium, NativeModule } from '../native.js'
import { fromNative } from '../native-error.js'
import { planGeometry } from '../pool/geometry.js'
import { Pool } from '../pool/pool.js'
import { coded, devdaxAlignment, holdsNothing, isAbsent } from './open-medium.js'
import type { CheckedDevdaxPool, CheckedFilePool } from './options.js'

export interface MadePool {
  /** UUID of the pool. */
  id: string
  path: string
  bytes: number
}

const makingSuffix = '.making'

/**
 * @throws CheckpointError `POOL_EXISTS`, `INVALID_ARGUMENT`, `POOL_FULL` when its space cannot be reserved, `POOL_IN_USE`,
 * `OUT_OF_MEMORY`, `SYSTEM`, `ABORTED`
 */
export async function makePool(
  module: NativeModule,
  pool: CheckedFilePool | CheckedDevdaxPool,
  signal?: AbortSignal,
): Promise<MadePool> {
  try {
    switch (pool.medium) {
      case 'file':
        return await makeFile(module, pool, signal)
      case 'devdax':
        return await makeOnDevice(module, pool)
    }
  } catch (error) {
    throw fromNative(error)
  }
}

async function makeFile(
  module: NativeModule,
  { path: asked, bytes, maxRegions }: CheckedFilePool,
  signal: AbortSignal | undefined,
): Promise<MadePool> {
  const place = await followLinks(asked)
  if (!(await isAbsent(place))) throw exists(asked)
  if (bytes === undefined) {
    throw new CheckpointError('INVALID_ARGUMENT', `A new pool at ${asked} needs a size.`, {
      help: 'Set its size with pool.bytes or, for example, --bytes 1GiB.',
    })
  }
  planGeometry(bytes, maxRegions)
  await removeUnfinished(module, place)
  const beside = `${place}.${process.pid}-${randomBytes(4).toString('hex')}${makingSuffix}`
  let native: NativeMedium | undefined
  try {
    native = await module.Medium.open({ medium: 'file', path: beside, create: true, bytes })
    const made = await Pool.format(coded(native), {
      medium: 'file',
      unserved: true,
      ...(maxRegions === undefined ? {} : { maxRegions }),
    })
    if (signal?.aborted) {
      throw new CheckpointError('ABORTED', 'The making of the pool was aborted.', { cause: signal.reason })
    }
    await putInPlace(beside, place)
    return { id: made.id, path: asked, bytes: native.bytes }
  } catch (error) {
    await unlink(beside).catch(() => undefined)
    throw renamed(fromNative(error), beside, asked)
  } finally {
    await native?.close()
  }
}

async function makeOnDevice(module: NativeModule, { path: device, maxRegions }: CheckedDevdaxPool): Promise<MadePool> {
  const native = await module.Medium.open({ medium: 'devdax', path: device })
  try {
    if (!holdsNothing(native)) throw exists(device)
    const made = await Pool.format(coded(native), {
      medium: 'devdax',
      unserved: true,
      extentAlignment: devdaxAlignment,
      ...(maxRegions === undefined ? {} : { maxRegions }),
    })
    return { id: made.id, path: device, bytes: native.bytes }
  } finally {
    await native.close()
  }
}

/** A link never takes the place of what came there meanwhile. */
async function putInPlace(beside: string, place: string): Promise<void> {
  try {
    await link(beside, place)
    await unlink(beside)
  } catch (error) {
    if (codeOf(error) === 'EEXIST') throw exists(place)
    if (!['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'].includes(codeOf(error) ?? '')) {
      throw failed(`The pool could not be put in its place ${place}`, error)
    }
    // The file system has no links of files.
    if (!(await isAbsent(place))) throw exists(place)
    await rename(beside, place)
  }
  await syncDirectory(path.dirname(place))
}

/** Without it a crash may leave a directory that does not know the file. */
async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, 'r')
  try {
    await handle.sync()
  } catch (error) {
    // Some file systems have nothing to sync in a directory and say so.
    if (codeOf(error) !== 'EINVAL') throw failed(`The directory ${directory} could not be synced`, error)
  } finally {
    await handle.close()
  }
}

/** What a killed process left of a making, with the space that it had reserved. Whoever is at it holds a lock. */
async function removeUnfinished(module: NativeModule, place: string): Promise<void> {
  const directory = path.dirname(place)
  const names = await readdir(directory).catch((error: unknown) => {
    throw new CheckpointError('SYSTEM', `The directory ${directory} of the pool cannot be read: ${textOf(error)}`, {
      cause: error,
      help: codeOf(error) === 'ENOENT' ? `Make it first: mkdir -p ${directory}` : 'Check its permissions.',
    })
  })
  for (const name of names) {
    if (!name.startsWith(`${path.basename(place)}.`) || !name.endsWith(makingSuffix)) continue
    const file = path.join(directory, name)
    try {
      // What is not locked cannot be opened twice: it is closed again before the file goes.
      const found = await lstat(file)
      if (!found.isFile()) continue
      if (found.size > 0) await (await module.Medium.open({ medium: 'file', path: file, create: false })).close()
      else if (Date.now() - found.mtimeMs < 60_000) continue
      await unlink(file)
    } catch (error) {
      // In use, or no pool's size: not ours to remove. The making itself says if there is no room.
      if (fromNative(error).code === 'INVALID_ARGUMENT') await unlink(file).catch(() => undefined)
    }
  }
}

/** Where the pool would come to be: a link that leads nowhere yet is followed. */
async function followLinks(file: string): Promise<string> {
  let at = path.resolve(file)
  for (let links = 0; links < 16; links++) {
    const target = await readlink(at).catch(() => undefined)
    if (target === undefined) return at
    at = path.resolve(path.dirname(at), target)
  }
  return at
}

function exists(place: string): CheckpointError {
  return new CheckpointError('POOL_EXISTS', `There is something at ${place} already; it was not touched.`, {
    help: 'If it is a pool, start the unit on it. If nothing in it is worth keeping, remove it first.',
  })
}

/** Its own name means nothing to anybody. */
function renamed(error: CheckpointError, beside: string, asked: string): CheckpointError {
  if (!error.message.includes(beside)) return error
  const { code, outcome, retryable, help, details } = error
  return new CheckpointError(code, error.message.replaceAll(beside, asked), {
    cause: error,
    outcome,
    retryable,
    ...(help === undefined ? {} : { help }),
    ...(details === undefined ? {} : { details }),
  })
}

function failed(what: string, error: unknown): CheckpointError {
  return new CheckpointError('SYSTEM', `${what}: ${textOf(error)}`, { cause: error })
}

function codeOf(error: unknown): string | undefined {
  return (error as NodeJS.ErrnoException | undefined)?.code
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

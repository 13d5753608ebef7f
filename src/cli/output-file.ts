/**
 * Where `--output` writes. What is at the path decides how: a new or regular file appears whole or not at all, a pipe or
 * a device is written to directly, and anything else is refused before a byte is read from the unit.
 */
import { randomBytes } from 'node:crypto'
import { constants, type Stats } from 'node:fs'
import { type FileHandle, open, readlink, realpath, rename, stat, unlink } from 'node:fs/promises'
import path from 'node:path'
import { CheckpointError } from '../errors.js'
import { isReaderGone } from './standard-streams.js'

/** Mode bits that a replacing file keeps. */
const modeBits = 0o7777
const mostLinks = 40

/**
 * Writes the chunks to the path, or to stdout for `-`.
 * @param onProgress bytes written so far
 * @returns bytes written
 * @throws CheckpointError `SYSTEM` if the path cannot be written; errors of the source are passed on
 */
export async function writeOutput(
  output: string,
  chunks: AsyncIterable<Uint8Array>,
  onProgress: (done: number) => void,
): Promise<number> {
  if (output === '-') {
    return await writeToStdout(chunks).catch((error: unknown) => {
      throw isReaderGone(error) ? error : codedError(error, 'stdout')
    })
  }
  try {
    const target = await findTarget(output)
    return target.direct
      ? await writeInPlace(target.path, chunks, onProgress)
      : await replace(target.path, target.stats, chunks, onProgress)
  } catch (error) {
    throw codedError(error, output)
  }
}

interface Target {
  /** Symbolic links followed. */
  path: string
  stats: Stats | undefined
  /** Written to directly, since it cannot be replaced. */
  direct: boolean
}

async function findTarget(output: string): Promise<Target> {
  // /dev/stdout and the like name a descriptor of this process, which must not be replaced, whatever it is.
  if (/^\/(dev\/(stdout|stderr|fd\/)|proc\/)/.test(path.resolve(output))) {
    return { path: output, stats: undefined, direct: true }
  }
  const stats = await stat(output).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined
    throw error
  })
  if (stats === undefined) return { path: await followLinks(output), stats, direct: false }
  if (stats.isDirectory()) throw refused(output, 'is a directory', 'Name a file in it.')
  if (stats.isSocket()) throw refused(output, 'is a socket', 'Write to stdout with --output -, and pipe it there.')
  if (!stats.isFile()) return { path: output, stats, direct: true }
  if (stats.nlink > 1) {
    throw refused(
      output,
      `has ${stats.nlink} names (hard links), and replacing it would separate them`,
      'Write to another file, or to stdout with --output - and redirect it.',
    )
  }
  return { path: await realpath(output), stats, direct: false }
}

/** Where a link leads whose target does not exist yet. */
async function followLinks(output: string): Promise<string> {
  let at = path.resolve(output)
  for (let followed = 0; followed < mostLinks; followed++) {
    const next = await readlink(at).catch(() => undefined)
    if (next === undefined) return at
    at = path.resolve(path.dirname(at), next)
  }
  throw refused(output, 'is a symbolic link that leads back to itself', 'Name a file.')
}

async function writeToStdout(chunks: AsyncIterable<Uint8Array>): Promise<number> {
  let done = 0
  for await (const chunk of chunks) {
    await new Promise<void>((resolve, reject) => {
      process.stdout.write(chunk, (error) => (error ? reject(error) : resolve()))
    })
    done += chunk.byteLength
  }
  return done
}

async function writeInPlace(
  file: string,
  chunks: AsyncIterable<Uint8Array>,
  onProgress: (done: number) => void,
): Promise<number> {
  // Opening a pipe waits for its reader, as a shell's redirection does. What the file had before is kept.
  const handle = await open(file, constants.O_WRONLY | constants.O_APPEND)
  try {
    return await copy(handle, chunks, onProgress)
  } finally {
    await handle.close()
  }
}

async function replace(
  file: string,
  stats: Stats | undefined,
  chunks: AsyncIterable<Uint8Array>,
  onProgress: (done: number) => void,
): Promise<number> {
  const partial = `${file}.${randomBytes(4).toString('hex')}.partial`
  const handle = await open(partial, 'wx', stats === undefined ? 0o666 : 0o600)
  let done: number
  try {
    done = await copy(handle, chunks, onProgress)
    if (stats !== undefined) {
      // Only root may give a file away. For any other user the new file belongs to that user.
      if (stats.uid !== process.getuid?.()) await handle.chown(stats.uid, stats.gid).catch(() => undefined)
      await handle.chmod(stats.mode & modeBits)
    }
    await handle.sync()
    await handle.close()
    await rename(partial, file)
  } catch (error) {
    await handle.close().catch(() => undefined)
    await unlink(partial).catch(() => undefined)
    throw error
  }
  await syncFolder(path.dirname(file))
  return done
}

/** So that the new name survives a power cut. Some file systems do not support it; the data is synced in any case. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r').catch(() => undefined)
  await handle?.sync().catch(() => undefined)
  await handle?.close()
}

async function copy(
  handle: FileHandle,
  chunks: AsyncIterable<Uint8Array>,
  onProgress: (done: number) => void,
): Promise<number> {
  let done = 0
  for await (const chunk of chunks) {
    await handle.writeFile(chunk)
    done += chunk.byteLength
    onProgress(done)
  }
  return done
}

function refused(output: string, why: string, help: string): CheckpointError {
  return new CheckpointError('INVALID_ARGUMENT', `--output: ${output} ${why}.`, { help })
}

/** Gives the operating system's errors about the path a code; errors of the source have one already. */
function codedError(error: unknown, output: string): unknown {
  const { code, syscall } = error as NodeJS.ErrnoException
  if (error instanceof CheckpointError || typeof code !== 'string' || typeof syscall !== 'string') return error
  return new CheckpointError('SYSTEM', `--output: ${output} cannot be written: ${(error as Error).message}.`, {
    cause: error,
    details: { systemError: code },
  })
}

/** The peer link that `--import rdma-checkpoint/early` starts before the application, configured by the environment. */
import { readFileSync } from 'node:fs'
import { isMainThread } from 'node:worker_threads'
import { invalid } from '../call/check.js'
import { CheckpointError } from '../errors.js'
import type { PeerOptions } from './options.js'
import { Peer } from './peer.js'

const prefix = 'RDMA_CHECKPOINT_EARLY_'
const settings = ['LISTEN', 'PEER', 'NAME', 'SECRET_FILE', 'TRANSPORT'] as const
/** Set for child processes, which inherit both the environment and, from `fork()`, the `--import`. */
const owner = `${prefix}OWNER`

let early: Peer | undefined

/**
 * The link that `node --import rdma-checkpoint/early app.js` started before the application's first line; undefined in a process
 * that was started otherwise, in worker threads, and in child processes of one with such a link.
 *
 * The newest 64 events from before the first call are kept, and delivered right after the calling code has run: add your
 * listeners before you await anything.
 */
export function earlyPeer(): Peer | undefined {
  early?.releaseEvents()
  return early
}

/**
 * Starts the link, once in a process.
 * @throws CheckpointError what {@link Peer.start} throws, and `INVALID_ARGUMENT` for a setting that is missing or unknown;
 * the message names it
 */
export function startEarlyLink(environment: NodeJS.ProcessEnv = process.env): void {
  // Workers also run what --import names, but an address is for one link.
  if (!isMainThread || early !== undefined) return
  const of = environment[owner]
  if (of !== undefined && of !== String(process.pid)) return
  early = Peer.startEarly(readSettings(environment))
  environment[owner] = String(process.pid)
}

/** @throws CheckpointError `INVALID_ARGUMENT` */
export function readSettings(environment: NodeJS.ProcessEnv): PeerOptions {
  const known = new Set<string>([owner, ...settings.map((name) => prefix + name)])
  const unknown = Object.keys(environment).find((name) => name.startsWith(prefix) && !known.has(name))
  if (unknown !== undefined) throw invalid(`${unknown} is none of the settings ${list()}.`)
  const required = (name: 'LISTEN' | 'PEER', what: string): string => {
    const value = environment[prefix + name]
    if (value) return value
    throw invalid(
      `${prefix}${name} is not set: ${what}, as in 127.0.0.1:4795.`,
      'rdma-checkpoint/early is configured by the environment, since it runs before the application; see docs/early-link.md.',
    )
  }
  const listen = required('LISTEN', 'the address on which this process listens for its partner')
  const partner = required('PEER', 'the address on which the partner listens')
  const name = environment[`${prefix}NAME`]
  const secretFile = environment[`${prefix}SECRET_FILE`]
  const transport = environment[`${prefix}TRANSPORT`]
  return {
    listen,
    partner,
    ...(name ? { name } : {}),
    ...(secretFile ? { secret: readSecret(secretFile) } : {}),
    // Its value is checked with the other options.
    ...(transport ? { transport: transport as 'iwarp' | 'verbs' } : {}),
  }
}

function readSecret(file: string): Uint8Array {
  try {
    const bytes = readFileSync(file)
    // Editors and echo end a file with a line break, which is not part of the secret.
    let end = bytes.length
    while (end > 0 && (bytes[end - 1] === 0x0a || bytes[end - 1] === 0x0d)) end--
    return bytes.subarray(0, end)
  } catch (cause) {
    throw new CheckpointError('INVALID_ARGUMENT', `${prefix}SECRET_FILE: ${file} cannot be read.`, { cause })
  }
}

function list(): string {
  return settings.map((name) => prefix + name).join(', ')
}

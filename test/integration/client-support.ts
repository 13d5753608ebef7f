/** Units and children for the client's tests. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

export const MiB = 1024 * 1024
/** What children import: they run without a TypeScript loader. */
export const builtIndex = new URL('../../dist/index.js', import.meta.url).href

export async function withFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = await mkdtemp(path.join(tmpdir(), 'rdmacp-client-'))
  try {
    return await work(folder)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** A child that runs one of the scripts beside this file, and talks by messages. */
export function startChild(script: string, ...args: string[]): ChildProcess {
  const file = fileURLToPath(new URL(`client-children/${script}`, import.meta.url))
  return fork(file, args, {
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    execArgv: ['--expose-gc', '--max-semi-space-size=1'],
  })
}

/** Its exit code or signal, and what it printed. */
export async function ended(
  child: ChildProcess,
  timeoutMs = 30_000,
): Promise<{ code: number | string; output: string }> {
  let output = ''
  child.stdout?.on('data', (chunk) => (output += chunk))
  child.stderr?.on('data', (chunk) => (output += chunk))
  const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs)
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null]
  clearTimeout(timer)
  return { code: code ?? signal ?? 'unknown', output }
}

export async function nextMessage<T>(child: ChildProcess): Promise<T> {
  const abort = new AbortController()
  const exit = once(child, 'exit', { signal: abort.signal }).then(([code, signal]) => {
    throw new Error(`the child ended before its message: ${code ?? signal}`)
  })
  exit.catch(() => undefined)
  try {
    const [message] = await Promise.race([once(child, 'message', { signal: abort.signal }), exit])
    return message as T
  } finally {
    abort.abort()
  }
}

/** A generator that a seed repeats (xorshift32). */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0 || 1
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    state >>>= 0
    return state / 2 ** 32
  }
}

export function pickSeed(): number {
  return Number(process.env.RC_SEED ?? (Date.now() ^ process.pid) >>> 0)
}

// A unit in a process of its own, started as an operator would start it, that tests may kill.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../..', import.meta.url))
const command = path.join(root, 'dist', 'cli', 'main.js')

/** The addon build that keeps file writes in memory until fdatasync; a kill loses them. */
export const shadowAddon = path.join(root, 'build', 'Release', 'shadow', 'rdma_checkpoint_shadow.node')

export interface UnitProcessOptions {
  pool: { medium: 'memory'; bytes: number } | { medium: 'file'; path: string; bytes?: number }
  env?: Record<string, string>
  /** Milliseconds until it must be ready. Default 30,000. */
  startMs?: number
  /** Called with the process as soon as there is one, before it is ready. */
  onSpawn?: (child: ChildProcess) => void
  /** Address of the control service. Default: loopback, any port. */
  listen?: string
  /** Address of the data plane. Default: loopback, any port. */
  data?: string
  /** A command that it is run under, with its arguments. */
  under?: readonly string[]
  /** Further command line arguments. */
  flags?: readonly string[]
}

export class UnitProcess {
  readonly child: ChildProcess
  readonly address: string
  /** Of the data plane, "host:port". */
  readonly dataAddresses: readonly string[]

  private constructor(child: ChildProcess, ready: { address: string; dataAddresses: string[] }) {
    this.child = child
    this.address = ready.address
    this.dataAddresses = ready.dataAddresses
  }

  static async start(options: UnitProcessOptions): Promise<UnitProcess> {
    if (!existsSync(command)) throw new Error(`${command} is not there: run npm run compile`)
    const { pool } = options
    const { listen = '127.0.0.1:0', data = '127.0.0.1:0' } = options
    const flags = ['--listen', listen, '--data', data, '--log-level', 'error', '--json']
    flags.push('--medium', pool.medium)
    if (pool.medium === 'file') flags.push('--path', pool.path)
    if (pool.bytes !== undefined) flags.push('--bytes', String(pool.bytes))
    // A size is given where the pool may have to be made.
    if (pool.medium === 'file' && pool.bytes !== undefined) flags.push('--create')
    const line = [...(options.under ?? []), process.execPath, command, 'serve', ...flags, ...(options.flags ?? [])]
    const child = spawn(line[0] as string, line.slice(1), {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...options.env },
    })
    options.onSpawn?.(child)
    let complaints = ''
    child.stderr.on('data', (text: Buffer) => {
      complaints = (complaints + text.toString()).slice(-4000)
    })
    const deadline = new AbortController()
    const timer = setTimeout(() => deadline.abort(), options.startMs ?? 30_000)
    try {
      const lines = createInterface({ input: child.stdout })
      const ended = once(child, 'exit', { signal: deadline.signal }).then(([code, signal]) => {
        throw new Error(`the unit ended before it was ready (${signal ?? `exit code ${code}`})\n${complaints}`)
      })
      const [ready] = (await Promise.race([once(lines, 'line', { signal: deadline.signal }), ended])) as [string]
      ended.catch(() => {})
      return new UnitProcess(child, JSON.parse(ready))
    } catch (error) {
      child.kill('SIGKILL')
      if (deadline.signal.aborted) throw new Error(`the unit was not ready in time\n${complaints}`)
      throw error
    } finally {
      clearTimeout(timer)
      deadline.abort()
    }
  }

  get pid(): number {
    return this.child.pid ?? 0
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return
    const exit = once(this.child, 'exit')
    this.child.kill(signal)
    await exit
  }

  /** SIGTERM, and the exit code. */
  async stop(): Promise<number | null> {
    await this.kill('SIGTERM')
    return this.child.exitCode
  }

  get descriptors(): number {
    return readdirSync(`/proc/${this.pid}/fd`).length
  }

  get threads(): number {
    return readdirSync(`/proc/${this.pid}/task`).length
  }

  /** Resident memory that is no file's or memfd's, in KiB. */
  get anonymousKiB(): number {
    return Number(/RssAnon:\s+(\d+)/.exec(readFileSync(`/proc/${this.pid}/status`, 'utf8'))?.[1] ?? 0)
  }
}

/** An empty folder; whoever asks for it removes it. */
export function temporaryFolder(): string {
  return mkdtempSync(path.join(os.tmpdir(), 'rdma-checkpoint-fault-'))
}

export function within<T>(promise: Promise<T>, ms: number, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} took longer than ${ms} ms`)), ms)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

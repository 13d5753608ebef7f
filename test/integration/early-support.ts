/** Processes with early links, and what one asks of them. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, writeFileSync } from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** Links go over the RDMA device that the machine was named, if it was. */
const device = process.env.RDMA_CHECKPOINT_TEST_ADDRESS
export const onDevice = device !== undefined
const host = device ?? '127.0.0.1'
/** What a link needs there: no address of a device is loopback. */
export const deviceOptions = onDevice ? ({ transport: 'verbs', secret: 'of tests on a device' } as const) : {}

function deviceSettings(): Settings {
  if (!onDevice) return {}
  const file = path.join(mkdtempSync(path.join(os.tmpdir(), 'rdma-checkpoint-early-')), 'secret')
  writeFileSync(file, deviceOptions.secret ?? '')
  return { RDMA_CHECKPOINT_EARLY_TRANSPORT: 'verbs', RDMA_CHECKPOINT_EARLY_SECRET_FILE: file }
}

const started: ChildProcess[] = []

/** For afterEach: nothing of a test outlives it. */
export async function endProcesses(): Promise<void> {
  for (const process of started.splice(0)) {
    if (process.exitCode !== null || process.signalCode !== null) continue
    const exit = once(process, 'exit')
    process.kill('SIGKILL')
    await exit
  }
}

/** An address that was free a moment ago. */
export async function freeAddress(): Promise<string> {
  const server = net.createServer().listen(0, host)
  await once(server, 'listening')
  const { port } = server.address() as net.AddressInfo
  server.close()
  await once(server, 'close')
  return `${host}:${port}`
}

export type Settings = Record<string, string | undefined>

/** What both ends of a pair are given, with the addresses the right way round. */
export async function pairSettings(more: Settings = {}): Promise<[Settings, Settings]> {
  const [a, b] = [await freeAddress(), await freeAddress()]
  const common = deviceSettings()
  const settings = (listen: string, peer: string) => ({
    RDMA_CHECKPOINT_EARLY_LISTEN: listen,
    RDMA_CHECKPOINT_EARLY_PEER: peer,
    ...common,
    ...more,
  })
  return [settings(a, b), settings(b, a)]
}

export interface Message {
  id?: number
  result?: unknown
  failed?: { code: string; message: string; cause?: string }
  event?: 'linked' | 'lost' | 'error'
  partner?: string
  code?: string
  [field: string]: unknown
}

export class EarlyProcess {
  readonly child: ChildProcess
  readonly heard: Message[] = []
  readonly spawnedAt = Date.now()
  output = ''
  #id = 0

  constructor(settings: Settings, script = 'app.js', args: string[] = []) {
    this.child = fork(fileURLToPath(new URL(`early-children/${script}`, import.meta.url)), args, {
      cwd: root,
      env: { ...process.env, ...settings },
      execArgv: ['--import', 'rdma-checkpoint/early'],
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    })
    started.push(this.child)
    for (const stream of [this.child.stdout, this.child.stderr]) stream?.on('data', (chunk) => (this.output += chunk))
    this.child.on('message', (message: Message) => this.heard.push(message))
  }

  async wait(wanted: (message: Message) => boolean, from = 0): Promise<Message> {
    const end = Date.now() + 60_000
    for (;;) {
      const found = this.heard.slice(from).find(wanted)
      if (found !== undefined) return found
      if (this.child.exitCode !== null || this.child.signalCode !== null) throw new Error(`it ended: ${this.output}`)
      if (Date.now() > end) throw new Error(`it did not say so; it said ${JSON.stringify(this.heard)}`)
      await sleep(2)
    }
  }
  ready(): Promise<Message> {
    return this.wait(({ ready }) => ready === true)
  }
  /** What it answers, or how it failed. */
  async ask<T>(call: string, request: object = {}): Promise<T> {
    const id = ++this.#id
    this.child.send({ ...request, id, call })
    const answer = await this.wait((message) => message.id === id)
    if (answer.failed !== undefined) throw Object.assign(new Error(answer.failed.message), answer.failed)
    return answer.result as T
  }
  /** Its exit code or signal. */
  async end(): Promise<number | string> {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      const late = setTimeout(() => this.child.kill('SIGKILL'), 30_000)
      await once(this.child, 'close')
      clearTimeout(late)
    }
    return this.child.exitCode ?? this.child.signalCode ?? 'unknown'
  }
}

export const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

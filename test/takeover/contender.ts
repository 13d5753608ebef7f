/** The processes of a storm, as the one that starts them sees them. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { RegionOptions } from '../../src/index.js'

export interface Assignment {
  unit: string
  region: string
  id: string
  /** File that its part of the history goes to. */
  history: string
  /** How it contends: by opening the region itself, or as one of a ProcessPair. */
  style: 'open' | 'pair'
  seed: number
  create: RegionOptions
  maxBytes: number
  /** Appends that it has under way at most. */
  lanes: number
  /** About every other append is followed by a pause of up to twice that. */
  pauseMs: number
  /** Share of the appends that ask for no more than visible. */
  visibleShare: number
  /** It saves what has changed of a state, and not fresh bytes each time. */
  delta?: { fullEvery: number }
}

interface Message {
  standby?: true
  owner?: number
  appended?: number
  following?: true
}

/** Runs a script of support/, and keeps what it says. */
export class Helper {
  readonly process: ChildProcess
  complaints = ''
  readonly #listeners = new Set<(message: Message) => void>()

  constructor(script: string, assignment: object, under: readonly string[] = []) {
    const program = fileURLToPath(new URL(`support/${script}`, import.meta.url))
    const line = [...under, process.execPath, program, JSON.stringify(assignment)]
    this.process = spawn(line[0] as string, line.slice(1), { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] })
    this.process.stderr?.on('data', (text: Buffer) => {
      this.complaints = (this.complaints + text.toString()).slice(-4000)
    })
    this.process.on('message', (message: Message) => {
      for (const listener of this.#listeners) listener(message)
    })
  }

  onMessage(listener: (message: Message) => void): void {
    this.#listeners.add(listener)
  }

  get alive(): boolean {
    return this.process.exitCode === null && this.process.signalCode === null
  }

  /** To one that has just died it goes nowhere. */
  tell(message: object): void {
    if (this.alive) this.process.send(message, () => {})
  }

  async kill(): Promise<void> {
    if (!this.alive) return
    const exit = once(this.process, 'exit')
    this.process.kill('SIGKILL')
    await exit
  }
}

export class Contender extends Helper {
  readonly id: string
  readonly style: Assignment['style']
  role: 'joining' | 'standby' | 'owner' = 'joining'
  /** The last that it owned under, and how many appends had been acknowledged to it in all. */
  epoch = 0
  appended = 0
  stopped = false

  constructor(assignment: Assignment, under: readonly string[] = []) {
    super('contender.mjs', assignment, under)
    this.id = assignment.id
    this.style = assignment.style
    this.onMessage(({ standby, owner, appended }) => {
      if (standby) this.role = 'standby'
      if (owner !== undefined) {
        this.role = 'owner'
        this.epoch = owner
      }
      if (appended !== undefined) this.appended++
    })
  }

  go(epoch: number): void {
    this.tell({ go: epoch })
  }

  takeOver(): void {
    this.tell({ takeOver: true })
  }

  handOver(): void {
    this.tell({ handOver: true })
  }

  stop(): void {
    this.stopped = true
    this.process.kill('SIGSTOP')
  }

  goOn(): void {
    this.stopped = false
    this.process.kill('SIGCONT')
  }
}

/** Waits for what must come; says what did not. */
export async function until<T>(what: () => string, found: () => T | undefined | false, timeoutMs: number): Promise<T> {
  for (const end = performance.now() + timeoutMs; ; await sleep(2)) {
    const value = found()
    if (value !== undefined && value !== false) return value
    if (performance.now() > end) throw new Error(`${what()} did not come within ${timeoutMs} ms`)
  }
}

// The processes of the demo: starts them, listens to them, kills them, and leaves nothing behind however the demo ends.
import { fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import os from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

/**
 * @typedef {import('node:child_process').ChildProcess} ChildProcess
 * @typedef {import('./messages.js').Assignment} Assignment
 * @typedef {import('./messages.js').Report} Report
 */

export class Stage {
  /** @type {Set<ChildProcess>} */
  #processes = new Set()
  #folder = mkdtempSync(path.join(os.tmpdir(), 'rdma-checkpoint-demo-'))

  constructor() {
    // 'exit' comes at every end but SIGKILL: the end of the program, an uncaught error, process.exit.
    process.once('exit', () => this.clear())
    for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) {
      process.once(signal, () => process.exit(128 + os.constants.signals[signal]))
    }
  }

  /**
   * Starts a persistent memory unit, as an operator would from the command line, on a pool file of its own.
   * @param {number} poolBytes
   * @returns {Promise<{ address: string, process: ChildProcess, poolFile: string }>}
   */
  async startUnit(poolBytes) {
    const packageFile = createRequire(import.meta.url).resolve('rdma-checkpoint/package.json')
    const command = path.join(path.dirname(packageFile), 'dist', 'cli', 'main.js')
    const poolFile = path.join(this.#folder, 'pool')
    const flags = ['serve', '--medium', 'file', '--path', poolFile, '--bytes', String(poolBytes), '--create']
    const anyPort = ['--listen', '127.0.0.1:0', '--data', '127.0.0.1:0', '--json', '--log-level', 'error']
    const unit = this.#keep(
      spawn(process.execPath, [command, ...flags, ...anyPort], { stdio: ['ignore', 'pipe', 'inherit'] }),
    )
    if (!unit.stdout) throw new Error('the unit has no standard output')
    const lines = createInterface({ input: unit.stdout })
    const [line] = await Promise.race([once(lines, 'line'), failWhenItEnds(unit, 'the unit')])
    return { address: JSON.parse(line).address, process: unit, poolFile }
  }

  /**
   * Starts a process that counts.
   * @param {string} name what it is called here @param {Assignment} assignment
   */
  start(name, assignment) {
    const child = this.#keep(fork(fileURLToPath(new URL('counter.js', import.meta.url)), { execArgv: [] }))
    child.send(assignment)
    return new Actor(name, child)
  }

  /** Kills the remaining processes and removes the pool. Calling it again is harmless. */
  clear() {
    for (const child of this.#processes) child.kill('SIGKILL')
    rmSync(this.#folder, { recursive: true, force: true })
  }

  /** @param {ChildProcess} child */
  #keep(child) {
    this.#processes.add(child)
    child.once('exit', () => this.#processes.delete(child))
    return child
  }
}

/** A process of the demo, and what it reports. */
export class Actor {
  /** @type {Report[]} */
  #reports = []
  #ended = false
  #wake = () => {}

  /** @param {string} name @param {ChildProcess} child */
  constructor(name, child) {
    this.name = name
    this.process = child
    child.on('message', (/** @type {Report} */ report) => {
      this.#reports.push(report)
      this.#wake()
    })
    // Comes after the last report, even if the process was killed.
    child.once('disconnect', () => {
      this.#ended = true
      this.#wake()
    })
  }

  /** Starts the work of a process that waits for this message. */
  tellToStart() {
    this.process.send({ type: 'start' })
  }

  /** The next report, or undefined when the process has ended. @returns {Promise<Report | undefined>} */
  async next() {
    while (this.#reports.length === 0 && !this.#ended) {
      await new Promise((resolve) => {
        this.#wake = () => resolve(undefined)
      })
    }
    return this.#reports.shift()
  }

  /**
   * The next report of a type; other reports before it are skipped.
   * @template {Report['type']} T
   * @param {T} type
   * @returns {Promise<Extract<Report, { type: T }>>}
   */
  async until(type) {
    for (;;) {
      const report = await this.next()
      if (!report) throw new Error(`the ${this.name} ended before it reported "${type}"`)
      if (isOfType(report, type)) return report
    }
  }
}

/**
 * @template {Report['type']} T
 * @param {Report} report @param {T} type
 * @returns {report is Extract<Report, { type: T }>}
 */
function isOfType(report, type) {
  return report.type === type
}

/** @param {ChildProcess} child @param {string} name @returns {Promise<never>} */
async function failWhenItEnds(child, name) {
  const [code, signal] = await once(child, 'exit')
  throw new Error(`${name} ended early (${signal ?? `exit code ${code}`})`)
}

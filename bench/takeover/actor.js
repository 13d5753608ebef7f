// A process of the pair as the benchmark sees it: starts it, tells it what to do, and hears what it reports.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { adopt } from '../scratch.js'

/** @typedef {import('./pair.js').Report} Report */

const program = fileURLToPath(new URL('pair.js', import.meta.url))

export class Actor {
  /** @type {Report[]} */
  #reports = []
  #wake = () => {}
  #ended = false

  /** @param {import('./pair.js').Assignment} assignment */
  constructor(assignment) {
    this.process = adopt(fork(program, { execArgv: [] }))
    this.process.on('message', (/** @type {Report} */ report) => {
      this.#reports.push(report)
      this.#wake()
    })
    this.process.once('exit', () => {
      this.#ended = true
      this.#wake()
    })
    this.process.send(assignment)
  }

  /** @param {import('./pair.js').Command} command */
  tell(command) {
    this.process.send(command)
  }

  /**
   * The next report of a type; others before it are passed over.
   * @template {Report['type']} T
   * @param {T} type
   * @returns {Promise<Extract<Report, { type: T }>>}
   */
  async until(type) {
    for (;;) {
      for (let report = this.#reports.shift(); report !== undefined; report = this.#reports.shift()) {
        if (report.type === type) return /** @type {Extract<Report, { type: T }>} */ (report)
      }
      if (this.#ended) throw new Error(`a process of the pair ended before it reported "${type}"`)
      await new Promise((resolve) => {
        this.#wake = () => resolve(undefined)
      })
    }
  }

  /** Resident memory, in MiB. */
  residentMiB() {
    const status = readFileSync(`/proc/${this.process.pid}/status`, 'utf8')
    return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024
  }

  /** Kills it, also where it was stopped. @returns when its end was told, in milliseconds of the monotonic clock */
  async end() {
    const exit = once(this.process, 'exit')
    this.process.kill('SIGKILL')
    await exit
    return Number(process.hrtime.bigint()) / 1e6
  }
}

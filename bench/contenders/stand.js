// One contender while it is compared: its servers, and the process of its client. What it does wrong ends it, not the run.
import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { adopt, end } from '../scratch.js'

const program = fileURLToPath(new URL('client.js', import.meta.url))

export class Stand {
  /** @type {import('./index.js').Started} */
  started
  /** @type {import('node:child_process').ChildProcess | undefined} */
  #child

  /** @param {import('./index.js').Contender} contender @param {import('./index.js').Started} started */
  constructor(contender, started) {
    this.contender = contender
    this.started = started
  }

  /**
   * @param {import('./index.js').Contender} contender
   * @param {import('./index.js').Context} context
   * @throws Absent when it is not installed
   */
  static async open(contender, context) {
    const stand = new Stand(contender, await contender.start(context))
    if (contender.client !== undefined) {
      stand.#child = adopt(fork(program, { execArgv: [], stdio: ['ignore', 'ignore', 'inherit', 'ipc'] }))
      try {
        const { setUp } = stand.started
        await stand.#ask('open', { module: contender.client.href, setUp, span: context.span }, 60_000)
      } catch (error) {
        await stand.close()
        throw error
      }
    }
    return stand
  }

  /** @param {import('./index.js').Cell} cell @param {number} seconds @returns {Promise<import('./index.js').Measurement>} */
  async measure(cell, seconds) {
    const measured = this.started.measure
      ? await this.started.measure(cell, seconds)
      : await this.#ask('measure', { cell, seconds }, 60_000 + 20_000 * seconds)
    if (!(measured.operations > 0)) throw new Error('nothing was answered in the time of a cell')
    return measured
  }

  async close() {
    const child = this.#child
    if (child?.connected) await this.#ask('close', {}, 10_000).catch(() => undefined)
    if (child !== undefined) await end(child, 'SIGKILL')
    await this.started.stop()
  }

  /** @param {string} verb @param {unknown} told @param {number} timeoutMs @returns {Promise<any>} */
  #ask(verb, told, timeoutMs) {
    const child = this.#child
    if (!child?.connected) return Promise.reject(new Error('its client has ended'))
    return new Promise((resolve, reject) => {
      const done = () => {
        clearTimeout(timer)
        child.off('message', onMessage).off('exit', onExit)
      }
      const onMessage = (/** @type {any} */ { result, failure }) => {
        done()
        if (failure === undefined) resolve(result)
        else reject(new Error(failure))
      }
      const onExit = (/** @type {number | null} */ code, /** @type {string | null} */ signal) => {
        done()
        reject(new Error(`its client ended (${signal ?? `exit code ${code}`})`))
      }
      const timer = setTimeout(() => {
        done()
        child.kill('SIGKILL')
        reject(new Error(`no answer after ${timeoutMs / 1000} seconds`))
      }, timeoutMs)
      child.on('message', onMessage).on('exit', onExit)
      child.send({ verb, told })
    })
  }
}

// The process that a contender's client runs in. Told by the benchmark over IPC: first which module drives it, then cells.
import { measure } from '../measure.js'

/** @type {import('./index.js').Driver | undefined} */
let driver

const verbs = {
  /** @param {{ module: string, setUp: unknown, span: number }} told */
  async open({ module, setUp, span }) {
    driver = await (await import(module)).open(setUp, span)
  },
  /** @param {{ cell: import('./index.js').Cell, seconds: number }} told */
  async measure({ cell, seconds }) {
    if (driver === undefined) throw new Error('not open')
    const measured = await measure(await driver.operation(cell), { depth: cell.depth, seconds })
    await driver.tidy?.(cell)
    return measured
  },
  async close() {
    await driver?.close()
  },
}

process.on('message', (/** @type {{ verb: keyof typeof verbs, told: any }} */ { verb, told }) => {
  verbs[verb](told).then(
    (result) => process.send?.({ result }),
    (error) => process.send?.({ failure: error?.message ?? String(error) }),
  )
})
// Nobody stays behind when the benchmark goes; Ctrl-C in a terminal is for the benchmark to act on.
process.once('disconnect', () => process.exit())
process.on('SIGINT', () => undefined)

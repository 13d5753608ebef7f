// A unit in a process of its own, for the benchmarks.
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { end, start } from './scratch.js'

export const command = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))

/** @param {readonly string[]} flags of `rdma-checkpoint serve`: where the pool is, and where the data plane if not on loopback */
export async function startUnit(flags) {
  const data = flags.includes('--data') ? [] : ['--data', '127.0.0.1:0']
  const more = ['--listen', '127.0.0.1:0', ...data, '--log-level', 'error', '--json']
  const child = start(process.execPath, [command, 'serve', ...flags, ...more])
  const lines = createInterface({ input: /** @type {import('node:stream').Readable} */ (child.stdout) })
  const ended = once(child, 'exit').then(([code]) => {
    throw new Error(`the unit ended early with exit code ${code}`)
  })
  const [line] = await Promise.race([once(lines, 'line'), ended])
  ended.catch(() => {})
  return {
    /** @type {string} */
    address: JSON.parse(line).address,
    stop: () => end(child),
  }
}

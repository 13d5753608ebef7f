// A unit in a process of its own, for the benchmark.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const command = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))

/** @param {readonly string[]} pool flags of `rdma-checkpoint serve` that say where the pool is */
export async function startUnit(pool) {
  const flags = ['serve', ...pool, '--listen', '127.0.0.1:0', '--data', '127.0.0.1:0', '--log-level', 'error', '--json']
  const child = spawn(process.execPath, [command, ...flags], { stdio: ['ignore', 'pipe', 'inherit'] })
  process.once('exit', () => child.kill('SIGKILL'))
  const lines = createInterface({ input: child.stdout })
  const ended = once(child, 'exit').then(([code]) => {
    throw new Error(`the unit ended early with exit code ${code}`)
  })
  const [line] = await Promise.race([once(lines, 'line'), ended])
  ended.catch(() => {})
  return {
    /** @type {string} */
    address: JSON.parse(line).address,
    async stop() {
      const exit = once(child, 'exit')
      child.kill('SIGTERM')
      await exit
    },
  }
}

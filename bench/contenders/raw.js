// The raw limits: C programs that are compiled with the machine's compiler when the benchmark begins.
import { execFile } from 'node:child_process'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { adopt } from '../scratch.js'
import { findProgram } from './find.js'

const run = promisify(execFile)
const KiB = 1024

/** @type {import('./index.js').Contender} */
export const raw = {
  name: 'raw limits',
  kind: 'raw',
  series: [
    { name: 'raw TCP', works: ['visible', 'read'] },
    { name: 'raw TCP, spinning', works: ['visible', 'read'] },
    { name: 'raw TCP stream', works: ['visible'] },
    { name: 'memcpy', works: ['visible'] },
    { name: 'raw disk', works: ['durable'] },
  ],
  takes({ series, bytes, depth }) {
    if (series === 'raw TCP, spinning') return depth === 1 && bytes <= 4 * KiB
    if (series === 'raw TCP stream' || series === 'memcpy') return depth > 1 && bytes >= 64 * KiB
    return true
  },
  async start({ folder, span }) {
    const [compiler = 'cc', ...flags] = (process.env.CC ?? 'cc').split(' ')
    const cc = findProgram(compiler, 'a C compiler: apt-get install gcc')
    const program = (/** @type {string} */ name) => path.join(folder, `raw-${name}`)
    for (const name of ['tcp', 'memory', 'disk']) {
      const source = fileURLToPath(new URL(`../raw/${name}.c`, import.meta.url))
      await run(cc, [...flags, '-O2', `-DSPAN=${span}`, '-o', program(name), source])
    }
    const { stdout } = await run(cc, [...flags, '-dumpfullversion'])
    return {
      version: stdout.trim(),
      how: 'C programs, version of the compiler',
      setUp: undefined,
      stop: async () => undefined,
      async measure({ work, series, bytes, depth }, seconds) {
        const [ask, answer] = work === 'read' ? [1, bytes] : [bytes, 1]
        const exchange = [program('tcp'), 'exchange', ask, answer, depth, seconds]
        /** @type {Record<string, (string | number)[]>} */
        const commands = {
          'raw TCP': [...exchange, 'block'],
          'raw TCP, spinning': [...exchange, 'spin'],
          'raw TCP stream': [program('tcp'), 'stream', bytes, seconds],
          memcpy: [program('memory'), bytes, seconds],
          'raw disk': [program('disk'), path.join(folder, 'raw-file'), bytes, depth, seconds],
        }
        const [file, ...args] = (commands[series] ?? []).map(String)
        const running = run(String(file), args, { timeout: 60_000, killSignal: 'SIGKILL' })
        adopt(running.child)
        return JSON.parse((await running).stdout)
      },
    }
  },
}

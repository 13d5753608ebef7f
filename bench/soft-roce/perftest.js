// perftest's ib_write_bw and ib_read_bw, both ends on this machine.
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'

const run = promisify(execFile)
let port = 18_600

/**
 * @param {'write' | 'read'} what
 * @param {{ device: string, address: string, bytes: number, depth: number, operations: number }} how
 * @returns {Promise<number>} bytes a second, the average
 */
export async function perftest(what, { device, address, bytes, depth, operations }) {
  const flags = ['-R', '-F', '-d', device, '-s', String(bytes), '-n', String(operations), '-p', String(++port)]
  flags.push('-t', String(depth))
  if (what === 'read') flags.push('-o', String(Math.min(depth, 16)))
  const server = spawn(`ib_${what}_bw`, flags, { stdio: ['ignore', 'ignore', 'pipe'] })
  const ended = once(server, 'exit')
  try {
    for (let tries = 0; ; tries++) {
      await sleep(500)
      try {
        const { stdout } = await run(`ib_${what}_bw`, [...flags, address])
        // bytes, iterations, peak, average (MiB/s), messages
        const line = stdout.split('\n').find((text) => new RegExp(`^\\s*${bytes}\\s+\\d+\\s`).test(text))
        const average = Number(line?.trim().split(/\s+/)[3])
        if (!(average > 0)) throw new Error(`ib_${what}_bw printed no average:\n${stdout}`)
        return average * 1024 * 1024
      } catch (error) {
        if (tries === 3) throw error
      }
    }
  } finally {
    server.kill('SIGKILL')
    await ended
  }
}

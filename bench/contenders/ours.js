// This package: a unit on a memory pool for what is visible and one on a file pool for what is durable, each a process.
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { command, startUnit } from '../unit.js'
import { Absent } from './find.js'

const MiB = 1024 * 1024
const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))

/** @param {'iwarp' | 'verbs'} transport @param {string} suffix @returns {import('./index.js').Contender} */
function onFabric(transport, suffix) {
  return {
    name: `rdma-checkpoint, ${transport}`,
    kind: 'ours',
    client: new URL('ours-client.js', import.meta.url),
    series: [
      { name: `write${suffix}`, works: ['visible', 'durable'] },
      { name: `append${suffix}`, works: ['visible', 'durable'] },
      { name: `overwrite${suffix}`, works: ['visible', 'durable'] },
      { name: `read${suffix}`, works: ['read'] },
      { name: `latest${suffix}`, works: ['read'] },
    ],
    async start({ folder, span }) {
      const data = transport === 'verbs' ? await verbsFlags() : ['--transport', 'iwarp']
      // A raw region, a log and two overwrite regions, and what the pool itself takes.
      const bytes = ['--bytes', String(4 * span + 16 * MiB)]
      const memory = await startUnit(['--medium', 'memory', ...bytes, ...data])
      const pool = path.join(folder, `pool-${transport}`)
      const file = await startUnit(['--medium', 'file', '--path', pool, '--create', ...bytes, ...data])
      return {
        version,
        how: transport === 'iwarp' ? 'user-space iWARP over loopback TCP, with CRC32C' : 'an RDMA device',
        setUp: { transport, visible: memory.address, durable: file.address },
        stop: async () => void (await Promise.all([memory.stop(), file.stop()])),
      }
    },
  }
}

export const iwarp = onFabric('iwarp', '')
export const verbs = onFabric('verbs', ', verbs')

/** Where a unit is reached by an RDMA device of this machine. */
async function verbsFlags() {
  /** @type {string} */
  const text = await new Promise((resolve) => {
    execFile(process.execPath, [command, 'devices', '--json'], (_error, stdout) => resolve(stdout))
  })
  const found = JSON.parse(text)
  const addresses = found.devices.flatMap(
    (/** @type {{ ports: { state: string, addresses: string[] }[] }} */ { ports }) =>
      ports.filter(({ state }) => state === 'ACTIVE').flatMap((port) => port.addresses),
  )
  const address = addresses.find((/** @type {string} */ one) => !one.includes(':'))
  if (!found.usable || address === undefined) {
    throw new Absent('no RDMA device that can be used', 'npx rdma-checkpoint devices says what is missing')
  }
  return ['--transport', 'verbs', '--data', `${address}:0`, '--dangerously-allow-unauthenticated']
}

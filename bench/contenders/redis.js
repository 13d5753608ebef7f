// Redis: one server without persistence, one with appendfsync always. Clients are ioredis with automatic pipelining.
import { mkdirSync } from 'node:fs'
import path from 'node:path'
import { end, start } from '../scratch.js'
import { findPackage, findProgram, programVersion } from './find.js'
import { freePort, untilAccepts } from './port.js'

/** @type {import('./index.js').Contender} */
export const redis = {
  name: 'Redis',
  kind: 'peer',
  client: new URL('redis-client.js', import.meta.url),
  series: [{ name: 'Redis', works: ['visible', 'durable', 'read'] }],
  async start({ folder, packages }) {
    const program = findProgram('redis-server', 'apt-get install redis-server')
    const { file, version } = findPackage('ioredis', packages)
    const server = async (/** @type {string} */ name, /** @type {string[]} */ flags) => {
      const port = await freePort()
      const where = path.join(folder, name)
      mkdirSync(where)
      const own = ['--port', String(port), '--bind', '127.0.0.1', '--dir', where, '--save', '', '--loglevel', 'warning']
      const child = start(program, [...own, ...flags], { stdio: 'ignore' })
      await untilAccepts(port, child)
      return { port, child }
    }
    const memory = await server('redis-memory', ['--appendonly', 'no'])
    const always = await server('redis-always', ['--appendonly', 'yes', '--appendfsync', 'always'])
    return {
      version: `${await programVersion(program, /v=(\S+)/)}, ioredis ${version}`,
      how: 'SET and GET over loopback TCP; visible without persistence, durable with appendfsync always',
      setUp: { module: file, visible: memory.port, durable: always.port },
      stop: async () => void (await Promise.all([end(memory.child), end(always.child)])),
    }
  },
}

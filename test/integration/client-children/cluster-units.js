// Two workers of node:cluster, each with a unit: first on any port, then both on one port.
import cluster from 'node:cluster'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { PersistentMemoryUnit } from '../../../dist/index.js'

/** @param {string} listen @returns {Promise<string>} */
async function addressOf(listen) {
  try {
    const unit = await PersistentMemoryUnit.start({ pool: { medium: 'memory', bytes: 4 << 20 }, listen })
    return unit.address
  } catch (error) {
    return /** @type {{ code: string }} */ (error).code
  }
}

if (cluster.isPrimary) {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = /** @type {import('node:net').AddressInfo} */ (probe.address())
  await new Promise((resolve) => probe.close(resolve))
  const workers = [cluster.fork(), cluster.fork()]
  /** @param {string} listen */
  const ask = (listen) =>
    Promise.all(
      workers.map(async (worker) => {
        const answer = once(worker, 'message')
        worker.send(listen)
        return (await answer)[0]
      }),
    )
  await Promise.all(workers.map((worker) => once(worker, 'message')))
  const free = await ask('127.0.0.1:0')
  const fixed = await ask(`127.0.0.1:${port}`)
  process.send?.({ free, fixed })
  process.once('SIGTERM', () => {
    for (const worker of workers) worker.process.kill('SIGKILL')
    process.exit(0)
  })
} else {
  process.on('message', async (listen) => process.send?.(await addressOf(String(listen))))
  process.send?.('ready')
}

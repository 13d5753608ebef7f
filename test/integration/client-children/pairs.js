// A process with so many pairs, one a region: node pairs.js INDEX ADDRESS COUNT. Tells each role of each of them; a primary appends all along.
import { setTimeout as sleep } from 'node:timers/promises'

const [index, address, count] = process.argv.slice(2)
const { json, ProcessPair } = await import(index)
for (let number = 0; number < Number(count); number++) {
  const pair = new ProcessPair(address, {
    region: `region-${number}`,
    create: { bytes: 256 * 1024 },
    codec: json,
    standby: 'hot',
    // However long a busy machine takes to start the unit: what is tried is who owns the region then.
    retryMs: 300_000,
    timeoutMs: 300_000,
    async onPrimary({ state = { n: 0 }, log, signal }) {
      for (; !signal.aborted; await sleep(20)) {
        await log.append({ n: ++state.n }, { timeoutMs: 300_000 })
        if (state.n % 10 === 0) process.send({ number, alive: true })
      }
    },
  })
  pair.addEventListener('role', ({ role, epoch }) => process.send({ number, role, epoch: String(epoch) }))
  pair.run().catch((error) => process.send({ number, role: `ended: ${error.code ?? error}`, epoch: '' }))
}
process.on('disconnect', () => process.exit(0))

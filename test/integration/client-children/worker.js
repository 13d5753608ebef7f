// A worker thread with a client that never stops writing and reading.
import { parentPort, workerData } from 'node:worker_threads'

const { connect } = await import(workerData.index)
const client = await connect(workerData.address)
const region = await client.openRegion(workerData.name, {
  mode: 'write',
  create: { bytes: 1024 * 1024, mode: 'raw' },
})
parentPort.postMessage('writing')
// A device sends from the one in place.
const sources = [client.allocate(64 * 1024).bytes, new Uint8Array(64 * 1024)]
for (;;) {
  const calls = []
  for (let i = 0; i < 8; i++) calls.push(region.write(i * 64 * 1024, sources[i % 2]))
  calls.push(region.read(0, 1024))
  await Promise.all(calls)
}

// A Worker that works with a unit whose JavaScript thread waits for it: workerData.shared holds `begin` and `done`.
import { parentPort, workerData } from 'node:worker_threads'
import { loadAddon, openData } from './native-peer.mjs'

const signal = new Int32Array(workerData.shared)
const [begin, done] = [0, 1]
const engine = new (loadAddon().Engine)({})
const ticket = ({ port, token }) => ({ port, token: Uint8Array.from(token) })

function finish(result) {
  Atomics.store(signal, done, result)
  Atomics.notify(signal, done)
}

try {
  const peer = await openData(engine, ticket(workerData.tickets[0]))
  parentPort.postMessage('open')
  Atomics.wait(signal, begin, 0)
  const bytes = new Uint8Array(64)
  for (let i = 0; i < 500; i++) {
    const outcomes = [
      await peer.write(i * 64, bytes.fill(i)),
      await peer.read(i * 64, bytes),
      await peer.flush([i * 64, 64]),
    ]
    if (outcomes.some((outcome) => outcome[0] !== 0)) throw new Error(`outcomes ${outcomes.join(' / ')}`)
  }
  const second = await openData(engine, ticket(workerData.tickets[1]))
  await second.read(0, bytes)
  finish(1)
} catch (error) {
  finish(2)
  throw error
}

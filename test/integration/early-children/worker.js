// A Worker that uses a link of its own without end.
import { parentPort, workerData } from 'node:worker_threads'
import { Peer } from 'rdma-checkpoint'

const peer = Peer.start(workerData)
parentPort.postMessage('started')
for (let i = 0n; ; i++) {
  peer.publish({ state: 'busy', progress: i })
  await Promise.race([peer.status(), new Promise(setImmediate)]).catch(() => undefined)
}

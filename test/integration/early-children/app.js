// An application with an early link that does what it is told by messages.
import { setTimeout } from 'node:timers/promises'
import { earlyPeer } from 'rdma-checkpoint'

// An application whose event loop turns for long before it asks for the link.
if (process.argv[2] === 'late') await setTimeout(1000)
const peer = earlyPeer()
for (const type of ['linked', 'lost', 'error']) {
  peer?.addEventListener(type, ({ partner, error }) => process.send({ event: type, partner, code: error?.code }))
}

const plain = (value) =>
  JSON.parse(JSON.stringify(value, (_, each) => (typeof each === 'bigint' ? String(each) : each)))

const does = {
  status: async () => plain(await peer.status()),
  report: () => plain(peer.report()),
  publish: ({ update }) =>
    peer.publish({
      ...update,
      ...(update.epoch === undefined ? {} : { epoch: BigInt(update.epoch) }),
      ...(update.progress === undefined ? {} : { progress: BigInt(update.progress) }),
    }),
  whenLinked: (request) => peer.whenLinked(request),
  close: () => peer.close(),
  block({ ms }) {
    process.send({ blocking: true })
    setImmediate(() => {
      const begun = Date.now()
      while (Date.now() - begun < ms);
    })
  },
  // A Worker and a forked child inherit --import, and must not start a link of their own.
  async heirs() {
    const { Worker } = await import('node:worker_threads')
    const { fork } = await import('node:child_process')
    const code =
      "import('rdma-checkpoint').then(({ earlyPeer }) => require('node:worker_threads').parentPort.postMessage(earlyPeer() === undefined))"
    const worker = new Worker(code, { eval: true })
    const inWorker = await new Promise((resolve, reject) => worker.on('message', resolve).on('error', reject))
    await worker.terminate()
    const child = fork(process.argv[1], ['heir'])
    const inChild = await new Promise((resolve) => {
      child.on('message', resolve)
      child.on('exit', (exit) => resolve({ exit }))
    })
    return { inWorker, inChild }
  },
}

if (process.argv[2] === 'heir') {
  process.send({ none: peer === undefined })
  process.disconnect()
} else if (process.argv[2] !== 'forgets') {
  process.on('message', async ({ id, call, ...request }) => {
    try {
      process.send({ id, result: (await does[call](request)) ?? null })
    } catch ({ code, message, cause }) {
      process.send({ id, failed: { code, message, cause: cause?.code } })
    }
  })
  process.on('disconnect', () => process.exit())
  process.send({ ready: true, loaded: peer !== undefined })
}

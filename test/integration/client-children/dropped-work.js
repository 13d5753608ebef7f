// Run in a network namespace of its own: dropped-work.js DIRECTION. A process whose clients and early link are in the middle of all kinds of
// work; then every flow that stands is dropped in silence. Prints what became of each, and how the process ended.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { CheckpointError, connect, json, Peer } from '../../../dist/index.js'
import { drop, flowsTo, startUnit } from './dropping.js'

const MiB = 1024 * 1024
const timeoutMs = 30_000
/** By then the flows are dropped, and nobody has noticed. */
const droppedMs = 1_500

/** What each kind of work has ready, and then does until it has gone on or ended. */
const kinds = {
  async append(address) {
    const { log } = await owned(address, 'append')
    return () => onward(async (n) => void (await log.append({ n }, { timeoutMs })))
  },
  async stream(address) {
    const { region } = await owned(address, 'stream', 16 * MiB)
    const log = region.log()
    // Before and after the flows are dropped, and as they are known to be.
    async function* source() {
      for (let part = 0; part < 12; part++) {
        yield new Uint8Array(MiB / 2).fill(part)
        await sleep(400)
      }
    }
    return () => log.appendStream(source(), { bytes: 6 * MiB, timeoutMs })
  },
  async read(address) {
    const { region } = await owned(address, 'read', 16 * MiB)
    return () => onward(async () => void (await region.read(0, 16 * MiB, { timeoutMs })))
  },
  async write(address) {
    const { region } = await owned(address, 'write', 16 * MiB)
    const bytes = new Uint8Array(16 * MiB)
    return () => onward(async () => void (await region.write(0, bytes, { timeoutMs })))
  },
  async follow(address) {
    const { log } = await owned(address, 'follow')
    await log.append({ n: 0 })
    const reader = await (await connect(address)).openRegion('follow')
    const values = reader.checkpoints({ codec: json }).follow({ from: 'latest' })
    let seen = 0
    void (async () => {
      for await (const { value } of values) seen = value.n
    })()
    return () =>
      onward(async (n) => {
        await log.append({ n }, { timeoutMs })
        while (seen < n) await sleep(10)
      })
  },
  async watch(address) {
    const { client } = await owned(address, 'watch')
    const watcher = await connect(address)
    const events = watcher.watch('later')
    const next = events.next()
    return async () => {
      await sleep(droppedMs)
      // Whether it was made is not known when its flow is gone: it says so, and leaves the rest to its caller.
      await client.createRegion('later', { bytes: 64 * 1024, timeoutMs }).catch(async (failed) => {
        if (failed.code !== 'CONNECTION_LOST' || failed.outcome !== 'unknown') throw failed
        await client.createRegion('later', { bytes: 64 * 1024, timeoutMs }).catch((error) => {
          if (error.code !== 'REGION_EXISTS') throw error
        })
      })
      await next
    }
  },
  async close(address) {
    const { client, log } = await owned(address, 'close')
    return async () => {
      await sleep(droppedMs)
      const append = log.append({ n: 1 }, { timeoutMs })
      await Promise.all([client.close(), append])
    }
  },
  async worker(address) {
    const worker = new Worker(new URL(import.meta.url), { argv: ['worker', address] })
    await once(worker, 'message')
    return async () => {
      // Both at once: a worker's last message and its end may be told in one turn.
      const told = Promise.all([once(worker, 'message'), once(worker, 'exit')])
      worker.postMessage('go')
      const [[said], [code]] = await told
      if (said !== 'went on' || code !== 0) throw new Error(`the worker said ${said} and ended with ${code}`)
    }
  },
  async link() {
    const [one, other] = ['127.0.0.1:40001', '127.0.0.1:40002']
    const peers = [Peer.start({ listen: one, partner: other }), Peer.start({ listen: other, partner: one })]
    await Promise.all(peers.map((peer) => peer.whenLinked()))
    return async () => {
      await Promise.all(peers.map((peer) => once(peer, 'lost')))
      await Promise.all(peers.map((peer) => peer.whenLinked({ timeoutMs })))
      await Promise.all(peers.map((peer) => peer.close()))
    }
  },
}

async function owned(address, name, bytes = MiB) {
  const client = await connect(address)
  const region = await client.openRegion(name, { mode: 'write', create: { bytes } })
  return { client, region, log: bytes === MiB ? region.log({ codec: json }) : undefined }
}

/** Again and again, for longer than it takes until a flow that was dropped is known to be. */
async function onward(step) {
  const began = performance.now()
  for (let n = 1; performance.now() - began < 5_000; n++) {
    await step(n)
    await sleep(20)
  }
}

async function work(address) {
  const ready = await Promise.all(Object.entries(kinds).map(async ([kind, prepare]) => [kind, await prepare(address)]))
  const running = ready.map(async ([kind, run]) => {
    const began = performance.now()
    const outcome = await run().then(
      () => 'done',
      (error) => (error instanceof CheckpointError ? error.code : String(error)),
    )
    console.log(JSON.stringify({ kind, outcome, ms: Math.round(performance.now() - began) }))
  })
  console.log('under way')
  await Promise.all(running)
  process.exit(42)
}

async function inWorker(address) {
  const { parentPort } = await import('node:worker_threads')
  const { log } = await owned(address, 'worker')
  parentPort.postMessage('ready')
  await once(parentPort, 'message')
  await onward(async (n) => void (await log.append({ n }, { timeoutMs }))).then(
    () => parentPort.postMessage('went on'),
    (error) => parentPort.postMessage(error.code ?? String(error)),
  )
  process.exit(0)
}

async function main(direction) {
  const { address, controlPort, dataPort } = await startUnit('128MiB')
  const child = spawn(process.execPath, [new URL(import.meta.url).pathname, 'work', address], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const exit = once(child, 'close')
  let dropped
  child.stdout.setEncoding('utf8').on('data', (text) => {
    process.stdout.write(text)
    if (!text.includes('under way')) return
    setTimeout(() => {
      const ports = [controlPort, dataPort, 40001, 40002].flatMap((port) => flowsTo(port))
      drop(ports, direction)
      dropped = ports.length
    }, 300)
  })
  const timer = setTimeout(() => child.kill('SIGKILL'), 60_000)
  const [code, signal] = await exit
  clearTimeout(timer)
  console.log(JSON.stringify({ dropped, ended: code ?? signal }))
  process.exit()
}

const [what, address] = process.argv.slice(2)
if (what === 'work') await work(address)
else if (what === 'worker') await inWorker(address)
else await main(what)

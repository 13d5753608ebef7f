// A client of the native surface that runs as a Worker or as a process of its own: it connects, keeps writing, and
// says when it has begun. How it ends is up to the test.
//   argument (workerData or argv[2], JSON): { tickets, behaviour, bytes }
import { parentPort, workerData } from 'node:worker_threads'
import { loadAddon, openData, openSession } from './native-peer.mjs'

const { behaviour, tickets, session, bytes = 65536 } = workerData ?? JSON.parse(process.argv[2])
const addon = loadAddon()
const say = (text) => (parentPort ? parentPort.postMessage(text) : process.stdout.write(`${text}\n`))
const token = (ticket) => ({ port: ticket.port, token: Uint8Array.from(ticket.token) })

/** Writes without end, several at a time, from memory of both kinds. */
async function keepWriting(peer) {
  const memory = [new Uint8Array(addon.allocate(bytes)).fill(1), new Uint8Array(bytes).fill(2)]
  const ways = peer.grant.promises & 2 ? 3 : 2 // placed, visible, and durable where the pool can
  const lane = async (i) => {
    for (;;) {
      await peer.write((i * bytes) % (4 << 20), memory[i % 2], i % ways)
      // Fresh memory each round, so that there is something to collect and to tear down.
      if (i % 2 === 0) memory[0] = new Uint8Array(addon.allocate(bytes)).fill(1)
    }
  }
  await Promise.all(Array.from({ length: 8 }, (_, i) => lane(i)))
}

const behaviours = {
  /** Leaves everything open and has nothing else to do. */
  async forget(engine) {
    const peer = await openData(engine, token(tickets[0]))
    await openSession(engine, token(session))
    await peer.write(0, new Uint8Array(bytes))
    say('open')
  },
  /** The result of the last operation comes although nothing but it keeps the process. */
  async finish(engine) {
    const peer = await openData(engine, token(tickets[0]))
    say('open')
    const outcome = await peer.write(0, new Uint8Array(bytes))
    say(`outcome ${outcome[0]}`)
  },
  /** Posts more than sockets take, forgets the buffers, collects, and looks at what arrived. Needs --expose-gc. */
  async collect(engine) {
    const peer = await openData(engine, token(tickets[0]))
    const outcomes = []
    say('open')
    await new Promise((resolve) => setTimeout(resolve, 100)) // the test stops the wire
    for (let i = 0; i < 64; i++) {
      const fresh = i % 2 ? new Uint8Array(1 << 20) : new Uint8Array(addon.allocate(1 << 20))
      outcomes.push(peer.write((i % 8) << 20, fresh.fill(i + 1)))
    }
    for (let i = 0; i < 3; i++) {
      globalThis.gc()
      // Finalizers have a turn of their own.
      await new Promise((resolve) => setImmediate(resolve))
      Array.from({ length: 64 }, () => new Uint8Array(1 << 20).fill(255))
    }
    for (const outcome of await Promise.all(outcomes)) if (outcome[0] !== 0) throw new Error(`outcome ${outcome}`)
    const arrived = new Uint8Array(8 << 20)
    await peer.read(0, arrived)
    say(arrived.every((byte, i) => byte === 57 + (i >> 20)) ? 'same' : 'different')
  },
  /** Hands over much more than the wire takes at once, all of it in memory that ends with the thread. */
  async queue(engine) {
    const peer = await openData(engine, token(tickets[0]))
    const memory = Array.from({ length: 96 }, () => new Uint8Array(addon.allocate(1 << 20)).fill(1))
    memory.forEach((bytes, i) => {
      void peer.write((i % 8) << 20, bytes, 0)
    })
    say('open')
  },
  async write(engine) {
    const peer = await openData(engine, token(tickets[0]))
    await openSession(engine, token(session))
    say('open')
    await keepWriting(peer)
  },
  /** process.exit() from within the callback of an outcome, with more in flight. */
  async exit(engine) {
    const peer = await openData(engine, token(tickets[0]))
    say('open')
    void keepWriting(peer)
    setTimeout(() => process.exit(7), Math.random() * 30)
  },
  async exitInCallback(engine) {
    const peer = await openData(engine, token(tickets[0]))
    say('open')
    void keepWriting(peer)
    let batches = 0
    const onOutcomes = peer.onOutcomes.bind(peer)
    peer.onOutcomes = (outcomes) => {
      onOutcomes(outcomes)
      if (++batches === 5) process.exit(7)
    }
  },
  /** Connects without end, so that a set-up is under way at any moment. */
  async connect(engine) {
    say('open')
    for (const ticket of tickets) {
      const peer = await openData(engine, token(ticket))
      void peer.write(0, new Uint8Array(bytes))
      peer.channel.close()
      await peer.ended
    }
    say('done')
  },
  /** A unit of its own, with a client, in one thread. */
  async unit(engine) {
    const medium = await addon.Medium.open({ medium: 'memory', bytes: 8 << 20 })
    const responder = new addon.Responder(medium, { unitStart: 1n })
    const port = responder.listen('iwarp', '127.0.0.1', 0)
    responder.addRegion(1n, [0, 8 << 20], 8 << 20, 1n, false)
    responder.addSession(1n)
    const request = { kind: 'data', session: 1n, region: 1n, handle: 1n, rights: 'readWrite', epoch: 1n }
    const peer = await openData(engine, { port, token: responder.issueToken(request) })
    say('open')
    void keepWriting(peer)
    for (let i = 0n; ; i++) {
      void medium.zero(0, 4096)
      await responder.dropHandle(1n, 1000n + i)
      await new Promise((resolve) => setImmediate(resolve))
    }
  },
}

const engine = new addon.Engine({})
behaviours[behaviour](engine).catch((error) => {
  say(`failed: ${error.stack ?? error}`)
  process.exitCode = 1
})

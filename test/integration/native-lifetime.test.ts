// What the addon does when its environment ends: processes that exit or forget, Workers that are terminated, and whether
// connections leave anything behind.
import { spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import net from 'node:net'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { loadNative } from '../../src/native-loader.js'
import { Random, testSeed } from '../unit/random.js'
import { openData } from './support/native-peer.mjs'
import { NativeUnit } from './support/native-unit.js'

const addon = loadNative()
const script = fileURLToPath(new URL('./support/native-client.mjs', import.meta.url))
const long = process.env.RC_LONG === '1'

let unit: NativeUnit

beforeAll(async () => {
  unit = await NativeUnit.start(addon, 'file')
})
afterAll(async () => {
  await unit.stop()
})

interface Ticket {
  port: number
  token: number[]
}

function plainTicket(rights: 'readWrite' | 'session', of?: bigint): Ticket {
  const { port, token } = unit.ticket(rights, of)
  return { port, token: [...token] }
}

function orders(behaviour: string, tickets = 1, bytes = 65536) {
  // Most of the tickets are never used.
  const session = unit.addSession()
  return {
    behaviour,
    bytes,
    session: plainTicket('session', session),
    tickets: Array.from({ length: tickets }, () => plainTicket('readWrite', session)),
  }
}

interface Ended {
  code: number | null
  signal: string | null
  output: string
  ms: number
}

/** A proxy that stops reading from its clients for a while, so that what they send stays with them. */
async function stoppableWire(port: number) {
  const clients: net.Socket[] = []
  let stops = 0
  const server = net.createServer((client) => {
    const upstream = net.connect(port, '127.0.0.1')
    client.pipe(upstream).pipe(client)
    for (const socket of [client, upstream]) socket.on('error', () => socket.destroy())
    clients.push(client)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as net.AddressInfo).port,
    stops: () => stops,
    stopFor(ms: number) {
      stops++
      for (const client of clients) client.pause()
      setTimeout(() => {
        for (const client of clients) client.resume()
      }, ms)
    },
    close: () => server.close(),
  }
}

function runProcess(
  behaviour: string,
  bytes?: number,
  nodeArguments: string[] = [],
  port = unit.port,
  onOpen: () => void = () => {},
): Promise<Ended> {
  const begun = Date.now()
  return new Promise((resolve, reject) => {
    const given = orders(behaviour, 1, bytes)
    for (const ticket of given.tickets) ticket.port = port
    const child = spawn(process.execPath, [...nodeArguments, script, JSON.stringify(given)])
    let output = ''
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk) => {
        output += chunk
        if (output === 'open\n') onOpen()
      })
    const killer = setTimeout(() => child.kill('SIGKILL'), 30_000)
    child.on('error', reject)
    child.on('close', (code, signal) => {
      clearTimeout(killer)
      resolve({ code, signal, output, ms: Date.now() - begun })
    })
  })
}

describe('a process', () => {
  test('that forgets to close what it opened exits by itself', async () => {
    const ended = await runProcess('forget')
    expect(ended).toMatchObject({ code: 0, signal: null, output: 'open\n' })
    expect(ended.ms).toBeLessThan(10_000)
  })

  test('stays for the outcome of what it posted, and then exits', async () => {
    expect(await runProcess('finish', 4 << 20)).toMatchObject({ code: 0, signal: null, output: 'open\noutcome 0\n' })
  })

  test('keeps memory that JavaScript forgot until its outcome', async () => {
    const wire = await stoppableWire(unit.port)
    const ended = runProcess('collect', 1 << 20, ['--expose-gc'], wire.port, () => wire.stopFor(1_000))
    expect(await ended).toMatchObject({ code: 0, signal: null, output: 'open\nsame\n' })
    expect(wire.stops()).toBe(1)
    wire.close()
  })

  test.each(['exit', 'exitInCallback'])(
    'that calls process.exit() in mid-write ends with its code (%s)',
    async (how) => {
      for (let i = 0; i < (long ? 50 : 8); i++) {
        expect(await runProcess(how, 1 << 20)).toMatchObject({ code: 7, signal: null, output: 'open\n' })
      }
    },
  )

  test('whose connection closes leaves the unit serving others', async () => {
    const engine = new addon.Engine({})
    const peer = await openData(engine, unit.ticket())
    expect([...(await peer.write(0, Buffer.from('still here')))]).toEqual([0, 0, 0])
    await engine.close()
  })
})

describe('a Worker', () => {
  /** Runs one, terminates it `delay` ms after it has begun, and resolves to what it said. */
  function terminated(behaviour: string, delay: number, tickets: number): Promise<string[]> {
    return new Promise((resolve, reject) => {
      const said: string[] = []
      const worker = new Worker(script, { workerData: orders(behaviour, tickets) })
      let ending = false
      const end = () => {
        if (ending) return
        ending = true
        worker.terminate().then(() => resolve(said), reject)
      }
      worker.on('message', (text: string) => {
        said.push(text)
        if (text === 'open') setTimeout(end, delay)
        else end()
      })
      worker.on('error', reject)
      if (delay === 0) setTimeout(end, 0)
    })
  }

  test.each(['write', 'queue', 'connect', 'unit'])('can be terminated at any moment (%s)', async (behaviour) => {
    const random = new Random(testSeed())
    console.log(`seed ${random.seed}`)
    const count = long ? 200 : 25
    for (let i = 0; i < count; i++) {
      const said = await terminated(behaviour, random.next() * 40, 50)
      expect(said.filter((text) => text.startsWith('failed'))).toEqual([])
    }
  })

  test('can be terminated before it has loaded the addon, or while it does', async () => {
    for (let i = 0; i < (long ? 50 : 10); i++) await terminated('write', 0, 1)
  })

  test('is one of several that have the addon at the same time', async () => {
    await Promise.all(Array.from({ length: 6 }, (_, i) => terminated(i % 2 ? 'write' : 'unit', 300, 1)))
    await expect.poll(() => unit.responder.counters().connectionsOpen).toBe(0n)
  })
})

function descriptors(): number {
  return readdirSync('/proc/self/fd').length
}

function threads(): number {
  return Number(/^Threads:\s*(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1])
}

test('connecting and closing leaves no descriptor, no thread and no connection behind', async () => {
  const engine = new addon.Engine({})
  const cycle = async () => {
    const peer = await openData(engine, unit.ticket())
    await peer.write(0, new Uint8Array(1000))
    peer.channel.close()
    await peer.ended
  }
  for (let i = 0; i < 20; i++) await cycle()
  await expect.poll(() => unit.responder.counters().connectionsOpen).toBe(0n)
  const before = { descriptors: descriptors(), threads: threads() }
  for (let i = 0; i < 1000; i++) await cycle()
  await expect.poll(() => unit.responder.counters().connectionsOpen).toBe(0n)
  // Fewer is possible: what an earlier test of this process left to be collected.
  await expect.poll(descriptors).toBeLessThanOrEqual(before.descriptors)
  await expect.poll(threads).toBeLessThanOrEqual(before.threads)
  await engine.close()
})

test('engines and units that are stopped leave no thread and no descriptor behind', async () => {
  const cycle = async () => {
    const other = await NativeUnit.start(addon, 'file')
    const engine = new addon.Engine({})
    const peer = await openData(engine, other.ticket())
    await peer.write(0, new Uint8Array(1000), 2)
    await engine.close()
    await other.stop()
  }
  for (let i = 0; i < 3; i++) await cycle()
  const before = { descriptors: descriptors(), threads: threads() }
  for (let i = 0; i < 20; i++) await cycle()
  // Fewer is possible: what an earlier test of this process left to be collected.
  await expect.poll(descriptors).toBeLessThanOrEqual(before.descriptors)
  await expect.poll(threads).toBeLessThanOrEqual(before.threads)
})

test("the unit's connections go on while its JavaScript thread is blocked", async () => {
  const shared = new SharedArrayBuffer(8)
  const signal = new Int32Array(shared)
  const [begin, done] = [0, 1]
  const worker = new Worker(new URL('./support/native-blocked.mjs', import.meta.url), {
    workerData: { shared, tickets: [plainTicket('readWrite'), plainTicket('readWrite')] },
  })
  await new Promise((resolve, reject) => worker.on('message', resolve).on('error', reject))
  Atomics.store(signal, begin, 1)
  Atomics.notify(signal, begin)
  expect(Atomics.wait(signal, done, 0, 60_000)).toBe('ok')
  expect(Atomics.load(signal, done)).toBe(1)
  expect(unit.region(499 * 64, 64)).toEqual(new Uint8Array(64).fill(499))
  await worker.terminate()
})

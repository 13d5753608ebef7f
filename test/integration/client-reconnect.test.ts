import { once } from 'node:events'
import { createServer, connect as dial, type Server, type Socket } from 'node:net'
import path from 'node:path'
import { expect, test } from 'vitest'
import { connect, PersistentMemoryUnit } from '../../src/index.js'
import { dataTransport } from '../data-plane.js'
import { builtIndex, ended, MiB, nextMessage, pickSeed, randomFrom, startChild, withFolder } from './client-support.js'

async function listening(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return (server.address() as { port: number }).port
}

async function freePort(): Promise<number> {
  const server = createServer()
  const port = await listening(server)
  server.close()
  await once(server, 'close')
  return port
}

/** Between clients and the unit's data plane; cuts all connections when told. */
async function proxyTo(port: number) {
  const sockets = new Set<Socket>()
  const server = createServer((client) => {
    const unit = dial(port, '127.0.0.1')
    for (const [from, to] of [
      [client, unit],
      [unit, client],
    ] as const) {
      sockets.add(from)
      from.setNoDelay(true)
      from.pipe(to)
      from.on('error', () => undefined)
      from.on('close', () => {
        sockets.delete(from)
        to.destroy()
      })
    }
  })
  return {
    port: await listening(server),
    cut() {
      const count = sockets.size
      for (const socket of sockets) socket.resetAndDestroy()
      return count
    },
    close: () => server.close(),
  }
}

const startUnit = async (listen: string, pool: string) => {
  const child = startChild('unit.js', builtIndex, listen, pool)
  const { address } = await nextMessage<{ address: string }>(child)
  return { child, address }
}

// A proxy of TCP cuts them, which a device's do not go through.
test.skipIf(dataTransport === 'verbs')(
  'connections cut at random moments change nothing but the time that calls take',
  async () => {
    const seed = pickSeed()
    console.log(`seed ${seed}`)
    const random = randomFrom(seed)
    const data = await freePort()
    const proxy = await proxyTo(data)
    await using unit = await PersistentMemoryUnit.start({
      pool: { medium: 'memory', bytes: 16 * MiB },
      data: [`127.0.0.1:${data}`],
      advertise: [`127.0.0.1:${proxy.port}`],
    })
    await using client = await connect(unit.address)
    const region = await client.createRegion('r', { bytes: 4 * MiB, mode: 'raw' })
    const model = new Uint8Array(4 * MiB)
    let cuts = 0
    for (let round = 0; round < 40; round++) {
      const calls: Promise<unknown>[] = []
      for (let i = 0; i < 30; i++) {
        const length = Math.floor(random() ** 3 * 300_000)
        const offset = Math.floor(random() * (model.length - length + 1))
        const bytes = new Uint8Array(length).fill(1 + Math.floor(random() * 255))
        model.set(bytes, offset)
        calls.push(region.write(offset, bytes))
      }
      await new Promise((resolve) => setTimeout(resolve, random() * 4))
      if (round % 2 === 0) cuts += proxy.cut()
      await Promise.all(calls)
      expect(Buffer.compare(await region.read(0, model.length), model)).toBe(0)
    }
    expect(cuts).toBeGreaterThan(20)
    expect(region.fenced.aborted).toBe(false)
    proxy.close()
  },
)

test('a killed and restarted unit on a file pool: calls go on, what was only visible is told as lost', async () => {
  await withFolder(async (folder) => {
    const pool = path.join(folder, 'pool')
    const first = await startUnit('127.0.0.1:0', pool)
    await using client = await connect(first.address)
    const region = await client.createRegion('r', { bytes: MiB, mode: 'raw' })
    const reader = await client.openRegion('r')
    await region.write(0, Buffer.from('durable'))
    await region.write(100, Buffer.from('visible'), { durability: 'visible' })
    const { lostWrites, epoch } = region
    first.child.kill('SIGKILL')
    await ended(first.child)
    const pending = region.write(200, Buffer.from('repeated'))
    const { child } = await startUnit(first.address, pool)
    expect(await pending).toMatchObject({ durability: 'durable', epoch })
    expect(lostWrites.aborted).toBe(true)
    expect(lostWrites.reason).toMatchObject({ code: 'WRITES_LOST' })
    expect(region.rollbacks).toBe(1)
    expect(region.fenced.aborted).toBe(false)
    expect(Buffer.from(await reader.read(0, 7)).toString()).toBe('durable')
    expect(await reader.read(100, 7)).toEqual(new Uint8Array(7))
    expect(Buffer.from(await reader.read(200, 8)).toString()).toBe('repeated')
    expect((await reader.metadata()).epoch).toBe(epoch)
    child.kill('SIGKILL')
    await ended(child)
  })
})

test('a unit that does not come back ends calls at their deadline; a memory pool comes back without the region', async () => {
  const first = await startUnit('127.0.0.1:0', 'memory')
  await using client = await connect(first.address)
  const region = await client.createRegion('r', { bytes: MiB, mode: 'raw' })
  await region.write(0, new Uint8Array(10))
  first.child.kill('SIGKILL')
  await ended(first.child)
  const started = performance.now()
  await expect(region.write(0, new Uint8Array(10), { timeoutMs: 300 })).rejects.toMatchObject({
    code: 'CONNECTION_LOST',
    retryable: true,
  })
  expect(performance.now() - started).toBeLessThan(1500)
  const { child } = await startUnit(first.address, 'memory')
  await expect(region.write(0, new Uint8Array(10))).rejects.toMatchObject({ code: 'REGION_NOT_FOUND' })
  const again = await client.createRegion('r', { bytes: MiB, mode: 'raw' })
  await again.write(0, new Uint8Array(10))
  child.kill('SIGKILL')
  await ended(child)
})

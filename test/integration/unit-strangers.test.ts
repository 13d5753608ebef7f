/** Who has proved nothing takes nothing from those who have: idle connections, calls without a session, watches. */
import net from 'node:net'
import * as grpc from '@grpc/grpc-js'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { connect } from '../../src/index.js'
import type { UnitEvent } from '../../src/unit/journal.js'
import type { UnitOptions } from '../../src/unit/options.js'
import { PersistentMemoryUnit } from '../../src/unit/unit.js'
import { ControlClient } from './control-client.js'

const closing: (() => Promise<unknown> | unknown)[] = []

async function start(limits: UnitOptions['limits']): Promise<PersistentMemoryUnit> {
  const unit = await PersistentMemoryUnit.start({
    pool: { medium: 'memory', bytes: 4 << 20 },
    ...(limits && { limits }),
  })
  closing.push(() => unit.close())
  return unit
}

async function eventually(condition: () => boolean | Promise<boolean>): Promise<void> {
  await vi.waitFor(async () => expect(await condition()).toBe(true), { timeout: 20_000, interval: 20 })
}

/** Connects and says nothing; when it is closed, another comes at once. */
class Crowd {
  readonly #sockets = new Set<net.Socket>()
  #over = false
  closed = 0

  constructor(address: string, count: number) {
    const [host, port] = address.split(':')
    const come = () => {
      if (this.#over) return
      const socket = net.connect(Number(port), host)
      this.#sockets.add(socket)
      socket.resume()
      socket.on('error', () => undefined)
      socket.on('close', () => {
        this.#sockets.delete(socket)
        this.closed++
        setImmediate(come)
      })
    }
    for (let i = 0; i < count; i++) come()
    closing.push(() => this.end())
  }

  end(): void {
    this.#over = true
    for (const socket of this.#sockets) socket.destroy()
  }
}

async function counter(client: ControlClient, name: string): Promise<number> {
  const { counters } = await client.channel.call('Status', {})
  return Number(counters.get(name) ?? -1n)
}

afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

describe('strangers at the control service', () => {
  it('give way to each other, and never a client to them', async () => {
    const unit = await start({ sessions: 8 })
    const refused: UnitEvent[] = []
    unit.addEventListener('refused', (event) => refused.push(event))
    await using client = await connect(unit.address)
    const lost: unknown[] = []
    client.addEventListener('disconnected', (event) => lost.push(event))
    const region = await client.openRegion('r', { mode: 'write', create: { bytes: 4096, mode: 'raw' } })
    const watch = client.watch('r')
    await watch.next()
    const crowd = new Crowd(unit.address, 300)
    await eventually(() => crowd.closed > 1000)

    await using late = await connect(unit.address)
    expect((await late.openRegion('r')).epoch).toBe(region.epoch)
    expect(lost).toEqual([])
    const changed = watch.next()
    await client.deleteRegion('r')
    expect((await changed).value?.type).toBe('deleted')

    const looking = await ControlClient.open(unit.address)
    closing.push(() => looking.close())
    expect(await counter(looking, 'controlConnections')).toBeLessThan(100)
    expect(await counter(looking, 'controlYielded')).toBeGreaterThan(200)
    await eventually(() => refused.some(({ what }) => what === 'connections of the control service'))
    crowd.end()
  })

  it('are strangers again once their session has ended', async () => {
    const unit = await start({ sessions: 8 })
    const clients = await Promise.all(Array.from({ length: 8 }, () => ControlClient.open(unit.address)))
    closing.push(() => clients.map((client) => client.close()))
    for (const client of clients.slice(1)) await client.call('CloseSession', {})
    const crowd = new Crowd(unit.address, 300)
    await eventually(() => crowd.closed > 1000)
    expect(await clients[0]?.list()).toEqual([])
    expect(await counter(clients[0] as ControlClient, 'controlConnections')).toBeLessThan(85)
  })

  it('have few calls under way', async () => {
    const unit = await start({})
    const channel = new grpc.Client(unit.address, grpc.credentials.createInsecure())
    closing.push(() => channel.close())
    const same = (bytes: Buffer) => bytes
    const codes = new Map<number, number>()
    let first = 0
    for (let i = 0; i < 100; i++) {
      const call = channel.makeServerStreamRequest('/grpc.health.v1.Health/Watch', same, same, Buffer.alloc(0))
      call.on('data', () => first++)
      call.on('error', ({ code }: grpc.ServiceError) => codes.set(code, (codes.get(code) ?? 0) + 1))
      closing.push(() => call.cancel())
    }
    await eventually(() => first + (codes.get(grpc.status.RESOURCE_EXHAUSTED) ?? 0) === 100)
    expect(first).toBe(16)
  })
})

describe('watches', () => {
  it('are limited for each session, and a place comes back', async () => {
    const unit = await start({ handles: 3 })
    const client = await ControlClient.open(unit.address)
    const other = await ControlClient.open(unit.address)
    closing.push(() => client.close())
    closing.push(() => other.close())
    const begin = (of: ControlClient, name: string) => {
      const events = of.channel.watchRegion({ session: of.session, name }, new AbortController().signal)
      return { next: events.next(), end: () => events.return() }
    }
    const watches = [0, 1, 2].map((index) => begin(client, `w${index}`))
    for (const { next } of watches) await next
    await expect(begin(client, 'more').next).rejects.toMatchObject({ code: 'LIMIT_REACHED', retryable: true })
    expect((await begin(other, 'more').next).value?.type).toBeDefined()
    await watches[0]?.end()
    await eventually(async () => {
      return await begin(client, 'again').next.then(
        () => true,
        () => false,
      )
    })
  })
})

/** A create or delete whose answer is lost on the way is repeated by the client, and its success does not become a failure. */
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { type AddressInfo, createServer, connect as dial, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { type Client, connect, PersistentMemoryUnit, type UnitEventType } from '../../src/index.js'
import { MiB } from './client-support.js'

/** Between a client and the unit's control service: it can keep what the unit says to itself, and end all connections. */
class Way {
  deaf = false
  port = 0
  #to = 0
  readonly #sockets = new Set<Socket>()
  /** Where it leads nowhere for the moment. */
  readonly #waiting = new Set<Socket>()
  /** Nobody is at its end, and it says so. */
  refuses = false
  readonly #server = createServer((client) => {
    this.#sockets.add(client)
    client.on('error', () => undefined)
    if (this.refuses) client.destroy()
    else if (this.#to === 0) this.#waiting.add(client)
    else this.#join(client)
  })

  #join(client: Socket): void {
    const unit = dial(this.#to, '127.0.0.1')
    this.#sockets.add(unit)
    unit.on('error', () => undefined)
    client.on('data', (bytes) => unit.write(bytes))
    unit.on('data', (bytes) => this.deaf || client.write(bytes))
    for (const [one, other] of [
      [client, unit],
      [unit, client],
    ] as const) {
      one.on('close', () => {
        this.#sockets.delete(one)
        other.destroy()
      })
    }
  }

  static async to(address: string): Promise<Way> {
    const way = new Way()
    way.lead(address)
    way.#server.listen(0, '127.0.0.1')
    await once(way.#server, 'listening')
    way.port = (way.#server.address() as AddressInfo).port
    return way
  }

  /** Where connections lead from now on; undefined: nowhere. */
  lead(address: string | undefined): void {
    this.#to = Number(address?.split(':')[1] ?? 0)
    if (this.#to === 0) return
    for (const client of this.#waiting) this.#join(client)
    this.#waiting.clear()
  }

  cut(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  close(): void {
    this.#server.close()
    this.cut()
  }
}

const ends: (() => unknown)[] = []
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

async function stage(pool: Parameters<typeof PersistentMemoryUnit.start>[0]['pool']) {
  const unit = await PersistentMemoryUnit.start({ pool })
  ends.push(() => unit.close())
  const way = await Way.to(unit.address)
  ends.push(() => way.close())
  const client = await connect(`127.0.0.1:${way.port}`)
  ends.push(() => client.close())
  return { unit, way, client }
}

/** Makes the call, and loses the answer once the unit has done it. */
async function lost<T>(
  unit: PersistentMemoryUnit,
  way: Way,
  done: UnitEventType,
  call: () => Promise<T>,
  then?: () => unknown,
) {
  const told = new Promise<void>((resolve) => {
    // The answer is not written yet.
    unit.addEventListener(
      done,
      () => {
        way.deaf = true
        resolve()
      },
      { once: true },
    )
  })
  const calling = call()
  calling.catch(() => undefined)
  await told
  if ((await then?.()) !== 'cut') way.cut()
  way.deaf = false
  return await calling
}

test('a region is made once, and deleted once, though the answers were lost', async () => {
  const { unit, way, client } = await stage({ medium: 'memory', bytes: 4 * MiB })
  const region = await lost(unit, way, 'created', () => client.createRegion('r', { bytes: 65_536 }))
  await region.log().append(new Uint8Array(10))
  await region.close()
  await expect(client.createRegion('r', { bytes: 65_536 })).rejects.toMatchObject({
    code: 'REGION_EXISTS',
    outcome: 'none',
  })
  await lost(unit, way, 'deleted', () => client.deleteRegion('r'))
  await expect(client.deleteRegion('r')).rejects.toMatchObject({ code: 'REGION_NOT_FOUND', outcome: 'none' })
  const opened = await lost(unit, way, 'created', () =>
    client.openRegion('other', { mode: 'write', create: { bytes: 65_536 } }),
  )
  expect(opened.epoch).toBe(1n)
})

test('the repeated delete deletes no later region of that name, and a repeated create brings none back', async () => {
  const { unit, way, client } = await stage({ medium: 'memory', bytes: 4 * MiB })
  const other = await connect(unit.address)
  ends.push(() => other.close())
  await (await other.createRegion('r', { bytes: 65_536 })).close()
  await lost(
    unit,
    way,
    'deleted',
    () => client.deleteRegion('r'),
    async () => {
      await (await other.createRegion('r', { bytes: 131_072 })).close()
    },
  )
  expect((await other.openRegion('r')).size).toBe(131_072n)
  const making = lost(
    unit,
    way,
    'created',
    () => client.createRegion('gone', { bytes: 65_536 }),
    () => other.deleteRegion('gone'),
  )
  await expect(making).rejects.toMatchObject({ code: 'REGION_NOT_FOUND', outcome: 'unknown' })
  await expect(other.openRegion('gone')).rejects.toMatchObject({ code: 'REGION_NOT_FOUND' })
})

test('it holds over a restart of the unit, and what is never answered is unknown', async () => {
  const folder = await mkdtemp(path.join(tmpdir(), 'rdmacp-lost-'))
  // The first of the ends, and so the last to come: the units in it have stopped by then.
  ends.push(() => rm(folder, { recursive: true, force: true }))
  const file = path.join(folder, 'pool')
  const { unit, way, client } = await stage({ medium: 'file', path: file, bytes: 4 * MiB, create: true })
  let next: PersistentMemoryUnit | undefined
  const restart = async () => {
    way.lead(undefined)
    way.cut()
    way.deaf = false
    const former = next ?? unit
    await former.close({ timeoutMs: 10_000 })
    next = await PersistentMemoryUnit.start({ pool: { medium: 'file', path: file } })
    way.lead(next.address)
    return 'cut'
  }
  ends.push(() => next?.close())
  const region = await lost(unit, way, 'created', () => client.createRegion('r', { bytes: 65_536 }), restart)
  await region.close()
  const again = next as unknown as PersistentMemoryUnit
  await lost(again, way, 'deleted', () => client.deleteRegion('r'), restart)
  await expect(client.openRegion('r')).rejects.toMatchObject({ code: 'REGION_NOT_FOUND' })
  // It was sent, and from then on nobody is there.
  const now = next as unknown as PersistentMemoryUnit
  const making = lost(
    now,
    way,
    'created',
    () => client.createRegion('q', { bytes: 65_536, timeoutMs: 5_000 }),
    () => {
      way.refuses = true
    },
  )
  await expect(making).rejects.toMatchObject({ outcome: 'unknown' })
  expect((await now.status()).regions).toBe(1)
})

test('an open for writing that is given up without its answer leaves no owner behind', async () => {
  const { unit, way, client } = await stage({ medium: 'memory', bytes: 4 * MiB })
  await (await client.createRegion('r', { bytes: 65_536 })).close()
  const other = await connect(unit.address)
  ends.push(() => other.close())
  const opening = lost(
    unit,
    way,
    'opened',
    () => client.openRegion('r', { mode: 'takeOver', timeoutMs: 1_500 }),
    () => {
      way.refuses = true
    },
  )
  await expect(opening).rejects.toMatchObject({ code: 'CONNECTION_LOST', outcome: 'unknown' })
  way.refuses = false
  await expect
    .poll(
      () =>
        other.openRegion('r', { mode: 'write' }).then(
          ({ epoch }) => epoch,
          ({ code }) => code,
        ),
      { timeout: 20_000 },
    )
    .toBe(3n)
})

async function count(client: Client): Promise<number> {
  let regions = 0
  for await (const _ of client.regions()) regions++
  return regions
}

test.each(['listed', 'status'])(
  'many calls that wait for a connection come at once, and are all answered (%s)',
  async (which) => {
    const { unit, way, client } = await stage({ medium: 'memory', bytes: 4 * MiB })
    await client.createRegion('r', { bytes: 65_536 })
    way.lead(undefined)
    way.cut()
    const calls = Array.from({ length: 40 }, async () => {
      if (which === 'status') return (await client.status()).regions
      return await count(client)
    })
    await new Promise((resolve) => setTimeout(resolve, 100))
    way.lead(unit.address)
    expect(await Promise.allSettled(calls)).toEqual(calls.map(() => ({ status: 'fulfilled', value: 1 })))
  },
)

test('calls that need no session are answered, too, at a unit that has been restarted, however many come at once', async () => {
  const { unit, way, client } = await stage({ medium: 'memory', bytes: 4 * MiB })
  way.lead(undefined)
  way.cut()
  const calls = Array.from({ length: 200 }, async (_, index) => {
    return index % 2 === 0 ? (await client.status()).regions : await count(client)
  })
  await unit.close()
  const next = await PersistentMemoryUnit.start({ pool: { medium: 'memory', bytes: 4 * MiB } })
  ends.push(() => next.close())
  way.lead(next.address)
  expect(await Promise.allSettled(calls)).toEqual(calls.map(() => ({ status: 'fulfilled', value: 0 })))
})

test('the same at a unit that has been restarted and does not know the session', async () => {
  const { unit, way, client } = await stage({ medium: 'memory', bytes: 4 * MiB })
  way.lead(undefined)
  way.cut()
  const calls = Array.from({ length: 40 }, () => count(client))
  await unit.close()
  const next = await PersistentMemoryUnit.start({ pool: { medium: 'memory', bytes: 4 * MiB } })
  ends.push(() => next.close())
  way.lead(next.address)
  expect(await Promise.allSettled(calls)).toEqual(calls.map(() => ({ status: 'fulfilled', value: 0 })))
})

import { once } from 'node:events'
import { createServer, connect as dial, type Socket } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { connect, PersistentMemoryUnit, type RegionEvent } from '../../src/index.js'
import { killChildren, MiB, ownerProcess, sleep, unitProcess, Watched, withFolder } from './failover-support.js'

afterEach(killChildren)

const memory = { pool: { medium: 'memory', bytes: 8 * MiB } } as const
const region = { bytes: MiB, mode: 'append' } as const

test('a watcher is told of every step of a region’s life, in order, with growing revisions', async () => {
  await using unit = await PersistentMemoryUnit.start(memory)
  await using client = await connect(unit.address)
  await using other = await connect(unit.address)
  const watched = new Watched(client, 'life')
  const first = await watched.next('deleted')
  expect(first).toMatchObject({ snapshot: true, epoch: 0n })

  const one = await other.createRegion('life', region)
  await one.log().append(new Uint8Array(10))
  await one.log().clear()
  await watched.next('cleared')
  await one.close()
  const two = await other.openRegion('life', { mode: 'write' })
  await using third = await connect(unit.address)
  const three = await third.openRegion('life', { mode: 'takeOver' })
  expect(three.epoch).toBe(3n)
  await third.deleteRegion('life')
  await watched.next('deleted', 1)
  expect(watched.events.map(({ type, epoch }) => `${type} ${epoch}`)).toEqual([
    'deleted 0',
    'created 0',
    'opened 1',
    'cleared 1',
    'released 1',
    'opened 2',
    'taken-over 3',
    'deleted 3',
  ])
  const revisions = watched.events.map(({ revision }) => revision)
  expect(revisions).toEqual([...new Set(revisions)].sort((a, b) => (a < b ? -1 : 1)))
  expect(watched.events.filter(({ snapshot }) => snapshot)).toHaveLength(1)
  await two.close()
  await watched.stop()

  // Whoever asks for what came after the first has the rest again.
  const again = new Watched(other, 'life', first.revision)
  await again.next('deleted')
  expect(again.events).toEqual(watched.events.slice(1))
  await again.stop()
})

test('a watch ends when it is aborted, left, or its client is closed', async () => {
  await using unit = await PersistentMemoryUnit.start(memory)
  const client = await connect(unit.address)
  const abort = new AbortController()
  const events = client.watch('r', { signal: abort.signal })
  expect((await events.next()).value).toMatchObject({ type: 'deleted' })
  const next = events.next()
  abort.abort()
  expect((await next).done).toBe(true)

  for await (const _ of client.watch('r')) break

  const open = client.watch('r')
  await open.next()
  const last = open.next()
  await client.close()
  expect((await last).done).toBe(true)
  expect(() => client.watch('r')).toThrow(expect.objectContaining({ code: 'CLOSED' }))
})

test('wrong arguments are refused at once', async () => {
  await using unit = await PersistentMemoryUnit.start(memory)
  await using client = await connect(unit.address)
  for (const sinceRevision of [-1n, 1n << 64n, 1 as unknown as bigint]) {
    expect(() => client.watch('r', { sinceRevision })).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  }
  expect(() => client.watch('')).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
})

test('a watch goes on over broken connections without a gap or a duplicate', async () => {
  await using unit = await PersistentMemoryUnit.start(memory)
  const sockets = new Set<Socket>()
  const proxy = createServer((client) => {
    const [host, port] = unit.address.split(':')
    const to = dial(Number(port), host)
    for (const [from, into] of [
      [client, to],
      [to, client],
    ] as const) {
      sockets.add(from)
      from.pipe(into)
      from.on('error', () => undefined)
      from.on('close', () => {
        sockets.delete(from)
        into.destroy()
      })
    }
  })
  proxy.listen(0, '127.0.0.1')
  await once(proxy, 'listening')
  await using direct = await connect(unit.address)
  await using cut = await connect(`127.0.0.1:${(proxy.address() as { port: number }).port}`)
  const watched = new Watched(cut, 'r')
  const reference = new Watched(direct, 'r')
  await Promise.all([watched.next('deleted'), reference.next('deleted')])
  await (await direct.createRegion('r', region)).close()
  for (let round = 0; round < 20; round++) {
    await (await direct.openRegion('r', { mode: 'write' })).close()
    if (round % 4 === 1) for (const socket of sockets) socket.resetAndDestroy()
    if (round % 4 === 3) await sleep(100)
  }
  await direct.deleteRegion('r')
  await Promise.all([watched.next('deleted', 1), reference.next('deleted', 1)])
  expect(watched.events.slice(1)).toEqual(reference.events.slice(1))
  expect(watched.types.filter((type) => type === 'opened')).toHaveLength(21)
  await Promise.all([watched.stop(), reference.stop()])
  proxy.close()
})

test('after a restart of the unit a snapshot with a later revision says how the region stands', async () => {
  await withFolder(async (folder) => {
    const unit = await unitProcess(`${folder}/pool`)
    await using client = await connect(unit.address)
    await using owner = await connect(unit.address)
    await owner.createRegion('r', { ...region, lease: { silenceMs: 60_000 } })
    const watched = new Watched(client, 'r')
    const before: RegionEvent = await watched.next('opened')
    unit.process.kill('SIGKILL')
    await once(unit.process, 'exit')
    await unitProcess(`${folder}/pool`, unit.address)
    const after = await watched.next('opened', 1)
    expect(after.snapshot).toBe(true)
    expect(after.epoch).toBe(before.epoch)
    expect(after.revision).toBeGreaterThan(before.revision)
    await watched.stop()
  })
})

test('an owner that died together with the unit is lost one lease after the unit is back', async () => {
  await withFolder(async (folder) => {
    const unit = await unitProcess(`${folder}/pool`)
    await using client = await connect(unit.address)
    const owner = await ownerProcess(unit.address, 'r', { silenceMs: 1000 })
    const watched = new Watched(client, 'r')
    await watched.next('opened')
    owner.process.kill('SIGKILL')
    unit.process.kill('SIGKILL')
    await Promise.all([once(unit.process, 'exit'), once(owner.process, 'exit')])
    const from = watched.events.length
    await unitProcess(`${folder}/pool`, unit.address)
    const lost = await watched.next('owner-lost', from)
    // The watch may be back before the lease is over, or after.
    expect(watched.events[from]?.snapshot).toBe(true)
    expect(watched.types.slice(from).filter((type) => type !== 'opened')).toEqual(['owner-lost'])
    expect(lost.epoch).toBe(owner.epoch)
    expect((await client.openRegion('r', { mode: 'write' })).epoch).toBe(owner.epoch + 1n)
    await watched.stop()
  })
})

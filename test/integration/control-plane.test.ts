// The control plane's connections: what ends them, what does not, and that each client has its own.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { type Client, connect, PersistentMemoryUnit } from '../../src/index.js'
import { namespacesRefused } from '../takeover/namespaces.js'
import { builtIndex, ended, MiB, nextMessage, startChild, withFolder } from './client-support.js'

const refused = namespacesRefused()

function outages(client: Client): string[] {
  const told: string[] = []
  client.addEventListener('disconnected', ({ connection, error }) => told.push(`${connection}: ${error?.message}`))
  return told
}

test.skipIf(refused !== undefined)(
  `a control connection that is dropped in silence is made again within seconds, with its watch${refused === undefined ? '' : ` (${refused})`}`,
  async () => {
    const child = fileURLToPath(new URL('client-children/dropped-control.js', import.meta.url))
    const { code, output } = await ended(spawn('unshare', ['-n', process.execPath, child]), 90_000)
    expect(code, output).toBe(0)
    console.log(output.trim())
    const result = JSON.parse(output.trim().split('\n').at(-1) ?? '')
    expect(result).toMatchObject({ dropped: 1, type: 'released', events: ['disconnected control', 'restored'] })
    // 3 s, and what a busy machine adds to it. Without an end of its own the flow stood for a quarter of an hour.
    expect(result.watchMs).toBeLessThan(15_000)
    expect(result.statusMs).toBeLessThan(15_000)
    expect(result.connectMs).toBeLessThan(5_000)
  },
)

test("a unit's event loop that stands for longer than a connection may be silent ends nothing", async () => {
  await withFolder(async (folder) => {
    const release = path.join(folder, 'release')
    const unit = startChild('blocked-unit.js', builtIndex, path.join(folder, 'pool'), release)
    const { address } = await nextMessage<{ address: string }>(unit)
    await using client = await connect(address)
    const region = await client.createRegion('r', { bytes: MiB, mode: 'raw' })
    const told = outages(client)
    const watch = client.watch('r')
    await watch.next()
    const next = watch.next()
    unit.send('block')
    expect(await nextMessage(unit)).toBe('blocking')
    const blocked = nextMessage<{ blockedMs: number }>(unit)
    await new Promise((resolve) => setTimeout(resolve, 100))
    let answered = false
    const status = client.status().finally(() => {
      answered = true
    })
    await new Promise((resolve) => setTimeout(resolve, 4_500))
    await region.write(0, new Uint8Array(100))
    expect(answered).toBe(false)
    writeFileSync(release, '')
    expect((await blocked).blockedMs).toBeGreaterThan(4_000)
    expect((await status).state).toBe('ready')
    expect(told).toEqual([])
    expect(region.fenced.aborted).toBe(false)
    await region.close()
    expect((await next).value?.type).toBe('released')
    unit.send('stop')
    await ended(unit)
  })
})

test('a unit that is ready takes a new client at once, though another of the process has lost it for long', async () => {
  await withFolder(async (folder) => {
    const pool = path.join(folder, 'pool')
    const start = async (listen: string) => {
      const child = startChild('unit.js', builtIndex, listen, pool)
      return { child, address: (await nextMessage<{ address: string }>(child)).address }
    }
    let unit = await start('127.0.0.1:0')
    const { address } = unit
    await using waiting = await connect(address)
    for (let round = 0; round < 3; round++) {
      unit.child.kill('SIGKILL')
      await once(unit.child, 'exit')
      await new Promise((resolve) => setTimeout(resolve, 800))
      unit = await start(address)
      await (await connect(address)).close()
    }
    while (!waiting.connected) await once(waiting, 'restored')
    unit.child.kill('SIGKILL')
    await once(unit.child, 'exit')
  })
})

test('1,200 watches that end at once disturb neither another client nor the calls of their own', async () => {
  await using unit = await PersistentMemoryUnit.start({ pool: { medium: 'memory', bytes: 16 * MiB } })
  await using client = await connect(unit.address)
  await using bystander = await connect(unit.address)
  const told = [outages(client), outages(bystander)]
  const mine = bystander.watch('mine')
  await mine.next()
  const next = mine.next()
  const own = client.watch('mine')
  await own.next()
  const ownNext = own.next()
  const stop = new AbortController()
  const watches = Array.from({ length: 1200 }, (_, i) => client.watch(`orders/${i}`, { signal: stop.signal }))
  await Promise.all(watches.map((watch) => watch.next()))
  const ends = watches.map((watch) => watch.next())
  const calls = [client, bystander].map((each) => each.status())
  stop.abort()
  expect((await Promise.all(ends)).every(({ done }) => done)).toBe(true)
  await Promise.all(calls)
  await client.createRegion('mine', { bytes: 4096, mode: 'raw' })
  expect([(await next).value?.type, (await ownNext).value?.type]).toEqual(['created', 'created'])
  expect(told).toEqual([[], []])
})

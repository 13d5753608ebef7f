/** A close ends within its bound, also at a unit that answers nothing, and a unit that can hear of it does. */
import { rmSync } from 'node:fs'
import path from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { type Client, connect, type OwnershipEvent, PersistentMemoryUnit, ProcessPair } from '../../src/index.js'
import { temporaryFolder, UnitProcess } from '../fault/support/unit-process.js'
import { killChildren, sleep, unitProcess } from './failover-support.js'

afterEach(killChildren)

/** What a close may take beyond its pending calls, and as much again for a machine that is busy. */
const boundMs = 6_000

async function lasts(closing: Promise<unknown>): Promise<number> {
  const from = performance.now()
  await closing
  return performance.now() - from
}

async function owner(address: string, name: string): Promise<{ client: Client; append(): Promise<unknown> }> {
  const client = await connect(address)
  const region = await client.createRegion(name, { bytes: 1 << 20, lease: { silenceMs: 60_000, stallMs: 0 } })
  const log = region.log()
  await log.append(new Uint8Array(100))
  await region.metadata()
  return { client, append: () => log.append(new Uint8Array(100)) }
}

test('at a unit that is stopped, a close ends within its bound, and with its time-out or its signal', async () => {
  const { process: unit, address } = await unitProcess('memory')
  const [patient, late, aborted, alone] = await Promise.all(['a', 'b', 'c', 'd'].map((name) => owner(address, name)))
  if (!patient || !late || !aborted || !alone) throw new Error('four were asked for')
  const region = await alone.client.openRegion('a')
  const pair = new ProcessPair(address, {
    region: 'pair',
    create: { bytes: 1 << 20 },
    async onPrimary({ log, signal }) {
      await new Promise((resolve) => signal.addEventListener('abort', resolve))
      log.append(new Uint8Array(10)).catch(() => undefined)
    },
  })
  const running = pair.run()
  while (pair.role !== 'primary') await sleep(5)
  unit.kill('SIGSTOP')
  await sleep(100)
  const [one, other] = [late.append(), aborted.append()]
  const ended = Promise.all(
    [one, other].map((append) => expect(append).rejects.toMatchObject({ code: 'CLOSED', outcome: 'unknown' })),
  )
  const looking = patient.client.openRegion('b').catch((error: unknown) => error)
  const took = await Promise.all([
    lasts(patient.client.close()),
    lasts(late.client.close({ timeoutMs: 100 })),
    lasts(aborted.client.close({ signal: AbortSignal.timeout(100) })),
    lasts(region.close()),
    lasts(pair[Symbol.asyncDispose]()),
  ])
  await ended
  await running
  await expect(looking).resolves.toMatchObject({ code: 'CLOSED' })
  const [closed, ofTimeout, ofSignal, ofRegion, ofPair] = took as [number, number, number, number, number]
  expect(closed).toBeLessThan(boundMs)
  expect(ofTimeout).toBeLessThan(1_500)
  expect(ofSignal).toBeLessThan(1_500)
  expect(ofRegion).toBeLessThan(boundMs)
  // Its calls that nobody waits for have 5 s.
  expect(ofPair).toBeLessThan(5_000 + boundMs)
  unit.kill('SIGCONT')
  await alone.client.close()
}, 60_000)

test('a living unit hears of a close, however little time that has: nobody waits for the lease', async () => {
  const { address } = await unitProcess('memory')
  const next = await connect(address)
  for (const [index, options] of [{ timeoutMs: 1 }, { timeoutMs: 0.01 }, {}].entries()) {
    const { client } = await owner(address, `r${index}`)
    await client.close(options)
    await expect(client.status()).rejects.toMatchObject({ code: 'CLOSED' })
    for (;;) {
      const region = await next
        .openRegion(`r${index}`, { mode: 'write' })
        .catch((error: { code: string }) => error.code)
      if (typeof region !== 'string') break
      expect(region).toBe('REGION_BUSY')
      await sleep(5)
    }
  }
  await next.close()
}, 30_000)

test('a release that a unit died with is told: once the unit is back, or by the close of the client', async () => {
  const folder = temporaryFolder()
  const pool = { medium: 'file' as const, path: path.join(folder, 'pool'), bytes: 16 << 20 }
  let unit = await UnitProcess.start({ pool })
  const { address } = unit
  try {
    const { client } = await owner(address, 'a')
    const told: OwnershipEvent[] = []
    client.addEventListener('release-failed', (event) => told.push(event))
    const [first, second] = await Promise.all(
      ['b', 'c', 'd'].map((name) => client.createRegion(name, { bytes: 1 << 20 })),
    )
    if (!first || !second) throw new Error('three were asked for')
    await first.close()
    unit.child.kill('SIGSTOP')
    await second.close()
    expect(told).toEqual([])
    await unit.kill()
    unit = await UnitProcess.start({ pool, listen: address })
    await expect.poll(() => told.map(({ region }) => region), { timeout: 20_000 }).toEqual(['c'])
    expect(told[0]).toMatchObject({ epoch: second.epoch, error: { outcome: 'none' } })
    await unit.kill()
    await client.close()
    expect(told.map(({ region }) => region).sort()).toEqual(['a', 'c', 'd'])
  } finally {
    await unit.kill()
    rmSync(folder, { recursive: true, force: true })
  }
})

test('a unit whose close has a signal that has aborted already stops all the same', async () => {
  const unit = await PersistentMemoryUnit.start({ pool: { medium: 'memory', bytes: 4 << 20 } })
  const aborted = unit.close({ signal: AbortSignal.abort() })
  expect((await unit.status()).state).toBe('stopping')
  await expect(aborted).rejects.toMatchObject({ code: 'ABORTED', outcome: 'unknown' })
  await unit.close()
})

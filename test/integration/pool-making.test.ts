// A pool comes to be because somebody asked for it, whole or not at all; and what is wrong with a part of one is that part's.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readdirSync, statSync, symlinkSync, writeFileSync, writeSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, it } from 'vitest'
import { loadNative } from '../../src/native-loader.js'
import type { UnitEvent } from '../../src/unit/journal.js'
import type { PoolOptions } from '../../src/unit/options.js'
import { PersistentMemoryUnit } from '../../src/unit/unit.js'
import { temporaryFolder } from '../fault/support/unit-process.js'
import { startChild } from './client-support.js'
import { ControlClient } from './control-client.js'

const MiB = 1 << 20
const command = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
const running: PersistentMemoryUnit[] = []

async function start(pool: PoolOptions): Promise<PersistentMemoryUnit> {
  const unit = await PersistentMemoryUnit.start({ pool })
  running.push(unit)
  return unit
}
function file(name: string, bytes: number, create = true): PoolOptions {
  return { medium: 'file', path: name, bytes, create }
}
function newPath(): string {
  return path.join(temporaryFolder(), 'pool')
}
function beside(pool: string): string[] {
  return readdirSync(path.dirname(pool)).filter((name) => name !== path.basename(pool))
}

afterEach(async () => {
  for (const unit of running.splice(0)) await unit.close()
})

describe('a pool that is not there', () => {
  it('is not made unasked', async () => {
    const pool = newPath()
    for (const bytes of [4 * MiB, undefined]) {
      const refused = start({ medium: 'file', path: pool, ...(bytes === undefined ? {} : { bytes }) })
      await expect(refused).rejects.toMatchObject({ code: 'POOL_NOT_FOUND', help: /pool create/ })
    }
    expect(readdirSync(path.dirname(pool))).toEqual([])
  })

  it('is made when that was asked for, and the unit tells it; after that it is only opened', async () => {
    const pool = newPath()
    const told: UnitEvent[] = []
    for (const round of [1n, 2n]) {
      const unit = await start(file(pool, 4 * MiB))
      unit.addEventListener('pool-made', (event) => told.push(event))
      expect((await unit.status()).starts).toBe(round)
      await unit.close()
    }
    expect(told).toMatchObject([{ what: pool, bytes: BigInt(4 * MiB) }])
    await start({ medium: 'file', path: pool, create: true })
  })

  it('is made beside its place, so that a file which holds nothing is never taken for one', async () => {
    const pool = newPath()
    for (const bytes of [0, 4 * MiB]) {
      writeFileSync(pool, Buffer.alloc(bytes))
      for (const create of [false, true]) {
        await expect(start(file(pool, 4 * MiB, create))).rejects.toMatchObject({ code: 'POOL_DAMAGED' })
      }
      await expect(PersistentMemoryUnit.createPool(file(pool, 4 * MiB))).rejects.toMatchObject({ code: 'POOL_EXISTS' })
      expect([statSync(pool).size, beside(pool)]).toEqual([bytes, []])
    }
  })

  it('is not a directory, and what is one is told as no pool', async () => {
    const folder = temporaryFolder()
    for (const create of [false, true]) {
      await expect(start(file(folder, 4 * MiB, create))).rejects.toMatchObject({
        code: 'POOL_DAMAGED',
        message: /is not a regular file/,
      })
    }
  })

  it('comes to be where a link leads', async () => {
    const pool = newPath()
    const link = path.join(temporaryFolder(), 'link')
    symlinkSync(pool, link)
    const made = await PersistentMemoryUnit.createPool(file(link, 4 * MiB))
    expect((await (await start({ medium: 'file', path: pool })).status()).id).toBe(made.id)
  })
})

describe('the making of a pool', () => {
  it('that fails leaves nothing, and says why', async () => {
    const pool = newPath()
    const failing: [PoolOptions, string][] = [
      [file(pool, 8192), 'INVALID_ARGUMENT'],
      [{ medium: 'file', path: pool }, 'INVALID_ARGUMENT'],
      [file(pool, 2 ** 44), 'POOL_FULL'],
      [file(path.join(pool, 'pool'), 4 * MiB), 'SYSTEM'],
      [{ medium: 'memory', bytes: 4 * MiB }, 'NOT_SUPPORTED'],
    ]
    for (const [options, code] of failing) {
      const error = await PersistentMemoryUnit.createPool(options).catch((caught: unknown) => caught)
      expect(error).toMatchObject({ code })
      expect(String(error)).not.toMatch(/making/)
    }
    const aborted = PersistentMemoryUnit.createPool(file(pool, 4 * MiB), { signal: AbortSignal.abort() })
    await expect(aborted).rejects.toMatchObject({ code: 'ABORTED' })
    expect(readdirSync(path.dirname(pool))).toEqual([])
  })

  it('by several at once succeeds for one', async () => {
    const pool = newPath()
    const results = await Promise.allSettled(
      Array.from({ length: 8 }, () => PersistentMemoryUnit.createPool(file(pool, 4 * MiB))),
    )
    const made = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value.id] : []))
    const refused = results.flatMap((result) => (result.status === 'rejected' ? [result.reason.code] : []))
    expect([made.length, new Set(refused)]).toEqual([1, new Set(['POOL_EXISTS'])])
    expect([(await (await start({ medium: 'file', path: pool })).status()).id, beside(pool)]).toEqual([made[0], []])
  })

  it('that was killed leaves nothing in its place, and nothing at all after the next', async () => {
    let killed = 0
    for (let round = 0; round < (process.env.RC_LONG === '1' ? 40 : 5); round++) {
      const pool = newPath()
      const flags = ['pool', 'create', '--path', pool, '--bytes', '512MiB', '--max-regions', '20000']
      const child = spawn(process.execPath, [command, ...flags], { stdio: 'ignore' })
      const exit = once(child, 'exit')
      while (child.exitCode === null && readdirSync(path.dirname(pool)).length === 0) await sleep(1)
      await sleep(round % 8)
      child.kill('SIGKILL')
      await exit
      if (!readdirSync(path.dirname(pool)).includes('pool')) {
        killed++
        await PersistentMemoryUnit.createPool(file(pool, 4 * MiB))
      }
      await (await start({ medium: 'file', path: pool })).close()
      expect(beside(pool)).toEqual([])
    }
    expect(killed).toBeGreaterThan(0)
  })

  it('removes what others left unfinished, and not what somebody is at', async () => {
    const pool = newPath()
    const [left, busy, foreign] = ['pool.1-aa.making', 'pool.2-bb.making', 'other.making'].map((name) =>
      path.join(path.dirname(pool), name),
    )
    for (const name of [left!, foreign!]) writeFileSync(name, Buffer.alloc(8192))
    const maker = await loadNative().Medium.open({ medium: 'file', path: busy!, create: true, bytes: 4 * MiB })
    await PersistentMemoryUnit.createPool(file(pool, 4 * MiB))
    expect(beside(pool).toSorted()).toEqual(['other.making', 'pool.2-bb.making'])
    await maker.close()
  })
})

describe('a pool with one bad region', () => {
  it('serves the others, and answers for that one with a code', async () => {
    const pool = newPath()
    const first = await start(file(pool, 4 * MiB))
    const maker = await ControlClient.open(first.address)
    for (const name of ['a', 'b']) await maker.create(name, 5000)
    maker.close()
    await first.close()
    const descriptor = openSync(pool, 'r+')
    for (const table of [4096, 4096 + 64 * 4096]) writeSync(descriptor, Buffer.alloc(100, 0x77), 0, 100, table + 100)
    closeSync(descriptor)

    const unit = await start({ medium: 'file', path: pool })
    const damaged: UnitEvent[] = []
    unit.addEventListener('damaged', (event) => damaged.push(event))
    const client = await ControlClient.open(unit.address)
    expect((await client.list()).map(({ name }) => name)).toEqual(['b'])
    await client.call('OpenRegion', { name: 'b', mode: 'WRITE' })
    await expect(client.call('OpenRegion', { name: 'a', mode: 'READ' })).rejects.toMatchObject({ code: 'POOL_DAMAGED' })
    await expect(client.create('c', 1)).rejects.toMatchObject({ code: 'POOL_DAMAGED' })
    expect((await client.channel.call('Status', {})).counters.get('regionsDamaged')).toBe(1n)
    expect(damaged).toMatchObject([{ what: 'entry 0 of the region table' }])
    client.close()
  })
})

it('two units never share an address, in workers of a cluster neither', async () => {
  const child = startChild('cluster-units.js')
  const [reports] = (await once(child, 'message')) as [{ free: string[]; fixed: string[] }]
  child.kill()
  expect(new Set(reports.free).size).toBe(2)
  expect(reports.fixed.filter((report) => report === 'ADDRESS_IN_USE')).toHaveLength(1)
}, 60_000)

/** What failed is not durable before a later flush of it has succeeded, whichever call it failed in. */
import { expect, test } from 'vitest'
import { nativeCode } from '../../src/native-error.js'
import { FakeUnit, settle } from './client-fake.js'

async function writer() {
  const unit = FakeUnit.make()
  const client = await unit.connect()
  const region = await client.openRegion('r', { mode: 'write' })
  return { unit, client, region }
}
const fill = (value: number, length = 4) => new Uint8Array(length).fill(value)
const visible = { durability: 'visible' } as const
const failed = { code: 'MEDIUM_FAILED', outcome: 'unknown' }
const flushes = (unit: FakeUnit) => unit.log.filter(({ kind }) => kind === 2).map(({ flushRanges }) => flushRanges)

test('flush covers what a durable write that failed has written, until one of it succeeds', async () => {
  const { unit, client, region } = await writer()
  unit.auto = false
  const write = region.write(8, fill(1))
  unit.channel.complete(1, nativeCode.mediumFailed)
  await expect(write).rejects.toMatchObject(failed)
  const first = region.flush()
  unit.channel.complete(1, nativeCode.mediumFailed)
  await expect(first).rejects.toMatchObject(failed)
  const second = region.flush()
  unit.channel.complete()
  expect(await second).toMatchObject({ durability: 'durable', method: 'unit-flush' })
  expect(flushes(unit)).toEqual([
    [8, 4],
    [8, 4],
  ])
  expect(await region.flush()).toMatchObject({ method: 'none' })
  await client.close()
})

test('so it does of writes that were given up and may have landed, but not of those that never went out', async () => {
  const { unit, client, region } = await writer()
  unit.auto = false
  const stop = new AbortController()
  const durable = region.write(0, fill(1), { signal: stop.signal })
  const visibly = region.write(100, fill(2), { ...visible, signal: stop.signal })
  await settle()
  stop.abort()
  for (const write of [durable, visibly]) await expect(write).rejects.toMatchObject({ code: 'ABORTED' })
  const late = new AbortController()
  late.abort()
  await expect(region.write(200, fill(3), { signal: late.signal })).rejects.toMatchObject({ code: 'ABORTED' })
  const flush = region.flush()
  await settle()
  unit.channel.complete()
  await flush
  expect(flushes(unit)).toEqual([[0, 4, 100, 4]])
  await client.close()
})

test('flush does not say durable before a durable write that has no answer is', async () => {
  const { unit, client, region } = await writer()
  unit.auto = false
  const write = region.write(8, fill(1))
  const flush = region.flush()
  await settle()
  expect(flushes(unit)).toEqual([[8, 4]])
  unit.channel.complete(2, nativeCode.mediumFailed)
  await expect(write).rejects.toMatchObject(failed)
  await expect(flush).rejects.toMatchObject(failed)
  unit.auto = true
  await region.flush()
  expect(flushes(unit).at(-1)).toEqual([8, 4])
  await client.close()
})

test('flushes of the same ranges all fail when the first does, and each says so for itself', async () => {
  const { unit, client, region } = await writer()
  await region.write(0, fill(1), visible)
  unit.auto = false
  const joined = [region.flush(), region.flush(), region.flush()]
  await settle()
  expect(flushes(unit)).toEqual([
    [0, 4],
    [0, 4],
    [0, 4],
  ])
  unit.channel.complete(3, nativeCode.mediumFailed)
  for (const flush of joined) await expect(flush).rejects.toMatchObject(failed)
  unit.auto = true
  await region.flush()
  expect(flushes(unit).at(-1)).toEqual([0, 4])
  await client.close()
})

test('a flush that succeeds behind one that failed has made its ranges durable', async () => {
  const { unit, client, region } = await writer()
  await region.write(0, fill(1), visible)
  unit.auto = false
  const [first, second] = [region.flush(), region.flush()]
  await settle()
  unit.channel.complete(1, nativeCode.systemError)
  await expect(first).rejects.toMatchObject({ code: 'SYSTEM' })
  unit.channel.complete()
  expect(await second).toMatchObject({ method: 'unit-flush' })
  expect(await region.flush()).toMatchObject({ method: 'none' })
  await client.close()
})

test('a durable write that carried earlier ones leaves both dirty when it fails', async () => {
  const { unit, client, region } = await writer()
  await region.write(0, fill(1), visible)
  unit.auto = false
  const write = region.write(2, fill(2, 8))
  unit.channel.complete(1, nativeCode.mediumFailed)
  await expect(write).rejects.toMatchObject(failed)
  unit.auto = true
  await region.flush()
  expect(flushes(unit)).toEqual([[0, 10]])
  await client.close()
})

test('flushes behind one whose writes a restart took fail with it', async () => {
  const { unit, client, region } = await writer()
  await region.write(0, fill(1), visible)
  unit.auto = false
  const joined = [region.flush(), region.flush()]
  unit.auto = true
  unit.restart()
  for (const flush of joined) await expect(flush).rejects.toMatchObject({ code: 'WRITES_LOST' })
  await client.close()
})

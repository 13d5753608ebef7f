import { expect, test } from 'vitest'
import { FakeUnit, until } from './client-fake.js'

async function writer() {
  const unit = FakeUnit.make()
  const client = await unit.connect()
  const region = await client.openRegion('r', { mode: 'write' })
  return { unit, client, region }
}
const fill = (value: number, length = 4) => new Uint8Array(length).fill(value)
const visible = { durability: 'visible' } as const
const reconnected = (unit: FakeUnit, count = 2) => until(() => unit.channels.length === count && unit.channel.open)
const flushes = (unit: FakeUnit) => unit.log.filter(({ kind }) => kind === 2).map(({ flushRanges }) => flushRanges)

test('flush without ranges covers what is visible and not flushed, once', async () => {
  const { unit, client, region } = await writer()
  await region.write(0, fill(1), visible)
  await region.write(100, fill(2))
  await region.write(2, fill(3), visible)
  expect(await region.flush()).toEqual({ durability: 'durable', method: 'unit-flush', epoch: 5n })
  expect(flushes(unit)).toEqual([[0, 6]])
  expect(await region.flush()).toMatchObject({ durability: 'durable', method: 'none' })
  expect(flushes(unit).length).toBe(1)
  await client.close()
})

test('flush covers writes that have no answer yet, and they are not dirty afterwards', async () => {
  const { unit, client, region } = await writer()
  unit.auto = false
  const write = region.write(8, fill(1), visible)
  const flush = region.flush()
  expect(flushes(unit)).toEqual([[8, 4]])
  unit.channel.complete()
  await Promise.all([write, flush])
  await region.flush()
  expect(flushes(unit).length).toBe(1)
  await client.close()
})

test('a failed flush leaves its ranges to the next one', async () => {
  const { unit, client, region } = await writer()
  await region.write(0, fill(1), visible)
  unit.auto = false
  const flush = region.flush()
  unit.channel.complete(1, 15)
  await expect(flush).rejects.toMatchObject({ code: 'MEDIUM_FAILED', outcome: 'unknown' })
  unit.auto = true
  await region.flush()
  expect(flushes(unit)).toEqual([
    [0, 4],
    [0, 4],
  ])
  await client.close()
})

test('a restart without the visible writes is told, once for each time', async () => {
  const { unit, client, region } = await writer()
  await region.write(0, fill(1), visible)
  const lost = region.lostWrites
  unit.restart()
  await reconnected(unit)
  expect(lost.aborted).toBe(true)
  expect(lost.reason).toMatchObject({ code: 'WRITES_LOST' })
  expect(region.rollbacks).toBe(1)
  expect(region.lostWrites.aborted).toBe(false)
  unit.restart()
  await reconnected(unit, 3)
  expect(region.rollbacks).toBe(1)
  await client.close()
})

test('a broken connection alone loses nothing, and neither does a restart after a flush', async () => {
  const { unit, client, region } = await writer()
  await region.write(0, fill(1), visible)
  unit.channel.break()
  await reconnected(unit)
  expect(region.rollbacks).toBe(0)
  await region.flush()
  expect(flushes(unit)).toEqual([[0, 4]])
  unit.restart()
  await reconnected(unit, 3)
  expect(region.rollbacks).toBe(0)
  await client.close()
})

test('a flush whose writes were lost in a restart fails; a durable write is repeated', async () => {
  const { unit, client, region } = await writer()
  await region.write(0, fill(1), visible)
  unit.auto = false
  const flush = region.flush()
  const write = region.write(8, fill(2))
  unit.auto = true
  unit.restart()
  await expect(flush).rejects.toMatchObject({ code: 'WRITES_LOST' })
  expect(await write).toMatchObject({ durability: 'durable' })
  expect(region.rollbacks).toBe(1)
  await client.close()
})

const lastByUnit = (unit: FakeUnit) => unit.log.at(-1)?.flushByUnit

test('RDMA FLUSH may be used on the first connection, and on a later one while nothing of an earlier one is unflushed', async () => {
  const { unit, client, region } = await writer()
  await region.write(0, fill(1))
  expect(lastByUnit(unit)).toBe(false)
  unit.channel.break()
  await reconnected(unit)
  await region.write(0, fill(2))
  expect(lastByUnit(unit)).toBe(false)
  await client.close()
})

test('what was written on a connection that broke is made durable by the unit', async () => {
  const { unit, client, region } = await writer()
  await region.write(0, fill(1), visible)
  unit.channel.break()
  await reconnected(unit)
  await region.flush()
  expect(lastByUnit(unit)).toBe(true)
  await client.close()
})

test('a write without an answer when its connection breaks is made durable by the unit', async () => {
  const { unit, client, region } = await writer()
  unit.auto = false
  const write = region.write(0, fill(1))
  expect(lastByUnit(unit)).toBe(false)
  unit.channel.break()
  await reconnected(unit)
  expect(lastByUnit(unit)).toBe(true)
  unit.channel.complete()
  await write
  await client.close()
})

test('after a write that was given up, and after a restart, the unit makes durable', async () => {
  const { unit, client, region } = await writer()
  unit.auto = false
  const abort = new AbortController()
  const write = region.write(0, fill(1), { ...visible, signal: abort.signal })
  abort.abort()
  await expect(write).rejects.toMatchObject({ code: 'ABORTED' })
  unit.channel.complete()
  unit.auto = true
  unit.channel.break()
  await reconnected(unit)
  await region.flush([{ offset: 0, length: 4 }])
  expect(lastByUnit(unit)).toBe(true)
  await client.close()

  const second = await writer()
  second.unit.restart()
  await reconnected(second.unit)
  await second.region.write(0, fill(1))
  expect(lastByUnit(second.unit)).toBe(true)
  await second.client.close()
})

import { expect, test } from 'vitest'
import { FakeUnit, settle, until } from './client-fake.js'

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
  await settle()
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

async function logOf(bytes?: number) {
  const unit = FakeUnit.make(bytes)
  unit.mode = 'APPEND'
  const client = await unit.connect()
  const told: string[] = []
  client.addEventListener('lost-writes', ({ type }) => told.push(type))
  const region = await client.openRegion('r', { mode: 'write' })
  return { unit, client, region, log: region.log(), told }
}
const mib = 1024 * 1024
const streamBytes = 2.5 * mib
async function* chunksThat(end: () => unknown) {
  for (let i = 0; i < 5; i++) yield fill(i, mib / 2)
  await end()
}
const streams = (unit: FakeUnit) => unit.log.filter(({ buffers }) => (buffers[0]?.byteLength ?? 0) > mib)

test.each(['durable', 'visible'] as const)(
  'the parts of a stream that failed half way are no lost writes (%s)',
  async (durability) => {
    const { unit, client, region, log, told } = await logOf(8 * mib)
    await log.append(fill(9))
    const source = new Error('the source broke')
    const failing = chunksThat(() => Promise.reject(source))
    await expect(log.appendStream(failing, { bytes: streamBytes, durability })).rejects.toBe(source)
    expect(streams(unit).length).toBe(2)
    unit.restart()
    await reconnected(unit)
    expect([region.rollbacks, region.lostWrites.aborted, told]).toEqual([0, false, []])
    expect(await log.append(fill(10))).toMatchObject({ durability: 'durable' })
    await client.close()
  },
)

test('a stream that a restart takes half of rejects, and the event stays with writes that were acknowledged', async () => {
  const { unit, client, region, log, told } = await logOf(8 * mib)
  let goOn: () => void = () => undefined
  const gate = new Promise<void>((resolve) => (goOn = resolve))
  const append = log.appendStream(
    chunksThat(() => gate),
    { bytes: streamBytes },
  )
  append.catch(() => undefined)
  await until(() => streams(unit).length === 2)
  await settle()
  unit.restart()
  await reconnected(unit)
  goOn()
  await expect(append).rejects.toMatchObject({ code: 'WRITES_LOST', outcome: 'none' })
  expect([region.rollbacks, told]).toEqual([0, []])
  expect(await log.append(fill(10))).toMatchObject({ durability: 'durable' })
  await client.close()
})

test('a restart that takes a visible checkpoint, streamed or not, is told', async () => {
  for (const streamed of [true, false]) {
    const { unit, client, region, log, told } = await logOf(8 * mib)
    if (streamed)
      await log.appendStream(
        chunksThat(() => undefined),
        { bytes: streamBytes, ...visible },
      )
    else await log.append(fill(1), visible)
    unit.restart()
    await reconnected(unit)
    expect([region.rollbacks, told]).toEqual([1, ['lost-writes']])
    await client.close()
  }
})

test('a visible checkpoint that was acknowledged while a flush was under way is told to be lost with it', async () => {
  const { unit, client, region, log, told } = await logOf()
  await log.append(fill(1))
  unit.auto = false
  const append = log.append(fill(2), visible)
  await until(() => unit.channel.pending.length > 0)
  const flush = region.flush()
  flush.catch(() => undefined)
  unit.channel.complete(1)
  await append
  unit.auto = true
  unit.restart()
  await expect(flush).rejects.toMatchObject({ code: 'WRITES_LOST' })
  expect([region.rollbacks, told]).toEqual([1, ['lost-writes']])
  await client.close()
})

test('a visible checkpoint that was found in the log after another write had failed is told to be lost', async () => {
  const { unit, client, region, log, told } = await logOf()
  await log.append(fill(1))
  unit.auto = false
  const first = log.append(fill(2), visible)
  const second = log.append(fill(3), visible)
  await until(() => unit.channel.pending.length === 2)
  const [lands] = unit.channel.pending
  unit.carryOut(lands!)
  unit.channel.complete(1, 15)
  unit.channel.complete(1)
  unit.auto = true
  await expect(first).rejects.toMatchObject({ code: 'MEDIUM_FAILED', outcome: 'unknown' })
  await second
  unit.restart()
  await reconnected(unit)
  expect([region.rollbacks, told]).toEqual([1, ['lost-writes']])
  await client.close()
})

test('writes that failed or were aborted are flushed, but a restart that takes them is told to nobody', async () => {
  const { unit, client, region } = await writer()
  const told: string[] = []
  client.addEventListener('lost-writes', ({ type }) => told.push(type))
  const giveUp = async () => {
    unit.auto = false
    const failed = region.write(0, fill(1), visible)
    unit.channel.complete(1, 15)
    await expect(failed).rejects.toMatchObject({ code: 'MEDIUM_FAILED', outcome: 'unknown' })
    const abort = new AbortController()
    const aborted = region.write(100, fill(2), { signal: abort.signal })
    abort.abort()
    await expect(aborted).rejects.toMatchObject({ code: 'ABORTED', outcome: 'unknown' })
    unit.channel.complete()
    unit.auto = true
  }
  await giveUp()
  await region.flush()
  expect(flushes(unit)).toEqual([[0, 4, 100, 4]])
  await giveUp()
  unit.restart()
  await reconnected(unit)
  expect([region.rollbacks, region.lostWrites.aborted, told]).toEqual([0, false, []])
  // Over bytes that were acknowledged they change nothing of that.
  await region.write(2, fill(3), visible)
  await giveUp()
  unit.restart()
  await reconnected(unit, 3)
  expect([region.rollbacks, told]).toEqual([1, ['lost-writes']])
  await client.close()
})

test('what was acknowledged and only a failed flush or durable write covered is told to be lost', async () => {
  for (const cover of ['flush', 'write'] as const) {
    const { unit, client, region } = await writer()
    await region.write(0, fill(1), visible)
    unit.auto = false
    const covering = cover === 'flush' ? region.flush() : region.write(0, fill(2, 8))
    unit.channel.complete(1, 15)
    await expect(covering).rejects.toMatchObject({ code: 'MEDIUM_FAILED' })
    unit.auto = true
    unit.restart()
    await reconnected(unit)
    expect(region.rollbacks).toBe(1)
    await client.close()
  }
})

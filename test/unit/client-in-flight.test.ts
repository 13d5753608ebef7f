import { expect, test } from 'vitest'
import { FakeUnit, settle, until } from './client-fake.js'

const KiB = 1024
const limit = 64 * KiB

async function writer(bytes?: number) {
  const unit = FakeUnit.make(bytes)
  const client = await unit.connect({ maxBytesInFlight: limit })
  const region = await client.openRegion('r', { mode: 'write' })
  unit.auto = false
  return { unit, client, region }
}

test('bytes in flight stay below the bound, and calls go out in their order', async () => {
  const { unit, client, region } = await writer()
  const writes: Promise<unknown>[] = []
  for (let i = 0; i < 40; i++) writes.push(region.write(i * 10 * KiB, new Uint8Array(10 * KiB).fill(i)))
  let rounds = 0
  await settle()
  while (unit.channel.pending.length > 0) {
    expect(unit.channel.bytesInFlight).toBeLessThanOrEqual(limit)
    unit.channel.complete(1)
    rounds++
    await settle()
  }
  expect(rounds).toBe(40)
  expect(unit.log.map(({ offsets }) => offsets[0])).toEqual(Array.from({ length: 40 }, (_, i) => i * 10 * KiB))
  await Promise.all(writes)
  await client.close()
})

test('a call larger than the bound goes out in pieces, and a durable one is flushed as a whole at the end', async () => {
  const { unit, client, region } = await writer()
  const bytes = Uint8Array.from({ length: 300 * KiB }, (_, i) => i % 251)
  const write = region.writeAll([
    { offset: 5, bytes: bytes.subarray(0, 100) },
    { offset: 1000, bytes },
  ])
  while (unit.channel.pending.length > 0) {
    expect(unit.channel.bytesInFlight).toBeLessThanOrEqual(limit)
    unit.channel.complete(1)
  }
  expect(await write).toEqual({ durability: 'durable', method: 'unit-flush', epoch: 5n })
  expect(Buffer.compare(unit.memory.subarray(1000, 1000 + bytes.length), bytes)).toBe(0)
  expect(unit.log.at(-1)?.flushRanges).toEqual([5, 100, 1000, bytes.length])
  expect(unit.log.slice(0, -1).every(({ kind, until: how }) => kind === 0 && how === 1)).toBe(true)
  const read = region.read(1000, bytes.length)
  while (unit.channel.pending.length > 0) unit.channel.complete(1)
  expect(Buffer.compare(await read, bytes)).toBe(0)
  await client.close()
})

test('after a break a large call goes on where it was; after a restart of the unit it begins again', async () => {
  const { unit, client, region } = await writer()
  const write = region.write(0, new Uint8Array(300 * KiB).fill(1))
  const second = unit.channel.pending[1]?.offsets[0]
  unit.channel.complete(1)
  unit.channel.break()
  await until(() => unit.channels.length === 2 && unit.channel.pending.length > 0)
  expect(unit.channel.pending[0]?.offsets[0]).toBe(second)
  unit.channel.complete(1)
  unit.restart()
  await until(() => unit.channels.length === 3 && unit.channel.pending.length > 0)
  expect(unit.channel.pending[0]?.offsets[0]).toBe(0)
  while (unit.channel.pending.length > 0) unit.channel.complete(1)
  await write
  expect(unit.memory.subarray(0, 300 * KiB).every((byte) => byte === 1)).toBe(true)
  await client.close()
})

test('after a break, what was in flight goes out before what had waited for room', async () => {
  const { unit, client, region } = await writer()
  const visible = { durability: 'visible' } as const
  const writes = Array.from({ length: 8 }, (_, i) => region.write(i, new Uint8Array(15 * KiB).fill(i), visible))
  await settle()
  expect(unit.channel.pending.length).toBe(4)
  unit.channel.break()
  await until(() => unit.channels.length === 2 && unit.channel.pending.length === 4)
  while (unit.channel.pending.length > 0) unit.channel.complete(1)
  expect(unit.log.slice(4).map(({ offsets }) => offsets[0])).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
  await Promise.all(writes)
  await client.close()
})

test('a vectored call of very many ranges goes out in several operations', async () => {
  const { unit, client, region } = await writer()
  const ranges = Array.from({ length: 5000 }, (_, i) => ({ offset: i * 2, bytes: new Uint8Array([i & 255]) }))
  const write = region.writeAll(ranges, { durability: 'visible' })
  while (unit.channel.pending.length > 0) unit.channel.complete(1)
  await write
  expect(Math.max(...unit.log.map(({ buffers }) => buffers.length))).toBeLessThanOrEqual(1024)
  expect(unit.memory[2 * 4999]).toBe(4999 & 255)
  await client.close()
})

test('an aborted call rejects at once, and its bytes count until native code has let go of them', async () => {
  const { unit, client, region } = await writer()
  const abort = new AbortController()
  const writes: Promise<unknown>[] = []
  const options = { durability: 'visible', signal: abort.signal } as const
  for (let i = 0; i < 4; i++) writes.push(region.write(0, new Uint8Array(15 * KiB), options))
  const waiting = region.write(0, new Uint8Array(15 * KiB), options)
  const other = region.write(0, new Uint8Array(15 * KiB).fill(5), { durability: 'visible' })
  await settle()
  expect(unit.log.length).toBe(4)
  abort.abort(new Error('enough'))
  for (const write of writes) await expect(write).rejects.toMatchObject({ code: 'ABORTED', outcome: 'unknown' })
  await expect(waiting).rejects.toMatchObject({ code: 'ABORTED', outcome: 'none' })
  await settle()
  expect(unit.log.length).toBe(4)
  unit.channel.complete(1)
  expect(unit.log.length).toBe(5)
  unit.channel.complete()
  await other
  await client.close()
})

test('a call that waits for room honours its deadline', async () => {
  const { unit, client, region } = await writer()
  const first = region.write(0, new Uint8Array(63 * KiB))
  const waiting = region.write(0, new Uint8Array(63 * KiB), { timeoutMs: 20 })
  await expect(waiting).rejects.toMatchObject({ code: 'TIMEOUT' })
  unit.channel.complete()
  while (unit.channel.pending.length > 0) unit.channel.complete()
  await first
  await client.close()
})

test('an answered call leaves no listener on its signal, and many calls may share one', async () => {
  const { unit, client, region } = await writer()
  const warnings: Error[] = []
  const note = (warning: Error) => warnings.push(warning)
  process.on('warning', note)
  const { signal } = new AbortController()
  let listeners = 0
  const add = signal.addEventListener.bind(signal)
  const remove = signal.removeEventListener.bind(signal)
  signal.addEventListener = (...args: Parameters<typeof add>) => {
    listeners++
    add(...args)
  }
  signal.removeEventListener = (...args: Parameters<typeof remove>) => {
    listeners--
    remove(...args)
  }
  const calls = Array.from({ length: 50 }, () => region.write(0, new Uint8Array(4), { signal }))
  expect(listeners).toBe(1)
  await settle()
  while (unit.channel.pending.length > 0) unit.channel.complete()
  await Promise.all(calls)
  expect(listeners).toBe(0)
  await settle()
  process.off('warning', note)
  expect(warnings).toEqual([])
  await client.close()
})

test('close waits for pending calls, later ones are refused', async () => {
  const { unit, client, region } = await writer()
  const write = region.write(0, new Uint8Array(4).fill(1))
  const closing = region.close()
  await expect(region.write(0, new Uint8Array(4))).rejects.toMatchObject({ code: 'CLOSED', outcome: 'none' })
  await settle()
  unit.channel.complete()
  await write
  await closing
  expect(unit.calls.at(-1)?.name).toBe('CloseRegion')
  await expect(region.read(0, 1)).rejects.toMatchObject({ code: 'CLOSED' })
  await client.close()
  await expect(client.status()).rejects.toMatchObject({ code: 'CLOSED' })
})

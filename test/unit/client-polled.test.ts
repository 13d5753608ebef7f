import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { FakeUnit, settle } from './client-fake.js'

const KiB = 1024

async function writer(transport: 'iwarp' | 'verbs' = 'verbs') {
  const unit = FakeUnit.make()
  unit.transports = [transport]
  Object.assign(unit.native, { fabrics: ['iwarp', 'verbs'] })
  const client = await unit.connect()
  const region = await client.openRegion('r', { mode: 'write' })
  unit.auto = false
  unit.quick = true
  return { unit, client, region }
}

test('on verbs a small call that is alone is answered while it is posted', async () => {
  const { unit, client, region } = await writer()
  const bytes = Uint8Array.of(1, 2, 3)
  expect(await region.write(7, bytes, { durability: 'visible' })).toEqual({
    durability: 'visible',
    method: 'none',
    epoch: 5n,
  })
  // Within a turn of the event loop only so long (poll-turn.test.ts), and the machine may be slow.
  await settle()
  expect(await region.read(7, 3)).toEqual(bytes)
  expect(unit.channel.pending).toEqual([])
  expect(unit.log.map(({ poll }) => poll)).toEqual([true, true])

  // It is not durable yet, so that a flush of everything covers it.
  const flush = region.flush()
  expect(unit.log.at(-1)).toMatchObject({ flushRanges: [7, 3] })
  unit.quick = false
  unit.channel.complete()
  await flush
  await client.close()
})

test('what is large, or not alone, is left to the event loop', async () => {
  const { unit, client, region } = await writer()
  await settle()
  const large = region.write(0, new Uint8Array(64 * KiB), { durability: 'visible' })
  const second = region.write(0, new Uint8Array(1), { durability: 'visible' })
  await settle()
  expect(unit.log.map(({ poll }) => poll)).toEqual([false, false])
  unit.channel.complete()
  await Promise.all([large, second])
  await settle()
  const third = region.write(0, new Uint8Array(1), { durability: 'visible' })
  expect(unit.log.at(-1)?.poll).toBe(true)
  await third
  await client.close()
})

test('a call that was polled for in vain is answered by its outcome', async () => {
  const { unit, client, region } = await writer()
  unit.quick = false
  await settle()
  const write = region.write(0, Uint8Array.of(9), { durability: 'visible' })
  expect(unit.log.at(-1)?.poll).toBe(true)
  unit.channel.complete()
  await write
  expect(unit.memory[0]).toBe(9)
  await client.close()
})

test('user-space iWARP has nothing to poll', async () => {
  const { unit, client, region } = await writer('iwarp')
  const write = region.write(0, Uint8Array.of(9), { durability: 'visible' })
  expect(unit.log.at(-1)?.poll).toBe(false)
  unit.channel.complete()
  await write
  await client.close()
})

test('a loop of calls that are answered at once lets timers run', async () => {
  const { unit, client, region } = await writer()
  unit.auto = true
  let ticks = 0
  const timer = setInterval(() => ticks++, 2)
  const end = performance.now() + 30_000
  while (ticks <= 5 && performance.now() < end) await region.write(0, Uint8Array.of(1), { durability: 'visible' })
  clearInterval(timer)
  expect(ticks).toBeGreaterThan(5)
  expect(unit.log.filter(({ poll }) => poll).length).toBeGreaterThan(10)
  await client.close()
})

test('a handle that is closing ends when the call it waited for is answered at once after a reconnect', async () => {
  const { unit, client, region } = await writer()
  unit.unreachable = true
  unit.channel.break()
  const write = region.write(0, Uint8Array.of(5), { durability: 'visible' })
  const closed = region.close()
  unit.unreachable = false
  await write
  expect(unit.memory[0]).toBe(5)
  expect(unit.log.at(-1)?.poll).toBe(true)
  const outcome = await Promise.race([closed.then(() => 'closed'), sleep(5_000, 'not closed')])
  expect(outcome).toBe('closed')
  await client.close()
})

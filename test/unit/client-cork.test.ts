/** Calls of one turn of the event loop go out together: in what groups, in which order, and what becomes of them. */
import { expect, test } from 'vitest'
import { nativeCode } from '../../src/native-error.js'
import { FakeUnit, settle, until } from './client-fake.js'

const visible = { durability: 'visible' } as const

async function writer() {
  const unit = FakeUnit.make(256 * 1024)
  const client = await unit.connect()
  const region = await client.openRegion('r', { mode: 'write' })
  unit.auto = false
  return { unit, client, region }
}

/** The offsets of each post. */
function posts(unit: FakeUnit): number[][] {
  return unit.groups.map((group) => group.map(({ offsets }) => offsets[0] as number))
}

test('a call alone goes out at once, and those of a turn that come behind it together', async () => {
  const { unit, client, region } = await writer()
  const writes = [0, 1, 2, 3].map((at) => region.write(at, new Uint8Array(1), visible))
  expect(posts(unit)).toEqual([[0]])
  await settle()
  expect(posts(unit)).toEqual([[0], [1, 2, 3]])
  unit.channel.complete()
  await Promise.all(writes)
  // After a turn with more than one, the first of the next waits for others, too.
  const more = [4, 5].map((at) => region.write(at, new Uint8Array(1), visible))
  expect(posts(unit)).toHaveLength(2)
  await settle()
  expect(posts(unit).slice(2)).toEqual([[4, 5]])
  unit.channel.complete()
  await Promise.all(more)
  await client.close()
})

test('who is answered in one turn and calls again is in one group', async () => {
  const { unit, client, region } = await writer()
  const again = async (at: number) => {
    for (let round = 0; round < 3; round++) {
      await region.write(at, new Uint8Array(1), visible)
      for (let turn = 0; turn < at; turn++) await undefined
    }
  }
  const all = [0, 1, 2, 3, 4, 5].map(again)
  for (let round = 0; round < 3; round++) {
    await settle()
    unit.channel.complete()
  }
  await Promise.all(all)
  expect(posts(unit)).toEqual([[0], [1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]])
  await client.close()
})

test('groups are of one kind, keep the order, and leave out what is large', async () => {
  const { unit, client, region } = await writer()
  const calls = [
    region.write(0, new Uint8Array(1), visible),
    region.write(1, new Uint8Array(1), visible),
    region.write(2, new Uint8Array(1)),
    region.write(3, new Uint8Array(1)),
    region.read(4, 1),
    region.read(5, 1),
    region.write(6, new Uint8Array(1), visible),
    region.write(7, new Uint8Array(80 * 1024), visible),
    region.write(8, new Uint8Array(40 * 1024), visible),
    region.write(9, new Uint8Array(40 * 1024), visible),
  ]
  await settle()
  expect(posts(unit)).toEqual([[0], [1], [2, 3], [4, 5], [6], [7], [8], [9]])
  unit.channel.complete()
  await Promise.all(calls)
  await client.close()
})

test('what becomes durable shares a sync with what comes while two are under way', async () => {
  const { unit, client, region } = await writer()
  const writes: Promise<unknown>[] = []
  for (let at = 0; at < 8; at++) {
    writes.push(region.write(at, new Uint8Array(1)))
    await settle()
  }
  expect(posts(unit)).toEqual([[0], [1]])
  const visibleOne = region.write(8, new Uint8Array(1), visible)
  await settle()
  expect(posts(unit)).toHaveLength(2)
  unit.channel.complete(1)
  await settle()
  expect(posts(unit)).toEqual([[0], [1], [2, 3, 4, 5, 6, 7], [8]])
  unit.channel.complete()
  await Promise.all([...writes, visibleOne])
  await client.close()
})

test('what waits for a sync goes out after a break, and is given up by its signal', async () => {
  const { unit, client, region } = await writer()
  const abort = new AbortController()
  const writes: Promise<unknown>[] = []
  for (let at = 0; at < 4; at++) {
    writes.push(region.write(at, new Uint8Array(1)))
    await settle()
  }
  const given = region.write(4, new Uint8Array(1), { signal: abort.signal })
  await settle()
  abort.abort()
  await expect(given).rejects.toMatchObject({ code: 'ABORTED', outcome: 'none' })
  unit.channel.break()
  await until(() => unit.channels.length === 2 && unit.channel.pending.length === 4)
  expect(posts(unit).slice(2)).toEqual([[0, 1, 2, 3]])
  unit.channel.complete()
  await Promise.all(writes)
  await client.close()
})

test('when one of a group is refused, the others go out by themselves', async () => {
  const { unit, client, region } = await writer()
  const first = region.write(0, new Uint8Array(1), visible)
  unit.refused = ({ offsets }) => (offsets[0] === 2 ? nativeCode.outOfBounds : undefined)
  const writes = [1, 2, 3].map((at) => region.write(at, new Uint8Array(1), visible))
  const settled = Promise.allSettled(writes)
  await settle()
  expect(posts(unit)).toEqual([[0], [1], [3]])
  unit.channel.complete()
  expect((await settled).map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
  await expect(writes[1]).rejects.toMatchObject({ code: 'OUT_OF_BOUNDS' })
  await first
  await client.close()
})

test('a close waits for calls that have not gone out yet', async () => {
  const { unit, client, region } = await writer()
  const writes = [0, 1, 2].map((at) => region.write(at, new Uint8Array(1), visible))
  unit.auto = true
  const closed = region.close()
  unit.channel.complete()
  await Promise.all(writes)
  await closed
  await client.close()
})

/** Deltas: every reader gets the exact bytes, or a coded error; never those of another state. */

import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { Deadline } from '../../src/checkpoint/deadline.js'
import { deltaHeaderBytes, parseDelta } from '../../src/checkpoint/delta/payload.js'
import { Restorer } from '../../src/checkpoint/delta/restore.js'
import { type CheckpointInfo, type CheckpointLog, openLog, openReader } from '../../src/checkpoint/index.js'
import { layoutForReading } from '../../src/checkpoint/layout.js'
import type { RecordHeader } from '../../src/checkpoint/record/header.js'
import { CheckpointError } from '../../src/errors.js'
import { crc32c, MemoryRegion, type MemoryRegionOptions } from './memory-region.js'
import { Random, testSeed } from './random.js'

const kib = 1024

function region(options: Partial<MemoryRegionOptions> = {}): MemoryRegion {
  return new MemoryRegion({ bytes: 1024 * kib, ...options })
}

function same(actual: Uint8Array | undefined, expected: Uint8Array | undefined, what: string): void {
  expect(Buffer.compare(actual ?? Buffer.of(), expected ?? Buffer.of()), what).toBe(0)
}

async function codeOf(call: Promise<unknown>): Promise<string> {
  try {
    await call
  } catch (error) {
    if (error instanceof CheckpointError) return error.code
    throw error
  }
  return 'none'
}

/** Changes a few bytes here and there, sometimes the length, rarely all. */
function edit(state: Uint8Array<ArrayBuffer>, random: Random, most = 40_000): Uint8Array<ArrayBuffer> {
  let next = state.slice()
  if (random.chance(0.1)) {
    const length = random.below(most)
    next = new Uint8Array(length)
    next.set(state.subarray(0, length))
  }
  if (random.chance(0.05)) next.set(random.bytes(next.length))
  for (let edits = random.below(6); edits > 0 && next.length > 0; edits--) {
    const from = random.below(next.length)
    next.set(random.bytes(Math.min(next.length - from, random.length(900))), from)
  }
  return next
}

async function streamed(stream: ReadableStream<Uint8Array>): Promise<Uint8Array> {
  return new Uint8Array(await new Response(stream as unknown as ReadableStream<Uint8Array<ArrayBuffer>>).arrayBuffer())
}

async function checkReaders(memory: MemoryRegion, states: Map<bigint, Uint8Array>, random: Random): Promise<void> {
  const reader = openReader(memory.reader())
  const all = await reader.all()
  for (const { sequence, value, bytes } of all) {
    same(value, states.get(sequence), `all, ${sequence}`)
    expect(bytes).toBe(value.length)
  }
  const listed = ((await reader.list()) as CheckpointInfo[]).map(({ sequence }) => sequence)
  expect(listed).toEqual(all.map(({ sequence }) => sequence))
  const newest = all.at(-1)
  const latest = await reader.latest()
  expect(latest?.sequence).toBe(newest?.sequence)
  same(latest?.value, newest?.value, 'latest')
  for (let count = 0; count < 4 && all.length > 0; count++) {
    const { sequence } = random.pick(all)
    const found = await reader.at(sequence)
    same(found.value, states.get(sequence), `at ${sequence}`)
    found.value.fill(0)
    same(await streamed(reader.stream(sequence)), states.get(sequence), `stream ${sequence}`)
    const rest: bigint[] = []
    for await (const checkpoint of reader.unread(found.cursor)) {
      same(checkpoint.value, states.get(checkpoint.sequence), `unread ${checkpoint.sequence}`)
      // What a reader does with its bytes is its own affair.
      checkpoint.value.fill(0)
      rest.push(checkpoint.sequence)
    }
    expect(rest).toEqual(listed.filter((other) => other > sequence))
  }
}

test.each([
  { name: 'in a large region', kibs: 4096, most: 40_000, appends: 120 },
  { name: 'round and round a small ring', kibs: 200, most: 20_000, appends: 300 },
  { name: 'where hardly more than one state fits', kibs: 100, most: 42_000, appends: 200 },
])('random edits are restored exactly at any sequence, $name', async ({ kibs, most, appends }) => {
  const seed = testSeed()
  console.log(`seed ${seed}`)
  for (let round = 0; round < (process.env.RC_LONG === '1' ? 60 : 2); round++) {
    const random = new Random(seed + round)
    const memory = region({ bytes: kibs * kib })
    const fullEvery = random.pick([1, 2, 5, 16, 1024])
    const log = openLog(memory.owner(), { delta: { fullEvery } })
    const states = new Map<bigint, Uint8Array>()
    await using follow = openReader(memory.reader()).follow()
    let state = random.bytes(random.below(most))
    let written = 0
    for (let count = 1; count <= appends; count++) {
      const appended = log.append(state)
      const taken = state.slice()
      state.fill(0xee)
      const { sequence } = await appended
      states.set(sequence, taken)
      const { value } = await follow.next()
      expect(value?.sequence).toBe(sequence)
      same(value?.value, taken, `RC_SEED=${seed + round}: follow ${sequence}`)
      if (((await log.list()) as CheckpointInfo[]).at(-1)?.baseSequence !== undefined) written++
      state = edit(taken, random, most)
      if (count % 40 === 0) await checkReaders(memory, states, random)
    }
    const infos = (await log.list()) as CheckpointInfo[]
    const deltas = infos.filter(({ baseSequence }) => baseSequence !== undefined)
    // In a small ring none may be left at the end.
    if (fullEvery === 1) expect(written).toBe(0)
    else expect(written).toBeGreaterThan(0)
    for (const { sequence, baseSequence } of deltas) {
      expect(sequence - (baseSequence as bigint)).toBeLessThan(BigInt(fullEvery))
      expect(infos.some((info) => info.sequence === baseSequence && info.baseSequence === undefined)).toBe(true)
    }
  }
})

test('a delta takes what has changed, and a list shows it', async () => {
  const memory = region()
  const log = openLog(memory.owner(), { delta: { fullEvery: 4 } })
  const state = new Random(3).bytes(64 * kib)
  for (let count = 0; count < 6; count++) {
    state[count * 5000] = (state[count * 5000] as number) ^ 1
    await log.append(state)
  }
  const stored = 64 + 16 + 256
  expect(
    ((await log.list()) as CheckpointInfo[]).map(({ bytes, storedBytes, baseSequence }) => [
      bytes,
      storedBytes,
      baseSequence,
    ]),
  ).toEqual([
    [65536, 65536, undefined],
    [65536, stored, 1n],
    [65536, stored, 1n],
    [65536, stored, 1n],
    [65536, 65536, undefined],
    [65536, stored, 5n],
  ])
  state.fill(9)
  await log.append(state)
  expect(((await log.list()) as CheckpointInfo[]).at(-1)).toMatchObject({ storedBytes: 65536 })
  await log.append(state)
  expect(((await log.list()) as CheckpointInfo[]).at(-1)).toMatchObject({ storedBytes: 64, baseSequence: 7n })
})

test('of a state of which 1 % changed in pieces of 4 KiB, at most 1.3 % is stored', async () => {
  const random = new Random(8)
  const memory = region({ bytes: 8 * 1024 * kib })
  const log = openLog(memory.owner(), { delta: { fullEvery: 100 } })
  const state = random.bytes(1600 * kib)
  await log.append(state)
  for (let round = 0; round < 5; round++) {
    for (let piece = 0; piece < 4; piece++) state.set(random.bytes(4096), random.below(state.length - 4096))
    await log.append(state)
    expect(((await log.list()) as CheckpointInfo[]).at(-1)?.storedBytes).toBeLessThanOrEqual(state.length * 0.013)
  }
  same((await log.latest())?.value, state, 'latest')
})

test('deltas are refused where a base could go before what builds on it', () => {
  for (const options of [{ mode: 'overwrite' }, { onFull: 'wait' }, { onFull: 'fail' }] as const) {
    const open = () => openLog(region(options).owner(), { delta: { fullEvery: 4 } })
    expect(open).toThrow(expect.objectContaining({ code: 'REGION_MODE' }))
  }
  for (const fullEvery of [0, 1.5, 1025, Number.NaN]) {
    const open = () => openLog(region().owner(), { delta: { fullEvery } })
    expect(open).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  }
})

test('a clear in the middle of a chain leaves what is behind it restorable', async () => {
  const memory = region()
  const log = openLog(memory.owner(), { delta: { fullEvery: 100 } })
  const state = new Random(4).bytes(30_000)
  const states = new Map<bigint, Uint8Array>()
  for (let count = 0; count < 10; count++) {
    state[count * 1000] = count
    states.set((await log.append(state)).sequence, state.slice())
  }
  await log.clear({ before: 6n })
  expect((await log.all()).map(({ sequence }) => sequence)).toEqual([6n, 7n, 8n, 9n, 10n])
  await checkReaders(memory, states, new Random(1))
  await using follow = openReader(memory.reader()).follow({ from: 'oldest' })
  for (let sequence = 6n; sequence <= 10n; sequence++)
    same((await follow.next()).value?.value, states.get(sequence), '')
  await log.clear()
  await log.append(state)
  expect(((await log.list()) as CheckpointInfo[]).map(({ sequence, storedBytes }) => [sequence, storedBytes])).toEqual([
    [11n, 30_000],
  ])
})

test('a checkpoint whose base the ring has dropped is lapped, whoever asks', async () => {
  const memory = region({ bytes: 64 * kib })
  const log = openLog(memory.owner(), { delta: { fullEvery: 8 } })
  const state = new Random(5).bytes(8000)
  const states = new Map<bigint, Uint8Array>()
  let cuts = 0
  for (let count = 0; count < 100; count++) {
    state[(count * 700) % 8000] = count
    states.set((await log.append(state)).sequence, state.slice())
    const reader = openReader(memory.reader())
    const oldest = ((await reader.list()) as CheckpointInfo[])[0]
    if (oldest === undefined || oldest.sequence < 3n) continue
    expect(oldest.baseSequence).toBeUndefined()
    same((await reader.at(oldest.sequence)).value, states.get(oldest.sequence), 'oldest')
    expect(await codeOf(reader.at(oldest.sequence - 1n))).toBe('CHECKPOINT_LAPPED')
    const before = { region: memory.id, epoch: 1n, sequence: oldest.sequence - 2n }
    const unread = (async () => {
      for await (const { sequence, value } of reader.unread(before)) same(value, states.get(sequence), 'unread')
    })()
    // What is still there may be read on from a cursor.
    expect(['none', 'CHECKPOINT_LAPPED']).toContain(await codeOf(unread))
    cuts++
  }
  expect(cuts).toBeGreaterThan(20)
})

test.each([
  { count: 200, when: 'before' },
  { count: 20, when: 'before' },
  { count: 200, when: 'after' },
  { count: 20, when: 'after' },
])('all has no holes, though $count more are appended right $when it reads its batch', async ({ count, when }) => {
  const memory = region({ bytes: 256 * kib })
  const log = openLog(memory.owner(), { delta: { fullEvery: 5 } })
  const random = new Random(testSeed())
  let state = random.bytes(8 * kib)
  const states = new Map<bigint, Uint8Array>()
  const append = async (times: number) => {
    for (; times > 0; times--) {
      state = state.slice()
      state.set(random.bytes(200), random.below(state.length - 200))
      states.set((await log.append(state)).sequence, state)
    }
  }
  await append(60)
  const access = memory.reader()
  let batches = 0
  const reader = openReader({
    ...access,
    async readInto(ranges, options) {
      const isBatch = ranges.reduce((sum, { bytes }) => sum + bytes.length, 0) > 64 * kib && batches++ === 0
      if (isBatch && when === 'before') await append(count)
      await access.readInto(ranges, options)
      if (isBatch && when === 'after') await append(count)
    },
  })
  const all = await reader.all()
  expect(batches).toBeGreaterThan(0)
  for (const { sequence, value } of all) same(value, states.get(sequence), `checkpoint ${sequence}`)
  const sequences = all.map(({ sequence }) => Number(sequence))
  const first = sequences[0] ?? 0
  expect(sequences).toEqual(sequences.map((_, index) => first + index))
  // Everything was in the batch. Where it was gone before, what there is then is read.
  if (when === 'after') expect(sequences).toHaveLength(60)
  else expect(sequences.at(-1)).toBeGreaterThanOrEqual(60)
  const listed = ((await reader.list()) as CheckpointInfo[]).map(({ sequence }) => Number(sequence))
  expect(listed.at(-1)).toBe(60 + count)
})

test('a base that is damaged is a coded error, for what builds on it too, and what can be restored is given on request', async () => {
  for (const damage of ['header', 'payload'] as const) {
    const memory = region()
    const log = openLog(memory.owner(), { delta: { fullEvery: 100 } })
    const state = new Random(6).bytes(20_000)
    await log.append(state)
    const first = state.slice()
    const before = memory.visible.slice()
    state[5] = 1
    await log.append(state)
    const at = memory.visible.findIndex((byte, index) => index >= 20_000 && byte !== before[index])
    for (let count = 6; count < 9; count++) {
      state[count * 1000] = count
      await log.append(state)
    }
    // The log comes to rest, and says that the last one was acknowledged.
    for (let writes = -1; writes !== memory.writes; await sleep(60)) writes = memory.writes
    const spot = damage === 'header' ? at : at + 128 + 70
    memory.visible[spot] = (memory.visible[spot] as number) ^ 1
    const reader = openReader(memory.reader())
    await expect(reader.latest()).rejects.toMatchObject({
      code: 'CHECKPOINT_DAMAGED',
      details: { from: 2n, newest: 1n },
    })
    const latest = await reader.latest({ beforeDamage: true })
    expect(latest?.sequence).toBe(1n)
    expect(latest?.damaged?.from).toBe(2n)
    same(latest?.value, first, 'latest')
    for (const sequence of [2n, 3n, 5n]) {
      expect(await codeOf(reader.at(sequence))).toBe('CHECKPOINT_DAMAGED')
    }
    // The next owner goes on behind what is whole.
    const next = openLog(memory.owner(), { delta: { fullEvery: 100 } })
    const { sequence } = await next.append(state)
    same((await reader.latest())?.value, state, 'next')
    expect((await reader.latest())?.sequence).toBe(sequence)
  }
})

test.each([true, false])('a write that fails in a chain (and landed: %s) is never a wrong base', async (lands) => {
  const memory = region({ pieceBytes: 500 })
  const log = openLog(memory.owner(), { delta: { fullEvery: 100 } })
  const random = new Random(7)
  const states = new Map<bigint, Uint8Array>()
  const state = random.bytes(10_000)
  for (let round = 0; round < 20; round++) {
    const error = new CheckpointError('CONNECTION_LOST', 'cut', { outcome: 'unknown' })
    memory.failing.set(memory.writes + random.below(5), { error, lands })
    const pending = Array.from({ length: 5 }, () => {
      state[random.below(state.length)] = random.below(256)
      const taken = state.slice()
      return log.append(state).then(
        ({ sequence }) => states.set(sequence, taken),
        (reason: CheckpointError) => {
          expect(['CONNECTION_LOST', 'WRITES_LOST']).toContain(reason.code)
          return undefined
        },
      )
    })
    await Promise.all(pending)
    const { sequence } = await log.append(state)
    states.set(sequence, state.slice())
    same((await log.latest())?.value, state, 'latest')
    for (const checkpoint of await log.all()) {
      const expected = states.get(checkpoint.sequence)
      if (expected !== undefined) same(checkpoint.value, expected, `${checkpoint.sequence}`)
    }
    for (const acknowledged of [...states.keys()].slice(-4)) {
      same((await log.at(acknowledged)).value, states.get(acknowledged), `${acknowledged}`)
    }
  }
})

test('killed and crashed at random moments, the newest durable state is restored, and no other bytes ever', async () => {
  const seed = testSeed()
  console.log(`seed ${seed}`)
  for (let round = 0; round < (process.env.RC_LONG === '1' ? 300 : 6); round++) {
    const random = new Random(seed + round)
    const where = `RC_SEED=${seed + round}`
    const memory = region({
      bytes: random.pick([64, 100, 300]) * kib,
      random,
      pieceBytes: random.pick([64, 500, 4096]),
      blockBytes: random.pick([64, 4096]),
      readPieceBytes: Number.POSITIVE_INFINITY,
    })
    let id = 0
    let durable = 0
    const states = new Map<number, Uint8Array>()
    let state = random.bytes(4 + random.below(12_000))
    const append = (log: CheckpointLog<Uint8Array>) => {
      const mine = ++id
      state = edit(state, random, 12_000)
      if (state.length < 4) state = random.bytes(100)
      new DataView(state.buffer).setUint32(0, mine)
      states.set(mine, state.slice())
      const durability = random.pick(['visible', 'durable'] as const)
      return log.append(state, { durability }).then(
        () => {
          if (durability === 'durable') durable = Math.max(durable, mine)
        },
        (error: unknown) => {
          if (!(error instanceof CheckpointError)) throw error
        },
      )
    }
    for (let life = 0; life < 8; life++) {
      const log = openLog(memory.owner(), { delta: { fullEvery: random.pick([3, 20]) } })
      for (let count = random.below(30); count > 0; count--) {
        const appended = append(log)
        if (random.chance(0.7)) await appended
        if (random.chance(0.03)) {
          memory.crash()
          await append(log)
        }
      }
      for (let turn = random.below(200); turn > 0; turn--) await undefined
      memory.kill()
      for (let turn = 0; turn < 100 && !memory.idle; turn++) await undefined
      if (random.chance(0.5)) memory.crash()
      const reader = openReader(memory.reader())
      const idOf = (value: Uint8Array) => new DataView(value.buffer, value.byteOffset).getUint32(0)
      const all = await reader.all()
      for (const { value } of all) same(value, states.get(idOf(value)), `${where}: all, life ${life}`)
      const latest = await reader.latest()
      const found = latest === undefined ? 0 : idOf(latest.value)
      if (latest !== undefined) same(latest.value, states.get(found), where)
      expect(all.at(-1)?.sequence, where).toBe(latest?.sequence)
      expect(found, `${where}, life ${life}`).toBeGreaterThanOrEqual(durable)
      if (random.chance(0.3) && all.length > 0) {
        const { sequence, value } = random.pick(all)
        same((await reader.at(sequence)).value, value, where)
      }
      state = latest?.value.slice() ?? random.bytes(100)
    }
  }
})

test('what was read before the unit crashed is no base for what is read afterwards', async () => {
  const memory = region()
  const log = openLog(memory.owner(), { delta: { fullEvery: 100 } })
  const state = new Uint8Array(5000)
  for (const mark of [1, 2, 3]) {
    state[mark] = mark
    await log.append(state, { durability: mark === 1 ? 'durable' : 'visible' })
  }
  const access = memory.reader()
  const view = layoutForReading(access)
  const deadline = new Deadline()
  const restorer = new Restorer(access, (sequence, until) => view.find(sequence, until), true)
  const [second, third] = [await view.find(2n, deadline), await view.find(3n, deadline)]
  if (second === undefined || third === undefined) throw new Error('not found')
  expect(await restorer.bytes(second.stored, second.window, deadline)).toBeInstanceOf(Uint8Array)
  memory.crash(0)
  const restored = await restorer.bytes(third.stored, third.window, deadline)
  expect(restored).toEqual({ why: 'base', missing: 2n })
})

test('in a ring that is not full, holes that crashes leave never take what was durable from a reader', async () => {
  const seed = testSeed()
  console.log(`seed ${seed}`)
  let holes = 0
  for (let round = 0; round < (process.env.RC_LONG === '1' ? 2000 : 50); round++) {
    const random = new Random(seed + round)
    const where = `RC_SEED=${seed + round}`
    const memory = region({ bytes: 1024 * kib, random, blockBytes: random.pick([64, 4096]) })
    const durable = new Map<bigint, Uint8Array>()
    let state = random.bytes(200 + random.below(5000))
    for (let life = 1 + random.below(3); life > 0; life--) {
      const log = openLog(memory.owner(), { delta: { fullEvery: random.pick([3, 8, 20]) } })
      for (let crashes = random.below(3); crashes >= 0; crashes--) {
        for (let count = random.below(15); count > 0; count--) {
          if (random.chance(0.1)) state = random.bytes(200 + random.below(5000))
          state[random.below(state.length)] = random.below(256)
          const durability = random.chance(0.2) ? 'durable' : 'visible'
          const taken = state.slice()
          const { sequence } = await log.append(state, { durability })
          if (durability === 'durable') durable.set(sequence, taken)
        }
        memory.crash(random.pick([0, 0.5, 0.9]))
      }
      const reader = openReader(memory.reader())
      const all = await reader.all()
      const found = new Map(all.map(({ sequence, value }) => [sequence, value]))
      const unread: bigint[] = []
      for await (const { sequence } of reader.unread({ region: memory.id, epoch: 0n, sequence: 0n }))
        unread.push(sequence)
      expect(unread, where).toEqual(all.map(({ sequence }) => sequence))
      for (const [sequence, value] of durable) same(found.get(sequence), value, `${where}: ${sequence}`)
      if (all.some(({ sequence }, index) => index > 0 && sequence !== (all[index - 1]?.sequence ?? 0n) + 1n)) holes++
    }
  }
  expect(holes).toBeGreaterThan(10)
})

test.each(['the same', 'the next'])(
  'visible appends of %s owner that go round never cost a durable delta its base',
  async (who) => {
    const seed = testSeed()
    console.log(`seed ${seed}`)
    let chains = 0
    for (let round = 0; round < 300; round++) {
      const random = new Random(seed + round)
      const memory = region({ bytes: 64 * kib, random, blockBytes: random.pick([64, 4096]) })
      let log = openLog(memory.owner(), { delta: { fullEvery: 100 } })
      const state = random.bytes(2000 + random.below(8000))
      for (let count = 1 + random.below(25); count > 0; count--) {
        state[random.below(state.length)] = random.below(256)
        await log.append(state)
      }
      const durable = (await log.latest())?.sequence as bigint
      if (((await log.list()) as CheckpointInfo[]).at(-1)?.baseSequence !== undefined) chains++
      if (who === 'the next') log = openLog(memory.owner(), { delta: { fullEvery: 100 } })
      for (let count = random.below(40); count > 0; count--) {
        await log.append(random.bytes(random.below(6000)), { durability: 'visible' })
      }
      memory.crash(random.pick([0, 0.1, 0.5]))
      const latest = await openReader(memory.reader()).latest()
      expect(latest?.sequence ?? 0n, `RC_SEED=${seed + round}`).toBeGreaterThanOrEqual(durable)
      if (latest?.sequence === durable) same(latest.value, state, `RC_SEED=${seed + round}`)
    }
    expect(chains).toBeGreaterThan(10)
  },
)

describe('hostile payloads', () => {
  const record = { sequence: 9n, epoch: 3n, baseSequence: 4n, totalBytes: 1000 } as unknown as RecordHeader

  function payload(
    fields: Partial<Record<'depth' | 'sequence' | 'epoch' | 'base' | 'total', number | bigint>>,
    ...runs: [number | bigint, number | bigint, number][]
  ) {
    const bytes = new Uint8Array(deltaHeaderBytes + runs.reduce((sum, [, , given]) => sum + 16 + given, 0))
    const view = new DataView(bytes.buffer)
    view.setUint32(0, 0x584b4352, true)
    view.setUint16(4, 1, true)
    view.setUint16(6, 64, true)
    view.setUint32(8, Number(fields.depth ?? 2), true)
    view.setBigUint64(16, BigInt(fields.sequence ?? 8), true)
    view.setBigUint64(24, BigInt(fields.epoch ?? 3), true)
    view.setBigUint64(32, BigInt(fields.base ?? 1000), true)
    view.setBigUint64(40, BigInt(fields.total ?? 1000), true)
    let at = deltaHeaderBytes
    for (const [offset, length, given] of runs) {
      view.setBigUint64(at, BigInt(offset), true)
      view.setBigUint64(at + 8, BigInt(length), true)
      at += 16 + given
    }
    return bytes
  }

  test('what no writer would write is refused, whatever is wrong with it', () => {
    const huge = 2n ** 64n - 1n
    expect(parseDelta(payload({}, [0, 10, 10], [10, 20, 20], [990, 10, 10]), record)?.runs.length).toBe(3)
    expect(parseDelta(payload({ base: 900 }, [900, 100, 100]), record)).toBeDefined()
    expect(parseDelta(payload({ sequence: 4, depth: 1 }), record)).toBeDefined()
    const refused = {
      'its own base': payload({ sequence: 9 }),
      'a base to come': payload({ sequence: 10 }),
      'a base before the full one': payload({ sequence: 3 }),
      'the full one, and more than one step': payload({ sequence: 4, depth: 2 }),
      'one step, and not the full one': payload({ sequence: 8, depth: 1 }),
      'no step': payload({ depth: 0 }),
      'a chain too long': payload({ depth: 1024 }),
      'a base of a later owner': payload({ epoch: 4 }),
      'another length than its record': payload({ total: 1001 }),
      'a huge length': payload({ total: huge }),
      'a huge base': payload({ base: huge }),
      'bytes that nobody wrote': payload({ base: 900 }),
      'a hole behind the base': payload({ base: 900 }, [901, 99, 99]),
      'an end that is missing': payload({ base: 900 }, [900, 99, 99]),
      'a run of nothing': payload({}, [5, 0, 0]),
      'a run past the end': payload({}, [995, 6, 6]),
      'a run at a huge offset': payload({}, [huge, 1, 1]),
      'an offset that overflows': payload({}, [2n ** 53n - 1n, 2n ** 53n - 1n, 1]),
      'a run longer than the payload': payload({}, [0, 11, 10]),
      'a huge run': payload({}, [0, huge, 10]),
      'runs that overlap': payload({}, [0, 10, 10], [9, 5, 5]),
      'runs out of order': payload({}, [100, 10, 10], [0, 5, 5]),
      'half a run': payload({}, [0, 10, 10]).subarray(0, -11),
      'half a header': payload({}).subarray(0, 63),
    }
    for (const [what, bytes] of Object.entries(refused)) expect(parseDelta(bytes, record), what).toBeUndefined()
  })

  test('random bytes in a sound record end in a coded error or in bytes of the right length', async () => {
    const seed = testSeed()
    console.log(`seed ${seed}`)
    const random = new Random(seed)
    const memory = region({ bytes: 128 * kib })
    const log = openLog(memory.owner(), { delta: { fullEvery: 100 } })
    const state = random.bytes(5000)
    await log.append(state)
    const before = memory.visible.slice()
    for (let count = 0; count < 3; count++) {
      state[count * 600] = (state[count * 600] as number) ^ 1
      await log.append(state)
    }
    const at = memory.visible.findIndex((byte, index) => index >= 12_288 && byte !== before[index])
    const image = memory.visible.slice()
    for (let round = 0; round < 250; round++) {
      memory.visible.set(image)
      const header = new DataView(memory.visible.buffer, at, 128)
      const length = Number(header.getBigUint64(88, true))
      for (let count = 1 + random.below(4); count > 0; count--) {
        const spot = random.chance(0.8) ? random.below(deltaHeaderBytes + 16) : random.below(length)
        memory.visible[at + 128 + spot] = random.pick([0, 1, 0x7f, 0xff, random.below(256)])
      }
      header.setUint32(120, crc32c(memory.visible.subarray(at + 128, at + 128 + length)), true)
      header.setUint32(124, crc32c(memory.visible.subarray(at, at + 124)), true)
      const reader = openReader(memory.reader())
      const latest = await reader.latest()
      expect(latest?.value.length).toBe(5000)
      for (const sequence of [2n, 3n, 4n]) {
        try {
          expect((await reader.at(sequence)).value.length).toBe(5000)
        } catch (error) {
          expect(error).toBeInstanceOf(CheckpointError)
        }
      }
    }
  })
})

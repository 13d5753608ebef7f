/**
 * Durable logs of which a bit, a sector or a block is damaged, lost, or an older version of itself. Every reader gives what
 * there was, or names what is damaged; the next owner uses no number again, and the damage stays named behind it.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { geometryOf } from '../../src/checkpoint/geometry.js'
import { type CheckpointLog, type CheckpointReader, openLog, openReader } from '../../src/checkpoint/index.js'
import { closeLogs } from '../../src/checkpoint/log.js'
import { CheckpointError } from '../../src/errors.js'
import type { Cursor } from '../../src/types.js'
import { MemoryRegion } from './memory-region.js'
import { Random, testSeed } from './random.js'

const kib = 1024

/** A log at rest, and what is in it. */
interface Written {
  readonly memory: MemoryRegion
  /** Bytes of the region before each of the last appends, the latest last. */
  readonly earlier: Uint8Array[]
  /** Of all that was appended: a slot, or the ring, may still hold what is not kept any more. */
  readonly appended: ReadonlyMap<bigint, Uint8Array>
  /** Of what is kept. */
  readonly contents: ReadonlyMap<bigint, Uint8Array>
  readonly newest: bigint
}

type Kept = Pick<Written, 'appended' | 'contents' | 'newest'>

/** What readers made of it. */
type Outcome = 'as it was' | 'named'

async function written(
  memory: MemoryRegion,
  append: (log: CheckpointLog<Uint8Array>, count: number) => Promise<{ sequence: bigint }>[],
  rounds: number,
  options: { delta?: { fullEvery: number }; thenClear?: bigint } = {},
): Promise<Written> {
  const log = openLog(memory.owner(), options.delta === undefined ? {} : { delta: options.delta })
  const earlier: Uint8Array[] = []
  const appended = new Map<bigint, Uint8Array>()
  for (let round = 0; round < rounds; round++) {
    if (round >= rounds - 3) earlier.push(memory.visible.slice())
    await Promise.all(append(log, round))
    for (const { sequence, value } of await openReader(memory.reader()).all()) appended.set(sequence, value)
  }
  if (options.thenClear !== undefined) await log.clear({ before: options.thenClear })
  await atRest(memory)
  const all = await openReader(memory.reader()).all()
  const contents = new Map(all.map(({ sequence, value }) => [sequence, value]))
  const newest = all.at(-1)?.sequence ?? 0n
  return { memory, earlier, appended, contents, newest }
}

/** Until the log has written down where it ends. */
async function atRest(memory: MemoryRegion): Promise<void> {
  for (let writes = -1; writes !== memory.writes; await sleep(60)) writes = memory.writes
}

/** Reads all that there is, going on behind what is damaged. */
async function check(memory: MemoryRegion, { appended, contents, newest }: Kept): Promise<Outcome> {
  const reader = openReader(memory.reader())
  const named = new Set<bigint>()
  const range = (error: unknown): { from: bigint; to: bigint; cursor: Cursor } => {
    if (!(error instanceof CheckpointError && error.code === 'CHECKPOINT_DAMAGED')) throw error
    return error.details as { from: bigint; to: bigint; cursor: Cursor }
  }
  let outcome: Outcome = 'as it was'
  try {
    const latest = await reader.latest()
    expect(latest?.sequence ?? 0n).toBe(newest)
    if (latest !== undefined) expect(Buffer.compare(latest.value, contents.get(newest) as Uint8Array)).toBe(0)
    expect(latest?.missing).toBeUndefined()
  } catch (error) {
    const { from, to } = range(error)
    expect(newest).toBeGreaterThanOrEqual(from)
    expect(newest).toBeLessThanOrEqual(to)
    outcome = 'named'
  }
  const given: bigint[] = []
  let cursor: Cursor = { region: memory.id, epoch: 0n, sequence: 0n }
  for (let tries = 0; ; tries++) {
    expect(tries).toBeLessThan(100)
    try {
      for await (const { sequence, value, cursor: behind } of reader.unread(cursor)) {
        given.push(sequence)
        expect(Buffer.compare(value, appended.get(sequence) ?? new Uint8Array(1)), `content of ${sequence}`).toBe(0)
        cursor = behind
      }
      break
    } catch (error) {
      const { from, to, cursor: behind } = range(error)
      for (let sequence = from; sequence <= to; sequence++) named.add(sequence)
      cursor = behind
      outcome = 'named'
    }
  }
  expect(given.toSorted((a, b) => Number(a - b))).toEqual(given)
  const listed = new Set<bigint>()
  for (const info of await reader.list()) {
    const through = info.damaged ? info.through : info.sequence
    for (let { sequence } = info; sequence <= through; sequence++) listed.add(sequence)
  }
  for (const sequence of contents.keys()) {
    expect(given.includes(sequence) || named.has(sequence), `${sequence} is given or named`).toBe(true)
    expect(listed.has(sequence), `${sequence} is listed`).toBe(true)
  }
  return outcome
}

/** What the next owner makes of it. */
async function checkNext(memory: MemoryRegion, { appended, contents, newest }: Kept): Promise<void> {
  const value = new Uint8Array(100).fill(77)
  const { sequence } = await openLog(memory.owner()).append(value)
  expect(sequence).toBeGreaterThan(newest)
  const overwrite = memory.options.mode === 'overwrite'
  // It drops the oldest, perhaps.
  const kept = [...contents].filter(([key]) => !overwrite && key > newest - BigInt(contents.size) / 2n)
  const own = [sequence, value] as const
  const after = { appended: new Map([...appended, own]), contents: new Map([...kept, own]), newest: sequence }
  await check(memory, after)
}

async function each(
  log: Written,
  damages: Iterable<{ what: string; damage: (bytes: Uint8Array) => void }>,
  nextOwnerEvery: number,
): Promise<Map<Outcome, number>> {
  const counts = new Map<Outcome, number>()
  let index = 0
  for (const { what, damage } of damages) {
    const memory = log.memory.copy()
    damage(memory.visible)
    memory.medium.set(memory.visible)
    try {
      const outcome = await check(memory, log)
      counts.set(outcome, (counts.get(outcome) ?? 0) + 1)
      if (index++ % nextOwnerEvery === 0) await checkNext(memory, log)
    } catch (error) {
      console.log(`damage: ${what}`)
      throw error
    }
  }
  return counts
}

function* bits(offsets: Iterable<number>) {
  for (const offset of offsets) {
    for (let bit = 0; bit < 8; bit++) {
      yield {
        what: `bit ${bit} of byte ${offset}`,
        damage: (bytes: Uint8Array) => {
          bytes[offset] = (bytes[offset] as number) ^ (1 << bit)
        },
      }
    }
  }
}

function* blocks({ memory, earlier }: Written, blockBytes: number) {
  for (let from = 0; from < memory.visible.length; from += blockBytes) {
    const to = from + blockBytes
    yield { what: `zeros at ${from} to ${to}`, damage: (bytes: Uint8Array) => bytes.fill(0, from, to) }
    for (const [age, version] of earlier.toReversed().entries()) {
      const before = version.subarray(from, to)
      if (Buffer.compare(before, memory.visible.subarray(from, to)) === 0) continue
      yield {
        what: `${from} to ${to} as it was ${age + 1} appends before`,
        damage: (bytes: Uint8Array) => bytes.set(before, from),
      }
    }
  }
}

function metadataBytes({ memory }: Written): number[] {
  const geometry = geometryOf(memory.options.mode as 'append' | 'overwrite', memory.visible.length)
  const used = geometry.mode === 'append' ? 256 + 64 * (geometry.segments + geometry.marks) : 256
  return geometry.metadata.offsets.flatMap((offset) => Array.from({ length: used }, (_, index) => offset + index))
}

const one = (bytes: number) => (log: CheckpointLog<Uint8Array>, count: number) => [
  log.append(new Uint8Array(bytes + (count % 7) * 20).fill(count + 1)),
]
const state = new Uint8Array(3000)

const logs: Record<string, () => Promise<Written>> = {
  'append, once round the ring': () => written(new MemoryRegion({ bytes: 32 * kib }), one(300), 90),
  'append, not full': () => written(new MemoryRegion({ bytes: 64 * kib }), one(100), 60),
  'append, several under way': () =>
    written(
      new MemoryRegion({ bytes: 32 * kib }),
      (log, count) => Array.from({ length: 8 }, (_, index) => log.append(new Uint8Array(200).fill(8 * count + index))),
      6,
    ),
  'append, cleared in part': () => written(new MemoryRegion({ bytes: 32 * kib }), one(300), 40, { thenClear: 20n }),
  deltas: () =>
    written(
      new MemoryRegion({ bytes: 32 * kib }),
      (log, count) => {
        state[(count * 131) % state.length] = count + 1
        return [log.append(state)]
      },
      20,
      { delta: { fullEvery: 5 } },
    ),
  streams: () =>
    written(
      new MemoryRegion({ bytes: 8192 * kib }),
      (log, count) => {
        async function* chunks() {
          yield new Uint8Array(1_200_000).fill(count + 1)
        }
        return [
          count % 2 === 0
            ? log.append(new Uint8Array(50).fill(count))
            : log.appendStream(chunks(), { bytes: 1_200_000 }),
        ]
      },
      4,
    ),
  overwrite: () => written(new MemoryRegion({ bytes: 32 * kib, mode: 'overwrite' }), one(3000), 5),
  'overwrite, once': () => written(new MemoryRegion({ bytes: 32 * kib, mode: 'overwrite' }), one(3000), 1),
  'overwrite, cleared': () =>
    written(new MemoryRegion({ bytes: 32 * kib, mode: 'overwrite' }), one(3000), 5, { thenClear: 6n }),
}

/** Both copies of one structure, or of several. */
function* structures({ memory }: Written) {
  const geometry = geometryOf(memory.options.mode as 'append' | 'overwrite', memory.visible.length)
  const lose = (what: string, from: number, to: number) => ({
    what: `both copies of ${what} lost`,
    damage: (bytes: Uint8Array) => {
      for (const offset of geometry.metadata.offsets) bytes.fill(0, offset + from, offset + to)
    },
  })
  yield lose('the log header', 0, 128)
  yield lose('the tip', 128, 256)
  if (geometry.mode === 'overwrite') return
  const entries = geometry.segments + geometry.marks
  yield lose('the directory', 256, 256 + 64 * entries)
  for (let index = 0; index < entries; index++) yield lose(`entry ${index}`, 256 + 64 * index, 320 + 64 * index)
  for (let index = 0; index < entries; index++) {
    yield lose(`entries from ${index} on`, 256 + 64 * index, 256 + 64 * entries)
    yield lose(`entries before ${index}`, 256, 256 + 64 * index)
  }
}

/** Offset of a checkpoint's first record header. */
function headerOf({ visible }: MemoryRegion, sequence: bigint): number {
  const bytes = Buffer.from(visible.buffer)
  for (let at = bytes.indexOf('RCKR'); at >= 0; at = bytes.indexOf('RCKR', at + 1)) {
    if (bytes.readBigUInt64LE(at + 56) === sequence) return at
  }
  throw new Error(`no record of ${sequence}`)
}

async function firstDamage(
  reader: CheckpointReader<Uint8Array>,
  how: 'all' | 'unread' | 'list' | 'follow',
  region: string,
): Promise<{ from: bigint; to: bigint; cursor: Cursor }> {
  if (how === 'list') {
    const entry = (await reader.list()).find((info) => info.damaged)
    if (entry?.damaged) return { from: entry.sequence, to: entry.through, cursor: entry.cursor }
    throw new Error('nothing is listed as damaged')
  }
  try {
    if (how === 'all') await reader.all()
    else if (how === 'unread') for await (const _ of reader.unread({ region, epoch: 0n, sequence: 0n }));
    else for await (const _ of reader.follow({ from: 'oldest', signal: AbortSignal.timeout(10_000) }));
  } catch (error) {
    if (error instanceof CheckpointError && error.code === 'CHECKPOINT_DAMAGED') return error.details as never
    throw error
  }
  throw new Error('nothing is named')
}

const long = process.env.RC_LONG === '1'
const text = (counts: Map<Outcome, number>) => [...counts].map(([outcome, count]) => `${count} ${outcome}`).join(', ')

test.each(Object.keys(logs).filter((name) => name !== 'streams'))('%s: bits of the metadata', async (name) => {
  const log = await (logs[name] as () => Promise<Written>)()
  const bytes = metadataBytes(log)
  const random = new Random(testSeed())
  const sampled = long ? bytes : bytes.filter(() => random.chance(0.01))
  const counts = await each(log, bits(sampled), long ? 5 : 7)
  console.log(`${name}: of ${sampled.length * 8} bits of the metadata ${text(counts)}`)
  // The other copy says it.
  expect([...counts.keys()]).toEqual(['as it was'])
})

test.each(Object.keys(logs).filter((name) => name !== 'streams'))('%s: both copies of a structure', async (name) => {
  const log = await (logs[name] as () => Promise<Written>)()
  const counts = await each(log, structures(log), 1)
  console.log(`${name}: of structures of which both copies are lost ${text(counts)}`)
  // Any two of records, directory and tips say it.
  expect([...counts.keys()]).toEqual(['as it was'])
})

test.each(['append', 'overwrite'] as const)(
  '%s: a log of which headers and tips are lost in both copies is damaged, and its clear does not come undone',
  async (mode) => {
    const memory = new MemoryRegion({ bytes: 32 * kib, mode })
    const log = openLog(memory.owner())
    for (let count = 0; count < 5; count++) await log.append(new Uint8Array(300).fill(count))
    await log.clear()
    await atRest(memory)
    const { offsets } = geometryOf(mode, memory.visible.length).metadata
    for (const [what, bytes] of [
      ['headers and tips', 256],
      ['all metadata', 4096],
    ] as const) {
      const damaged = memory.copy()
      for (const offset of offsets) damaged.visible.fill(0, offset, offset + bytes)
      damaged.medium.set(damaged.visible)
      const reader = openReader(damaged.reader())
      const cursor = { region: memory.id, epoch: 0n, sequence: 0n }
      const unread = async () => {
        for await (const { sequence } of reader.unread(cursor)) throw new Error(`${sequence} is back`)
      }
      const follow = async () => {
        const signal = AbortSignal.timeout(10_000)
        for await (const { sequence } of reader.follow({ from: 'oldest', signal }))
          throw new Error(`${sequence} is back`)
      }
      const calls: Promise<unknown>[] = [
        reader.latest(),
        reader.all(),
        reader.list(),
        reader.newest(),
        unread(),
        follow(),
      ]
      calls.push(openLog(damaged.owner()).append(new Uint8Array(1)))
      for (const call of calls) await expect(call, what).rejects.toMatchObject({ code: 'CHECKPOINT_DAMAGED' })
    }
  },
)

/** The newest loses a bit of its payload, in memory and on the medium. */
function damageNewest(memory: MemoryRegion, sequence: bigint): void {
  const at = headerOf(memory, sequence) + 128
  memory.visible[at] = (memory.visible[at] as number) ^ 1
  memory.medium[at] = memory.visible[at] as number
}

test.each(['append', 'overwrite'] as const)('%s: an owner knows at once what it made durable', async (mode) => {
  const memory = new MemoryRegion({ bytes: 32 * kib, mode })
  const log = openLog(memory.owner())
  for (let count = 0; count < 3; count++) await log.append(new Uint8Array(300))
  damageNewest(memory, 3n)
  const damaged = { code: 'CHECKPOINT_DAMAGED', details: { from: 3n, to: 3n, newest: 2n } }
  await expect(log.latest()).rejects.toMatchObject(damaged)
  await expect(log.newest()).rejects.toMatchObject(damaged)
  await expect(log.at(3n)).rejects.toMatchObject(damaged)
})

test.each(['latest', 'newest', 'at', 'all'] as const)(
  '%s() of another process waits until a living owner has said what was durable',
  async (how) => {
    const memory = new MemoryRegion({ bytes: 32 * kib })
    const log = openLog(memory.owner())
    for (let count = 0; count < 3; count++) await log.append(new Uint8Array(300))
    damageNewest(memory, 3n)
    const reader = openReader(memory.reader())
    const read = how === 'at' ? reader.at(3n) : reader[how]()
    await expect(read).rejects.toMatchObject({ code: 'CHECKPOINT_DAMAGED', details: { from: 3n, to: 3n } })
  },
)

test('what was durable is named after a crash that took what was not flushed, once the log has rested or was closed', async () => {
  for (const how of ['rested', 'closed'] as const) {
    const memory = new MemoryRegion({ bytes: 32 * kib })
    const access = memory.owner()
    const log = openLog(access)
    for (let count = 0; count < 3; count++) await log.append(new Uint8Array(300))
    if (how === 'rested') await sleep(1300)
    else await closeLogs(access, new CheckpointError('CLOSED', 'closed'), 1000)
    memory.kill()
    memory.crash(0)
    damageNewest(memory, 3n)
    await expect(openReader(memory.reader()).latest(), how).rejects.toMatchObject({
      code: 'CHECKPOINT_DAMAGED',
      details: { from: 3n, to: 3n },
    })
  }
})

test('an owner that has only looked at the log changes none of its bytes', async () => {
  const memory = new MemoryRegion({ bytes: 32 * kib, durableWhenOpened: true })
  await openLog(memory.owner()).append(new Uint8Array(300))
  memory.kill()
  const before = Buffer.from(memory.copy().visible)
  await openLog(memory.owner()).end()
  await atRest(memory)
  expect(before.equals(memory.copy().visible)).toBe(true)
})

test('the newest of an owner that died before it had said what was durable is named as missing', async () => {
  const memory = new MemoryRegion({ bytes: 32 * kib })
  const log = openLog(memory.owner())
  for (let count = 0; count < 3; count++) await log.append(new Uint8Array(300))
  memory.kill()
  damageNewest(memory, 3n)
  const reader = openReader(memory.reader())
  expect(await reader.latest()).toMatchObject({ sequence: 2n, missing: { from: 3n, to: 3n } })
})

test.each(['visible', 'durable'] as const)('a clear outlives both log headers (%s pool)', async (strongest) => {
  const memory = new MemoryRegion({ bytes: 32 * kib, strongest })
  const log = openLog(memory.owner())
  for (let count = 0; count < 5; count++) await log.append(new Uint8Array(300))
  await log.clear({ before: 4n })
  const zeroed = () => {
    const copy = memory.copy()
    for (const offset of geometryOf('append', copy.visible.length).metadata.offsets)
      copy.visible.fill(0, offset, offset + 128)
    copy.medium.set(copy.visible)
    return copy
  }
  for (let count = 0; count < 3; count++) {
    const first = zeroed()
    const kept = (await openReader(first.reader()).all()).map(({ sequence }) => sequence)
    expect(kept[0]).toBe(4n)
    const { sequence } = await openLog(first.owner()).append(new Uint8Array(1))
    expect((await openReader(first.reader()).all()).map(({ sequence }) => sequence)).toEqual([...kept, sequence])
    // The owner has written both anew.
    const bytes = Buffer.from(first.visible.buffer)
    expect(bytes.toString('latin1', 0, 4)).toBe('RCKL')
    await log.append(new Uint8Array(300))
  }
})

test.each(['all', 'unread', 'list', 'follow'] as const)(
  'the cursor of damage that %s() names leads past it',
  async (how) => {
    const memory = new MemoryRegion({ bytes: 32 * kib })
    await openLog(memory.owner()).append(new Uint8Array(300))
    // The second owner's: a chain of deltas of which the ring has dropped the beginning, streams among them, and what came then.
    const log = openLog(memory.owner(), { delta: { fullEvery: 30 } })
    const bytes = new Uint8Array(1500)
    async function* chunks() {
      yield new Uint8Array(200)
    }
    for (let count = 0; count < 60; count++) {
      if (count % 6 === 3) await log.appendStream(chunks(), { bytes: 200 })
      else await log.append(bytes.fill(count, count * 20, count * 20 + 400))
    }
    await atRest(memory)
    const whole = (await openReader(memory.reader()).all()).map(({ sequence }) => sequence)
    const last = whole.at(-1) as bigint
    for (const lost of whole.slice(0, 10)) {
      const damaged = memory.copy()
      const header = headerOf(damaged, lost)
      damaged.visible[header + 62] = 1
      const reader = openReader(damaged.reader())
      const { from, to, cursor } = await firstDamage(reader, how, memory.id)
      expect([from, to]).toEqual([lost, lost])
      const unread = async function* (at: Cursor) {
        yield* reader.unread(at)
      }
      const follow = async function* (at: Cursor) {
        for await (const checkpoint of reader.follow({ from: at, signal: AbortSignal.timeout(10_000) })) {
          yield checkpoint
          if (checkpoint.sequence === last) return
        }
      }
      for (const read of [unread, follow]) {
        const seen: bigint[] = []
        for (let at = cursor; seen.at(-1) !== last; ) {
          try {
            for await (const { sequence } of read(at)) seen.push(sequence)
          } catch (error) {
            // Deltas that were built on it.
            expect(error, `behind ${lost}`).toMatchObject({ code: 'CHECKPOINT_DAMAGED' })
            const details = (error as CheckpointError).details as { from: bigint; cursor: Cursor }
            seen.push(details.from)
            at = details.cursor
          }
        }
        expect(seen, `behind ${lost}`).toEqual(whole.filter((sequence) => sequence > lost))
      }
    }
  },
  60_000,
)

test('what a new owner found whole is named when it is damaged, though it has not made anything durable itself', async () => {
  const memory = new MemoryRegion({ bytes: 32 * kib, durableWhenOpened: true })
  const first = openLog(memory.owner())
  for (let count = 0; count < 3; count++) await first.append(new Uint8Array(300))
  memory.kill()
  await openLog(memory.owner()).append(new Uint8Array(300), { durability: 'visible' })
  await atRest(memory)
  const header = headerOf(memory, 3n)
  memory.visible[header + 62] = 1
  await expect(openReader(memory.reader()).all()).rejects.toMatchObject({
    code: 'CHECKPOINT_DAMAGED',
    details: { from: 3n, to: 3n },
  })
})

test.each(Object.keys(logs))('%s: blocks lost, and older versions of blocks', async (name) => {
  const log = await (logs[name] as () => Promise<Written>)()
  for (const blockBytes of log.memory.visible.length > 1e6 ? [64 * kib] : [4096, 512]) {
    const large = log.memory.visible.length > 1e6
    const all = [...blocks(log, blockBytes)]
    const every = long ? 1 : large ? 16 : blockBytes < 4096 ? 3 : 1
    const some = all.filter((_, index) => index % every === 0)
    const counts = await each(log, some, long ? 1 : 3)
    console.log(`${name}: of blocks of ${blockBytes} bytes ${text(counts)}`)
  }
})

test.each(Object.keys(logs))('%s: bits anywhere', async (name) => {
  const log = await (logs[name] as () => Promise<Written>)()
  const random = new Random(testSeed())
  const large = log.memory.visible.length > 1e6
  const count = Math.ceil((long ? 2000 : 10) / (large ? 20 : 1))
  const offsets = Array.from({ length: count }, () => random.below(log.memory.visible.length))
  const counts = await each(log, bits(offsets), long ? 1 : 5)
  console.log(`${name}: of ${offsets.length * 8} bits anywhere ${text(counts)}`)
})

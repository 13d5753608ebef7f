/**
 * Writers killed and units crashed at random moments, against a model of what must survive: the newest durable checkpoint and
 * all before it that the policy keeps; never a mixed one, never one that was gone before.
 */
import { expect, test } from 'vitest'
import { appendGeometry, cellsOf } from '../../src/checkpoint/geometry.js'
import { type CheckpointLog, openLog, openReader } from '../../src/checkpoint/index.js'
import { CheckpointError } from '../../src/errors.js'
import { rounds } from '../fault/support/long.js'
import { crc32c, MemoryRegion } from './memory-region.js'
import { Random, testSeed } from './random.js'

interface Issued {
  id: number
  cells: number
  durable: boolean
  /** Cells appended before it, lost ones too. */
  before: number
  sequence?: bigint
  acknowledged?: boolean
  /** It was not there when somebody looked after the writer's or the unit's end. */
  gone?: boolean
  /** It was there, and it or something later was durable: only the ring can take it, and a crash give it back. */
  settled?: boolean
  mayReturn?: boolean
  cleared?: boolean
  /** The unit went when it was not durable yet. */
  atRisk?: boolean
}

const headBytes = 16

/** The number, the length and content that follow from the number. */
function payload(id: number, length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(headBytes + length)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, id)
  view.setUint32(4, length)
  for (let index = headBytes; index < bytes.length; index++) bytes[index] = id * 31 + (index >> 6) * 7
  view.setUint32(8, crc32c(bytes.subarray(headBytes)))
  return bytes
}

function idOf(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  expect(view.getUint32(4)).toBe(bytes.length - headBytes)
  const id = view.getUint32(0)
  expect(Buffer.compare(bytes, payload(id, bytes.length - headBytes))).toBe(0)
  return id
}

class History {
  readonly issued = new Map<number, Issued>()
  readonly random: Random
  readonly memory: MemoryRegion
  #cells = 0
  #last = 0
  #clearedBelow = 0n
  log: CheckpointLog<Uint8Array>

  constructor(random: Random, memory: MemoryRegion) {
    this.random = random
    this.memory = memory
    this.log = openLog(memory.owner())
  }

  append(): Promise<void> {
    const { random, memory } = this
    const length = random.length(random.chance(0.1) ? 7000 : 1500)
    const id = ++this.#last
    const durable = memory.options.strongest === 'durable' && random.chance(0.3)
    const cells = cellsOf(headBytes + length)
    const record: Issued = { id, cells, durable, before: this.#cells }
    this.#cells += cells
    this.issued.set(id, record)
    const bytes = payload(id, length)
    const appended = this.log.append(bytes, { durability: durable ? 'durable' : 'visible' })
    bytes.fill(0xee)
    return appended.then(
      ({ sequence }) => {
        record.sequence = sequence
        record.acknowledged = true
        if (!durable) return
        record.atRisk = false
        for (const earlier of this.issued.values()) {
          if (earlier.id <= id && !earlier.gone && earlier.sequence !== undefined) earlier.settled = true
        }
      },
      (error: unknown) => {
        if (!(error instanceof CheckpointError)) throw error
      },
    )
  }

  crash(): void {
    const issued = [...this.issued.values()]
    const durable = issued.findLastIndex((record) => record.durable && record.acknowledged)
    for (const record of issued.slice(durable + 1)) record.atRisk = true
    // With the newest, the crash may take back what they did to the oldest.
    for (const record of issued) if (record.settled) record.mayReturn = true
    this.memory.crash()
  }

  async clear(): Promise<void> {
    const { random, log } = this
    const kept = await log.list()
    const before = random.chance(0.5) ? random.pick(kept)?.sequence : undefined
    const earlier = [...this.issued.values()]
    await log.clear(before === undefined ? {} : { before })
    if (before === undefined) for (const record of earlier) record.cleared = true
    else if (before > this.#clearedBelow) this.#clearedBelow = before
  }

  async check(): Promise<void> {
    const { memory, issued } = this
    const { area, segmentCells } = appendGeometry(memory.visible.length)
    const reader = openReader(memory.reader())
    const all = await reader.all()
    const latest = await reader.latest()
    expect(latest?.sequence).toBe(all.at(-1)?.sequence)
    const ids = all.map(({ value }) => idOf(value))
    for (const [index, { sequence }] of all.entries()) {
      const record = issued.get(ids[index] as number) as Issued
      expect(record.gone === true && !record.mayReturn, `ghost of ${record.id}`).toBe(false)
      expect(sequence).toBeGreaterThanOrEqual(this.#clearedBelow)
      expect(record.cleared, `cleared ${record.id} came back`).toBeUndefined()
      if (record.sequence !== undefined) expect(sequence).toBe(record.sequence)
      if (index > 0) {
        expect(sequence).toBeGreaterThan(all[index - 1]?.sequence as bigint)
        expect(ids[index]).toBeGreaterThan(ids[index - 1] as number)
      }
      if (this.random.chance(0.1)) expect(idOf((await reader.at(sequence)).value)).toBe(ids[index])
    }
    const acknowledged = [...issued.values()].filter(
      ({ sequence, gone, atRisk }) => sequence !== undefined && !gone && !atRisk,
    )
    const newest = acknowledged.at(-1)
    if (newest !== undefined) {
      for (const record of acknowledged) {
        if (record.id > newest.id || record.cleared || (record.sequence as bigint) < this.#clearedBelow) continue
        // What is reserved for the next is given up, too.
        const reach = this.#cells - record.before + 3 * segmentCells + cellsOf(headBytes + 7000)
        if (reach > area.cells && record !== newest) continue
        expect(ids, `checkpoint ${record.id} is lost, newest kept ${newest.id}`).toContain(record.id)
      }
    }
    const present = new Set(ids)
    for (const record of issued.values()) {
      if (present.has(record.id)) {
        record.sequence ??= all[ids.indexOf(record.id)]?.sequence as bigint
        record.gone = false
        record.mayReturn = false
      } else record.gone = true
      record.atRisk = false
    }
  }
}

test.each(['durable', 'visible'] as const)('killed and crashed at random moments (%s pool)', async (strongest) => {
  const seed = testSeed()
  console.log(`seed ${seed}`)
  // Found: a hole forgotten that only the owner knew of when it learnt what was durable behind it (two), and durable records
  // between two holes that a tip alone named.
  const seeds = Array.from({ length: rounds({ long: 600, ci: 12 }) }, (_, round) => seed + round)
  for (const one of [...seeds, 232, 776746788, 5058]) {
    const random = new Random(one)
    try {
      const memory = new MemoryRegion({
        bytes: random.pick([32, 48, 64, 200]) * 1024,
        strongest,
        random,
        pieceBytes: random.pick([64, 500, 4096]),
        readPieceBytes: Number.POSITIVE_INFINITY,
        blockBytes: random.pick([64, 4096]),
        oneClient: random.chance(0.5),
        durableWhenOpened: strongest === 'durable' && random.chance(0.5),
      })
      const history = new History(random, memory)
      for (let life = 0; life < 12; life++) {
        const appends: Promise<void>[] = []
        const wanted = random.below(60)
        for (let count = 0; count < wanted; count++) {
          const append = history.append()
          appends.push(append)
          if (random.chance(0.6)) await append
          if (random.chance(0.02)) await history.clear()
          if (random.chance(0.1)) for (let turn = random.below(40); turn > 0; turn--) await undefined
          if (strongest === 'durable' && random.chance(0.02)) {
            // The unit goes and comes back under the same owner, who repeats what was under way.
            history.crash()
            await Promise.all(appends)
            await history.check()
          }
        }
        for (let turn = random.below(300); turn > 0; turn--) await undefined
        memory.kill()
        for (let turn = 0; turn < 100 && !memory.idle; turn++) await undefined
        const crashed = strongest === 'durable' && random.chance(0.6)
        if (crashed) history.crash()
        await history.check()
        history.log = openLog(memory.owner())
        if (random.chance(0.7)) {
          await history.append()
          await history.check()
        }
      }
    } catch (error) {
      console.log(`failed with RC_SEED=${one}`)
      throw error
    }
  }
})

test('visible appends that go round the ring never cost the newest durable checkpoint', async () => {
  const seed = testSeed()
  console.log(`seed ${seed}`)
  for (let round = 0; round < 60; round++) {
    const random = new Random(seed + round)
    const memory = new MemoryRegion({ bytes: 32 * 1024, random, blockBytes: random.pick([64, 4096]) })
    const log = openLog(memory.owner())
    await log.append(payload(1, random.length(8000)))
    for (let id = 2 + random.below(20); id > 1; id--) await log.append(payload(id, 3000), { durability: 'visible' })
    await Promise.all(
      Array.from({ length: random.below(20) }, () => {
        return log.append(payload(100, random.length(8000)), { durability: 'visible' })
      }),
    )
    const durable = await log.durableSequence()
    memory.crash(random.pick([0.1, 0.5, 0.9]))
    const latest = await openReader(memory.reader()).latest()
    expect(latest?.sequence ?? 0n, `RC_SEED=${seed + round}`).toBeGreaterThanOrEqual(durable)
    expect(durable).toBeGreaterThanOrEqual(1n)
  }
})

test.each(['drop-oldest', 'fail'] as const)(
  'a segment that lost its entry in a crash is kept as long as any (%s)',
  async (onFull) => {
    const memory = new MemoryRegion({ bytes: 32 * 1024, onFull })
    const { metadata, segments, segmentCells } = appendGeometry(32 * 1024)
    const cells = cellsOf(headBytes + 300)
    const perSegment = segmentCells / cells
    expect(perSegment).toBe(6)
    const first = openLog(memory.owner())
    for (let id = 1; id <= 4 * perSegment; id++) await first.append(payload(id, 300))
    for (const bytes of [memory.visible, memory.medium]) {
      for (const copy of metadata.offsets) bytes.fill(0, copy + 256 + 64, copy + 256 + 2 * 64)
    }
    const second = openLog(memory.owner())
    // Round the ring, into the place of the first segment, by whose entry the second was found.
    for (let id = 4 * perSegment + 1; id <= segments * perSegment; id++) await second.append(payload(id, 300))
    const more = second.append(payload(segments * perSegment + 1, 300))
    if (onFull === 'fail') {
      await expect(more).rejects.toMatchObject({ code: 'REGION_FULL' })
      await second.clear({ before: BigInt(perSegment + 1) })
      await second.append(payload(segments * perSegment + 1, 300))
      for (let id = 2; id <= perSegment; id++) await second.append(payload(segments * perSegment + id, 300))
      // The second segment is in use, though nothing in the directory had said so.
      await expect(second.append(payload(1000, 300))).rejects.toMatchObject({ code: 'REGION_FULL' })
    } else await more
    const ids = (await openReader(memory.reader()).all()).map(({ value }) => idOf(value))
    // What is reserved for the next append is dropped, too.
    expect(ids[0]).toBe((onFull === 'fail' ? 1 : 2) * perSegment + 1)
  },
)

test('a stream that its writer did not live to end is no checkpoint, and the next owner goes on before it', async () => {
  const seed = testSeed()
  console.log(`seed ${seed}`)
  for (let round = 0; round < 20; round++) {
    const random = new Random(seed + round)
    const mode = random.pick(['append', 'overwrite'] as const)
    const memory = new MemoryRegion({ bytes: 12 * 1024 * 1024, mode, random, pieceBytes: 50_000 })
    const log = openLog(memory.owner())
    await log.append(payload(1, 200))
    const whole = payload(2, 3_300_000)
    async function* chunks() {
      for (let from = 0; from < whole.length; from += 400_000) yield whole.slice(from, from + 400_000)
    }
    let acknowledged = false
    // A failure reaches nobody: the writer is dead by then.
    void log.appendStream(chunks(), { bytes: whole.length }).then(
      () => {
        acknowledged = true
      },
      () => undefined,
    )
    for (let turn = random.below(300); turn > 0; turn--) await undefined
    memory.kill()
    for (let turn = 0; turn < 100 && !memory.idle; turn++) await undefined
    if (random.chance(0.5)) memory.crash()
    const reader = openReader(memory.reader())
    const found = idOf((await reader.latest())?.value ?? new Uint8Array())
    expect(found, `RC_SEED=${seed + round}`).toBeGreaterThanOrEqual(acknowledged ? 2 : 1)
    const next = openLog(memory.owner())
    const { sequence } = await next.append(payload(3, 50))
    expect(sequence).toBeGreaterThan(BigInt(found))
    expect(idOf((await reader.latest())?.value ?? new Uint8Array())).toBe(3)
    if (mode === 'append') {
      expect((await reader.all()).map(({ value }) => idOf(value))).toEqual(found === 2 ? [1, 2, 3] : [1, 3])
    }
  }
})

test('a write torn at any cut leaves the checkpoint before it, and the next one', async () => {
  for (const mode of ['append', 'overwrite'] as const) {
    for (let cut = 0; cut <= 128 + 300; cut += cut < 128 ? 1 : 5) {
      const memory = new MemoryRegion({ bytes: 32 * 1024, mode })
      const log = openLog(memory.owner())
      await log.append(payload(1, 200))
      const before = memory.visible.slice()
      await log.append(payload(2, 284))
      const after = memory.visible.slice()
      const differing = [...after.keys()].filter((index) => after[index] !== before[index])
      memory.visible.set(before)
      for (const index of differing.slice(0, Math.ceil((differing.length * cut) / (128 + 300)))) {
        memory.visible[index] = after[index] as number
      }
      const whole = cut === 128 + 300
      const reader = openReader(memory.reader())
      const found = idOf((await reader.latest())?.value ?? new Uint8Array())
      expect([1, 2]).toContain(found)
      if (whole) expect(found).toBe(2)
      const next = openLog(memory.owner())
      await next.append(payload(3, 50))
      expect(idOf((await reader.latest())?.value ?? new Uint8Array())).toBe(3)
      if (mode === 'append') {
        const ids = (await reader.all()).map(({ value }) => idOf(value))
        expect(ids).toEqual(found === 2 ? [1, 2, 3] : [1, 3])
      }
    }
  }
})

test('overwrite: the last complete checkpoint outlives kills and crashes', async () => {
  const seed = testSeed()
  console.log(`seed ${seed}`)
  for (let round = 0; round < 60; round++) {
    const random = new Random(seed + round)
    const memory = new MemoryRegion({
      bytes: 32 * 1024,
      mode: 'overwrite',
      random,
      pieceBytes: random.pick([64, 500]),
      blockBytes: random.pick([64, 4096]),
    })
    let id = 0
    let durable = 0
    let acknowledged = 0
    for (let life = 0; life < 15; life++) {
      const log = openLog(memory.owner())
      for (let count = random.below(20); count > 0; count--) {
        const mine = ++id
        const asked = random.pick(['visible', 'durable'] as const)
        const pending = log.append(payload(mine, random.length(11_000)), { durability: asked }).then(() => {
          acknowledged = mine
          if (asked === 'durable') durable = mine
        })
        if (random.chance(0.7)) await pending
      }
      for (let turn = random.below(100); turn > 0; turn--) await undefined
      memory.kill()
      for (let turn = 0; turn < 100 && !memory.idle; turn++) await undefined
      const crashed = random.chance(0.5)
      if (crashed) memory.crash()
      const latest = await openReader(memory.reader()).latest()
      const found = latest === undefined ? 0 : idOf(latest.value)
      expect(found, `RC_SEED=${seed + round}`).toBeGreaterThanOrEqual(crashed ? durable : acknowledged)
      expect(found).toBeLessThanOrEqual(id)
      acknowledged = found
    }
  }
})

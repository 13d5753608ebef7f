import { describe, expect, it } from 'vitest'
import { eventsKept, firstRevision, type LoggedEvent, RegionEventLog } from '../../src/unit/event-log.js'
import { Random, testSeed } from './random.js'

const standing = () => ({ type: 'opened', epoch: 7n }) as const

async function take(log: RegionEventLog, since: bigint | undefined, count: number): Promise<LoggedEvent[]> {
  const stop = new AbortController()
  const taken: LoggedEvent[] = []
  for await (const event of log.watch('r', since, standing, stop.signal)) {
    if (taken.push(event) === count) break
  }
  return taken
}

describe('revisions', () => {
  it('grow over restarts of pools in files and in memory, whatever happened in between', () => {
    const now = 1_764_032_000_000n
    for (const [earlier, later] of [[1n, 2n] as const, [now, now + 1n] as const]) {
      const log = new RegionEventLog(earlier)
      for (let i = 0; i < 1000; i++) log.add('r', 'opened', BigInt(i))
      expect(firstRevision(later)).toBeGreaterThan(firstRevision(earlier) + 1000n)
    }
    expect(firstRevision((1n << 42n) - 1n)).toBeLessThan(1n << 64n)
  })
})

describe('a watch', () => {
  it('without a revision begins with how the region stands, and goes on with what happens', async () => {
    const log = new RegionEventLog(1n)
    log.add('r', 'created', 0n)
    const both = take(log, undefined, 2)
    await new Promise((resolve) => setImmediate(resolve))
    log.add('other', 'created', 0n)
    log.add('r', 'owner-lost', 7n)
    expect(await both).toMatchObject([
      { type: 'opened', epoch: 7n, snapshot: true },
      { type: 'owner-lost', epoch: 7n, snapshot: false },
    ])
  })

  it('goes on after any revision without a gap or a duplicate', async () => {
    const seed = testSeed()
    console.log(`seed ${seed}`)
    const random = new Random(seed)
    const log = new RegionEventLog(3n)
    const added: bigint[] = []
    for (let i = 0; i < eventsKept; i++) {
      if (random.chance(0.3)) log.add('another', 'opened', 1n)
      log.add('r', 'taken-over', BigInt(i))
    }
    const all = await take(log, firstRevision(3n), eventsKept)
    for (const { revision } of all) added.push(revision)
    for (let i = 0; i < 20; i++) {
      const at = random.below(eventsKept - 1)
      const rest = await take(log, added[at], eventsKept - 1 - at)
      expect(
        rest.map(({ revision }) => revision),
        `seed ${seed}`,
      ).toEqual(added.slice(at + 1))
    }
  })

  it('is told by a snapshot that events after its revision are not kept any more', async () => {
    const log = new RegionEventLog(1n)
    for (let i = 0; i <= eventsKept; i++) log.add('r', 'taken-over', BigInt(i))
    const [event] = await take(log, firstRevision(1n), 1)
    expect(event).toMatchObject({ snapshot: true, epoch: 7n })
    expect(event?.revision).toBe(firstRevision(1n) + BigInt(eventsKept) + 1n)
    // After a restart of the unit, as well.
    expect(await take(new RegionEventLog(2n), event?.revision, 1)).toMatchObject([{ snapshot: true }])
  })

  it('of a name that was forgotten begins with a snapshot', async () => {
    const log = new RegionEventLog(1n)
    log.add('r', 'created', 0n)
    log.add('r', 'deleted', 0n)
    for (let i = 0; i < 1100; i++) {
      log.add(`gone ${i}`, 'created', 0n)
      log.add(`gone ${i}`, 'deleted', 0n)
    }
    expect(await take(log, firstRevision(1n), 1)).toMatchObject([{ snapshot: true }])
  })

  it('ends when it is aborted, and with UNIT_STOPPING when the log is closed', async () => {
    const log = new RegionEventLog(1n)
    const stop = new AbortController()
    const ended = (async () => {
      for await (const _ of log.watch('r', firstRevision(1n), standing, stop.signal));
    })()
    stop.abort()
    await ended
    const closed = take(log, firstRevision(1n), 1)
    log.close()
    await expect(closed).rejects.toMatchObject({ code: 'UNIT_STOPPING' })
  })
})

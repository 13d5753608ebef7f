// What a writer appended to a log over the lives of a unit, and what must still be readable of it after each death.
import { setTimeout as sleep } from 'node:timers/promises'
import { CheckpointError, type Client, type Region } from '../../../src/index.js'
import { checkOrder, payloadOf } from './payload.mjs'
import type { Random } from './random.mjs'

export interface LogPlan {
  name: string
  mode: 'append' | 'overwrite'
  bytes: number
  maxBytes: number
  /** Share of the appends that ask for no more than visible. */
  visibleShare: number
}

interface Appended {
  round: number
  number: number
  bytes: number
  durable: boolean
  /** Unknown until it was acknowledged or found. */
  sequence?: bigint
}

/** More than a record's header and padding take. */
const recordOverheadBytes = 512
/** A restarted unit gives the owner it remembers a full lease; a short one keeps the test short. */
const lease = { silenceMs: 200 }

export class LogHistory {
  readonly plan: LogPlan
  readonly #seed: number
  /** In the order of appending; without what was lost by right. */
  #appended: Appended[] = []
  acknowledged = 0

  constructor(plan: LogPlan, seed: number) {
    this.plan = plan
    this.#seed = seed
  }

  async create(client: Client): Promise<void> {
    const { name, bytes, mode } = this.plan
    const region = await client.createRegion(name, { bytes, mode, lease })
    await region.close()
  }

  /** Appends until the unit is gone (a call fails) or it is told to stop. */
  async write(client: Client, round: number, random: Random, stop: AbortSignal, onOpen: () => void): Promise<void> {
    const { name, maxBytes, visibleShare } = this.plan
    const region = await openForWriting(client, name, stop)
    const log = region.log()
    onOpen()
    for (let number = 1; !stop.aborted; number++) {
      const bytes = payloadOf(this.#seed, round, number, maxBytes)
      const appended: Appended = { round, number, bytes: bytes.length, durable: false }
      this.#appended.push(appended)
      const durability = random.chance(visibleShare) ? 'visible' : 'durable'
      const saved = await log.append(bytes, { durability, signal: stop, timeoutMs: 5_000 })
      appended.sequence = saved.sequence
      appended.durable = saved.durability === 'durable'
      if (durability === 'durable' && !appended.durable) throw new Error(`${name}: durable was asked, and not kept`)
      this.acknowledged++
    }
  }

  /** Compares what is there with what must be there. Returns the differences in words. */
  async check(client: Client): Promise<string[]> {
    const { name, mode, maxBytes } = this.plan
    let found: ReturnType<typeof checkOrder>
    try {
      const region = await client.openRegion(name)
      const checkpoints = region.checkpoints()
      const all = await checkpoints.all()
      const latest = await checkpoints.latest()
      await region.close()
      if (latest?.sequence !== all.at(-1)?.sequence) return [`${name}: the latest is not the last of all`]
      found = checkOrder(all, this.#seed, maxBytes, mode === 'append')
    } catch (error) {
      return [`${name}: does not read: ${error}`]
    }
    const there = new Map(found.map((checkpoint) => [keyOf(checkpoint), checkpoint]))
    const wrong: string[] = []
    const stale = this.#isStale(found.at(-1)?.sequence ?? 0n)
    if (stale) wrong.push(`${name}: ${describe(stale)} is gone, and no newer one is there`)
    for (const expected of this.#mustBeThere(found.at(-1)?.sequence ?? 0n)) {
      const checkpoint = there.get(keyOf(expected))
      if (!checkpoint) {
        const kept = found.map(({ sequence }) => sequence)
        wrong.push(`${name}: ${describe(expected)} is gone; kept is ${kept[0]} to ${kept.at(-1)}`)
      } else if (checkpoint.sequence !== expected.sequence) {
        wrong.push(`${name}: ${describe(expected)} is now ${checkpoint.sequence}`)
      }
    }
    this.#settle(there)
    return wrong
  }

  /** Of the newest durable checkpoint on there always is one; a newer one is there only by having become durable, too. */
  #isStale(newest: bigint): Appended | undefined {
    const durable = this.#appended.findLast((appended) => appended.durable)
    return durable?.sequence !== undefined && newest < durable.sequence ? durable : undefined
  }

  /**
   * The newest durable checkpoint and those before it, as far as the log has room for them beside everything that was
   * appended later, acknowledged or not. (A ring that goes round with visible appends alone makes a later one durable
   * before it drops the newest durable one.)
   */
  *#mustBeThere(newest: bigint): Generator<Appended> {
    const durable = this.#appended.findLastIndex((appended) => appended.durable)
    const newestDurable = this.#appended[durable]
    if (!newestDurable) return
    if (this.plan.mode === 'overwrite') {
      // A later one that survived by luck may have replaced it.
      if (newest <= (newestDurable.sequence ?? 0n)) yield newestDurable
      return
    }
    // Besides the metadata, a segment or two, and what is reserved for the next: as much as that takes, or a sixteenth.
    const blocks = 4 * 4096
    let room = (this.plan.bytes * 15) / 16 - blocks - 3 * (this.plan.maxBytes + recordOverheadBytes)
    for (let index = this.#appended.length - 1; index >= 0; index--) {
      const appended = this.#appended[index]
      if (!appended) return
      room -= appended.bytes + recordOverheadBytes
      if (room < 0) return
      if (index <= durable && appended.sequence !== undefined) yield appended
    }
  }

  /**
   * After a restart, and after the check: what is there stays, and what is not is lost for good. That goes for older durable ones,
   * too: visible appends that the crash took had gone round over them, so that nothing of those appends counts next time.
   */
  #settle(there: Map<string, { sequence: bigint }>): void {
    const durable = this.#appended.findLastIndex((appended) => appended.durable)
    this.#appended = this.#appended.filter((appended, index) => {
      const checkpoint = there.get(keyOf(appended))
      if (checkpoint) appended.sequence = checkpoint.sequence
      return index === durable || checkpoint !== undefined
    })
    // Older ones the ring has long dropped.
    this.#appended = this.#appended.slice(-20_000)
  }
}

function keyOf({ round, number }: { round: number; number: number }): string {
  return `${round}/${number}`
}

function describe({ sequence, round, number, durable }: Appended): string {
  return `${sequence} (round ${round}, number ${number}, ${durable ? 'durable' : 'visible'})`
}

async function openForWriting(client: Client, name: string, stop: AbortSignal): Promise<Region> {
  for (;;) {
    try {
      return await client.openRegion(name, { mode: 'write', lease, signal: stop })
    } catch (error) {
      if (!(error instanceof CheckpointError) || error.code !== 'REGION_BUSY' || stop.aborted) throw error
      await sleep(10)
    }
  }
}

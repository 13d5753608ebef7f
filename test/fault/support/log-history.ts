// What a writer appended to a log over the lives of a unit, and what must still be readable of it after each death.
import { setTimeout as sleep } from 'node:timers/promises'
import { CheckpointError, type Client, type Region, type RegionReader } from '../../../src/index.js'
import type { Durability } from '../../../src/types.js'
import { payloadOf, roundOf, whatIsWrong } from './payload.mjs'
import type { Random } from './random.mjs'

export interface LogPlan {
  name: string
  mode: 'append' | 'overwrite'
  bytes: number
  maxBytes: number
  /** Share of the appends that ask for no more than visible. */
  visibleShare: number
}

/** More than a record's header and padding take. */
const recordOverheadBytes = 512

export class LogHistory {
  readonly plan: LogPlan
  readonly #seed: number
  /** The newest sequence that was acknowledged as durable, and the round that wrote it. */
  #durable = { sequence: 0n, round: 0 }
  /** What was appended, acknowledged or not: sequence, the round that wrote it last, bytes. */
  readonly #appended = new Map<bigint, { round: number; bytes: number }>()
  acknowledged = 0

  constructor(plan: LogPlan, seed: number) {
    this.plan = plan
    this.#seed = seed
  }

  get newestDurable(): bigint {
    return this.#durable.sequence
  }

  async create(client: Client): Promise<void> {
    const { name, bytes, mode } = this.plan
    // A restarted unit gives the owner it remembers a full lease; a short one keeps the test short.
    const region = await client.createRegion(name, { bytes, mode, lease: { silenceMs: 200 } })
    await region.close()
  }

  /** Appends until the unit is gone (a call fails) or it is told to stop. */
  async write(client: Client, round: number, random: Random, stop: AbortSignal, onOpen: () => void): Promise<void> {
    const { name, maxBytes, visibleShare } = this.plan
    const region = await openForWriting(client, name, stop)
    const log = region.log()
    onOpen()
    let next = ((await log.latest({ signal: stop }))?.sequence ?? 0n) + 1n
    while (!stop.aborted) {
      const sequence = next++
      const bytes = payloadOf(this.#seed, round, sequence, maxBytes)
      const durability: Durability = random.chance(visibleShare) ? 'visible' : 'durable'
      this.#appended.set(sequence, { round, bytes: bytes.length })
      const saved = await log.append(bytes, { durability, signal: stop, timeoutMs: 5_000 })
      if (saved.sequence !== sequence) throw new Error(`${name}: appended as ${sequence}, saved as ${saved.sequence}`)
      this.acknowledged++
      if (saved.durability === 'durable') this.#durable = { sequence, round }
    }
  }

  /** Compares what is there with what must be there. Returns the differences in words. */
  async check(client: Client): Promise<string[]> {
    const wrong: string[] = []
    let region: RegionReader
    try {
      region = await client.openRegion(this.plan.name)
    } catch (error) {
      return [`${this.plan.name}: does not open: ${error}`]
    }
    try {
      const all = await region.checkpoints().all()
      const found = new Map(all.map((checkpoint) => [checkpoint.sequence, checkpoint]))
      for (const checkpoint of all) {
        const fault = whatIsWrong(checkpoint, this.#seed, this.plan.maxBytes)
        if (fault) wrong.push(`${this.plan.name}: ${fault}`)
      }
      for (const [index, checkpoint] of all.entries()) {
        const before = all[index - 1]
        if (before && checkpoint.sequence !== before.sequence + 1n) {
          wrong.push(`${this.plan.name}: ${checkpoint.sequence} follows ${before.sequence}`)
        }
      }
      for (const sequence of this.#mustBeThere(all.at(-1)?.sequence ?? 0n)) {
        const checkpoint = found.get(sequence)
        const rounds = { expected: this.#roundOf(sequence), found: checkpoint && roundOf(checkpoint.value) }
        if (!checkpoint) wrong.push(`${this.plan.name}: ${sequence} is gone; ${this.#durable.sequence} was durable`)
        else if (rounds.expected !== rounds.found) {
          wrong.push(`${this.plan.name}: ${sequence} is of round ${rounds.found} in place of ${rounds.expected}`)
        }
      }
    } catch (error) {
      wrong.push(`${this.plan.name}: does not read: ${error}`)
    } finally {
      await region.close()
    }
    return wrong
  }

  #roundOf(sequence: bigint): number | undefined {
    return sequence === this.#durable.sequence ? this.#durable.round : this.#appended.get(sequence)?.round
  }

  /**
   * The newest durable checkpoint always; in a log also those before it that the ring has room for beside everything
   * that was appended later, acknowledged or not.
   */
  *#mustBeThere(newest: bigint): Generator<bigint> {
    const { sequence: durable } = this.#durable
    if (durable === 0n) return
    if (this.plan.mode === 'overwrite') {
      // A later one that survived by luck replaces it.
      if (newest <= durable) yield durable
      return
    }
    yield durable
    let room = this.plan.bytes - 2 * (this.plan.maxBytes + recordOverheadBytes)
    for (const [sequence, { bytes }] of [...this.#appended].sort(([a], [b]) => (a < b ? 1 : -1))) {
      room -= bytes + recordOverheadBytes
      if (room < 0) return
      if (sequence < durable) yield sequence
    }
  }

  /** After a restart: what was only visible is gone or not, but the sequences that are written next replace it. */
  forgetBeyond(newest: bigint): void {
    for (const sequence of this.#appended.keys()) if (sequence > newest) this.#appended.delete(sequence)
  }
}

async function openForWriting(client: Client, name: string, stop: AbortSignal): Promise<Region> {
  for (;;) {
    try {
      return await client.openRegion(name, { mode: 'write', lease: { silenceMs: 200 }, signal: stop })
    } catch (error) {
      if (!(error instanceof CheckpointError) || error.code !== 'REGION_BUSY' || stop.aborted) throw error
      await sleep(10)
    }
  }
}

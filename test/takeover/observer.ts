/** Reads a region while others contend for it, and records what it finds. The unit may be away meanwhile. */
import { setTimeout as sleep } from 'node:timers/promises'
import { CheckpointError, type Client, connect, type RegionOptions, type RegionReader } from '../../src/index.js'
import { within } from '../fault/support/unit-process.js'
import { foundOf, hashOf, now, type Recorder } from './support/recorder.mjs'

export class Observer {
  /** Makes the region, and begins to look at its newest checkpoint over and over. */
  static async start(
    unit: string,
    name: string,
    region: RegionOptions,
    recorder: Recorder,
    patienceMs: number,
  ): Promise<Observer> {
    const client = await connect(unit, { retryMs: patienceMs, timeoutMs: patienceMs })
    await (await client.createRegion(name, region)).close()
    return new Observer(client, await client.openRegion(name), recorder, patienceMs, region.mode !== 'overwrite')
  }

  /** Why it looks no more, if it should. */
  failure: unknown
  readonly #over = new AbortController()
  readonly #looking: Promise<void>

  private constructor(
    readonly client: Client,
    readonly reader: RegionReader,
    readonly recorder: Recorder,
    readonly patienceMs: number,
    readonly keepsAll: boolean,
  ) {
    this.#looking = this.#look().catch((error: unknown) => {
      this.failure = error
    })
  }

  /** Every byte of the region. */
  async snapshot(): Promise<void> {
    const began = now()
    const bytes = await this.reader.read(0, Number(this.reader.size), { timeoutMs: this.patienceMs })
    this.recorder.add({ type: 'snapshot', began, hash: hashOf(bytes) })
  }

  /** All that is kept; of two slots that is no more than the newest, which is looked at anyway. */
  async readAll(): Promise<void> {
    if (!this.keepsAll) return
    const { began, found } = await this.#read((options) => this.reader.checkpoints().all(options))
    this.recorder.add({ type: 'read', began, records: found.map(foundOf) })
  }

  /** Nobody writes any more: looks once more, and ends. */
  async finish(): Promise<void> {
    this.#over.abort()
    await this.#looking
    if (this.failure !== undefined) throw this.failure
    await this.readAll()
    await this.#readLatest()
  }

  async close(): Promise<void> {
    this.#over.abort()
    await within(this.client.close({ timeoutMs: 1000 }), 20_000, 'closing the client').catch(() => {})
  }

  async #look(): Promise<void> {
    for (; !this.#over.signal.aborted; await sleep(5)) await this.#readLatest()
  }

  async #readLatest(): Promise<void> {
    const { began, found } = await this.#read((options) => this.reader.checkpoints().latest(options))
    this.recorder.add({ type: 'latest', began, found: found ? foundOf(found) : null })
  }

  async #read<T>(read: (options: { timeoutMs: number }) => Promise<T>): Promise<{ began: number; found: T }> {
    for (;;) {
      const began = now()
      try {
        return { began, found: await read({ timeoutMs: this.patienceMs }) }
      } catch (error) {
        if (!(error instanceof CheckpointError) || !error.retryable) throw error
        await sleep(50)
      }
    }
  }
}

/** A standby that follows: reads the region over and over, so that a takeover need not read the whole state. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Checkpoint, Codec } from '../checkpoint/index.js'
import type { Client } from '../client/client.js'
import { CheckpointError, type ErrorCode } from '../errors.js'
import { followed } from './following.js'

export interface StandbyContext<T> {
  region: string
  codec: Codec<T> | undefined
  /** Between two looks at the newest; undefined: every checkpoint is followed. */
  everyMs: number | undefined
  onCheckpoint(checkpoint: Checkpoint<T>): void
  onError(error: unknown): void
}

const retryMs = 200
/** Nothing that another try could mend; the state is read at the takeover, or the failure met again there. */
const final: ReadonlySet<ErrorCode> = new Set(['CODEC_MISMATCH', 'REGION_MODE', 'NOT_SUPPORTED', 'CLOSED'])

export class Standby<T> {
  #last: Checkpoint<T> | undefined
  readonly #stop = new AbortController()

  /** Goes on behind what is known already. */
  constructor(client: Client, context: StandbyContext<T>, known: Checkpoint<T> | undefined) {
    this.#last = known
    void this.#run(client, context)
  }

  /** What it had read last. Nothing is told any more; nobody waits for what is under way. */
  stop(): Checkpoint<T> | undefined {
    this.#stop.abort()
    return this.#last
  }

  /** Never rejects. */
  async #run(client: Client, context: StandbyContext<T>): Promise<void> {
    const { signal } = this.#stop
    while (!signal.aborted) {
      try {
        await this.#follow(client, context)
      } catch (error) {
        if (signal.aborted) return
        context.onError(error)
        if (!(error instanceof CheckpointError) || final.has(error.code)) return
        // Another instance of the region under its name: what was read is of the one that was deleted.
        if (error.code === 'CURSOR_INVALID' || error.code === 'REGION_NOT_FOUND') this.#last = undefined
      }
      await sleep(retryMs, undefined, { signal }).catch(() => undefined)
    }
  }

  async #follow(client: Client, { region: name, codec, onCheckpoint, everyMs }: StandbyContext<T>): Promise<void> {
    const { signal } = this.#stop
    const region = await client.openRegion(name, { signal })
    try {
      const reader = region.checkpoints(codec === undefined ? {} : { codec })
      for await (const checkpoint of followed(reader, this.#last, { everyMs, signal })) {
        if (signal.aborted) return
        this.#last = checkpoint
        onCheckpoint(checkpoint)
      }
    } finally {
      // Whoever takes over does not wait for it.
      region.close().catch(() => undefined)
    }
  }
}

/** A standby that follows: keeps reading the region, so that a takeover need not read the whole state. */
import { pause } from '../call/timer.js'
import type { Checkpoint, Codec } from '../checkpoint/index.js'
import type { Client } from '../client/client.js'
import { CheckpointError, type ErrorCode } from '../errors.js'
import { followed, isDamage } from './following.js'
import type { Troubles } from './troubles.js'

export interface StandbyContext<T> {
  region: string
  codec: Codec<T> | undefined
  /** Milliseconds between two polls for the newest; undefined: every checkpoint is followed. */
  everyMs: number | undefined
  onCheckpoint(checkpoint: Checkpoint<T>): void
  /** Told of what is tried again. */
  troubles: Troubles
}

const retryMs = 200
/** What is damaged most often stays so until somebody appends or clears. */
const damagedRetryMs = 2_000
/** Errors that another attempt cannot fix. The takeover reads the state, or meets the error again. */
const final: ReadonlySet<ErrorCode> = new Set(['CODEC_MISMATCH', 'REGION_MODE', 'NOT_SUPPORTED', 'CLOSED'])

export class Standby<T> {
  #last: Checkpoint<T> | undefined
  readonly #stop = new AbortController()

  /** @param known the last checkpoint that was read already; following continues behind it */
  constructor(client: Client, context: StandbyContext<T>, known: Checkpoint<T> | undefined) {
    this.#last = known
    void this.#run(client, context)
  }

  /** Stops, without waiting for pending reads. No callback is called any more. @returns what it had read last */
  stop(): Checkpoint<T> | undefined {
    this.#stop.abort()
    return this.#last
  }

  /** Never rejects. */
  async #run(client: Client, context: StandbyContext<T>): Promise<void> {
    const { signal } = this.#stop
    const { troubles } = context
    while (!signal.aborted) {
      let pauseMs = retryMs
      try {
        await this.#follow(client, context)
      } catch (error) {
        if (signal.aborted) return
        troubles.tell(error)
        if (isDamage(error)) pauseMs = damagedRetryMs
        if (!(error instanceof CheckpointError) || final.has(error.code)) return
        // Another instance of the region has its name: what was read belongs to the deleted one.
        if (error.code === 'CURSOR_INVALID' || error.code === 'REGION_NOT_FOUND') this.#last = undefined
      }
      await pause(pauseMs, signal)
    }
  }

  async #follow(
    client: Client,
    { region: name, codec, onCheckpoint, everyMs, troubles }: StandbyContext<T>,
  ): Promise<void> {
    const { signal } = this.#stop
    const region = await client.openRegion(name, { signal })
    try {
      const reader = region.checkpoints(codec === undefined ? {} : { codec })
      const onDamage = (error: CheckpointError) => troubles.tell(error)
      for await (const checkpoint of followed(reader, this.#last, { everyMs, signal, onDamage })) {
        if (signal.aborted) return
        this.#last = checkpoint
        troubles.clear()
        onCheckpoint(checkpoint)
      }
    } finally {
      // A takeover does not wait for it.
      region.close().catch(() => undefined)
    }
  }
}

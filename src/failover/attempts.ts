/** Tries of a pair that are repeated while another one can succeed. */
import { pause } from '../call/timer.js'
import { needsPerson } from '../error-traits.js'
import { CheckpointError, type ErrorCode } from '../errors.js'
import type { Patience } from './pair-events.js'
import { Troubles } from './troubles.js'

/** Errors that end `run()`, besides those that need a person whatever the call. */
const final: ReadonlySet<ErrorCode> = new Set([
  'REGION_NOT_FOUND',
  'REGION_MODE',
  'REGION_TOO_SMALL',
  'POOL_FULL',
  'POOL_READ_ONLY',
  'MEDIUM_FAILED',
  'CODEC_MISMATCH',
  'INTERNAL',
])
export const pauseMs = 200

interface AttemptsContext {
  /** As it is named to people. */
  unit: string
  /** Whether the region is created when it does not exist. */
  creates: boolean
  stop: AbortSignal
  patience: Patience
  tell(error: unknown): void
}

export class Attempts {
  readonly #context: AttemptsContext

  constructor(context: AttemptsContext) {
    this.#context = context
  }

  /** @returns undefined if the pair is to stop */
  async untilStopped<R>(attempt: () => Promise<R>): Promise<R | undefined> {
    const { stop, patience, tell } = this.#context
    const troubles = new Troubles(tell)
    while (!stop.aborted) {
      try {
        const result = await attempt()
        patience.end('unit')
        troubles.clear()
        return result
      } catch (error) {
        if (stop.aborted) return undefined
        if (this.isFinal(error)) throw error
        troubles.tell(error)
        this.unitIsAway(error)
      }
      await pause(pauseMs, stop)
    }
    return undefined
  }

  /** @param shortMs a shorter absence is not reported */
  unitIsAway(error: unknown, shortMs?: number): void {
    const why = error instanceof Error ? error.message : String(error)
    this.#context.patience.begin('unit', `waiting for the unit ${this.#context.unit}: ${why}`, error, shortMs)
  }

  /** Whether another attempt cannot fix the error. With `create`, a deleted region is created again. */
  isFinal(error: unknown): boolean {
    if (!(error instanceof CheckpointError)) return true
    if (error.code === 'REGION_NOT_FOUND' && this.#context.creates) return false
    return final.has(error.code) || needsPerson(error.code)
  }
}

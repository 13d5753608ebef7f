/** A term: the time during which a process is primary, with its work and the ways in which it ends. */
import type { Region } from '../client/region.js'
import { CheckpointError, type ErrorCode } from '../errors.js'

/** The codes with which pending calls of the work reject when the term is over. */
const expectedAtTheEnd: ReadonlySet<ErrorCode> = new Set(['FENCED', 'CLOSED', 'ABORTED'])
const closeMs = 30_000
/** Most errors looked at in a chain of causes. */
const mostCauses = 16

export class Term {
  /** Aborts when this process stops being primary, or is to stop. */
  readonly signal: AbortSignal
  /** What the work rejected with. */
  failure: { readonly error: unknown } | undefined
  readonly #region: Region
  readonly #leave: () => void
  readonly #over = new AbortController()
  #handedOver: Promise<void> | undefined
  #worked = false

  /** @param leave called to leave the region to others for a while */
  constructor(region: Region, stop: AbortSignal, leave: () => void) {
    this.#region = region
    this.#leave = leave
    this.signal = AbortSignal.any([this.#over.signal, region.ended, stop])
  }

  /** The region has been handed over or lost. */
  get isOver(): boolean {
    return this.#over.signal.aborted || this.#region.ended.aborted
  }

  /** Never rejects. Resolves when the work and any hand-over have ended. */
  async run(work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      this.failure = { error }
    }
    this.#worked = true
    await this.#handedOver?.catch(() => undefined)
  }

  /** @throws CheckpointError `FENCED`, `CLOSED`, and what the close of a region throws */
  handOver(): Promise<void> {
    if (this.#handedOver === undefined) {
      this.#handedOver = this.#giveUp()
      // A caller that does not wait for it learns of a fence by an event.
      this.#handedOver.catch(() => undefined)
    }
    return this.#handedOver
  }

  async #giveUp(): Promise<void> {
    const region = this.#region
    if (region.ended.aborted) throw region.ended.reason
    if (this.#worked) {
      throw new CheckpointError(
        'CLOSED',
        `Region '${region.name}' cannot be handed over: the work of epoch ${region.epoch} has ended.`,
      )
    }
    this.#leave()
    // First, so that work that checks the signal before each append makes no append that is refused.
    const reason = new CheckpointError('CLOSED', `Region '${region.name}' was handed over.`)
    this.#over.abort(reason)
    const unreleased = await region.closeWithin(closeMs, reason)
    if (region.fenced.aborted) throw region.fenced.reason
    this.#leave()
    if (unreleased !== undefined) throw unreleased
  }

  /** Whether an error, or what caused it, only says that the term is over. */
  isEnd(error: unknown): boolean {
    const reason: unknown = this.signal.reason
    return causes(error).some((cause) => {
      if (cause === reason) return true
      if (!(cause instanceof CheckpointError)) return cause instanceof Error && cause.name === 'AbortError'
      return expectedAtTheEnd.has(cause.code) || (reason instanceof CheckpointError && cause.code === reason.code)
    })
  }

  /** Whether an error, or what caused it, says that a region was taken from this process. */
  isFence(error: unknown): boolean {
    return causes(error).some((cause) => cause instanceof CheckpointError && cause.code === 'FENCED')
  }
}

/** The error and what caused it. */
function causes(error: unknown): unknown[] {
  const chain: unknown[] = []
  for (let cause = error; cause !== undefined && chain.length < mostCauses; ) {
    chain.push(cause)
    cause = cause instanceof Error ? cause.cause : undefined
  }
  return chain
}

/** Limits watches, per session and in total. At the total limit the session with the most watches loses some. */
import { CheckpointError } from '../errors.js'
import type { Session } from './sessions.js'

export const mostWatches = 16_384

export interface Watch {
  /** Aborted when it has to go; its reason is a `LIMIT_REACHED`. */
  readonly signal: AbortSignal
  end(): void
}

export class Watches {
  readonly #perSession: number
  readonly #total: number
  /** The oldest first. No set is empty. */
  readonly #bySession = new Map<Session, Set<AbortController>>()
  #count = 0

  constructor(perSession: number, total = mostWatches) {
    this.#perSession = perSession
    this.#total = total
  }

  get count(): number {
    return this.#count
  }

  /** @throws CheckpointError `LIMIT_REACHED` */
  begin(session: Session): Watch {
    const own = this.#bySession.get(session)?.size ?? 0
    if (own >= this.#perSession) throw reached(`The session has ${own} watches, and that is its limit.`)
    if (this.#count >= this.#total) this.#makeRoom(own)
    const controller = new AbortController()
    const watches = this.#bySession.get(session) ?? new Set()
    this.#bySession.set(session, watches.add(controller))
    this.#count++
    return { signal: controller.signal, end: () => this.#end(session, controller) }
  }

  #makeRoom(own: number): void {
    let most: [Session, Set<AbortController>] | undefined
    for (const entry of this.#bySession) if (most === undefined || entry[1].size > most[1].size) most = entry
    const [oldest] = most?.[1] ?? []
    const message = `The unit has ${this.#total} watches, and that is its limit.`
    if (most === undefined || oldest === undefined || most[1].size <= own) throw reached(message)
    this.#end(most[0], oldest)
    oldest.abort(reached(message))
  }

  #end(session: Session, controller: AbortController): void {
    const watches = this.#bySession.get(session)
    if (watches?.delete(controller) !== true) return
    this.#count--
    if (watches.size === 0) this.#bySession.delete(session)
  }
}

function reached(message: string): CheckpointError {
  return new CheckpointError('LIMIT_REACHED', message, { retryable: true, help: 'End watches that are not needed.' })
}

/**
 * Which of a client's connections stand. Its parts tell of theirs; it makes one story of an outage of them: `disconnected` by
 * the first that ends, `reconnecting` before each try, `restored` when the last is back.
 */
import type { CheckpointError } from '../errors.js'
import { ConnectionEvent, type ConnectionKind } from './client-events.js'

/** One connection, told apart from others by identity. */
export interface Connection {
  readonly kind: ConnectionKind
  /** Of a data connection. */
  readonly region?: string
}

export class ConnectionAccount {
  readonly #unit: string
  readonly #tell: (event: ConnectionEvent) => void
  readonly #down = new Set<Connection>()
  #since = 0
  #ended = false

  constructor(unit: string, tell: (event: ConnectionEvent) => void) {
    this.#unit = unit
    this.#tell = tell
  }

  get allStand(): boolean {
    return this.#down.size === 0
  }

  lost(connection: Connection, error: CheckpointError): void {
    if (this.#ended) return
    const first = this.#down.size === 0
    this.#down.add(connection)
    if (!first) return
    this.#since = performance.now()
    this.#tell(new ConnectionEvent('disconnected', { ...this.#naming(connection), error }))
  }

  /** Told only of one that was lost, not of the first try ever. */
  waits(connection: Connection, attempt: number, delayMs: number, error: CheckpointError): void {
    if (this.#ended || !this.#down.has(connection)) return
    const delay = Math.round(delayMs)
    this.#tell(new ConnectionEvent('reconnecting', { ...this.#naming(connection), attempt, delayMs: delay, error }))
  }

  stands(connection: Connection): void {
    if (!this.#down.delete(connection) || this.#down.size > 0 || this.#ended) return
    this.#tell(
      new ConnectionEvent('restored', { unit: this.#unit, downMs: Math.round(performance.now() - this.#since) }),
    )
  }

  /** It is not wanted any more. */
  gone(connection: Connection): void {
    this.stands(connection)
  }

  /** The client closes: what ends now is no news. */
  end(): void {
    this.#ended = true
  }

  #naming({ kind, region }: Connection): { unit: string; connection: ConnectionKind; region?: string } {
    return { unit: this.#unit, connection: kind, ...(region === undefined ? {} : { region }) }
  }
}

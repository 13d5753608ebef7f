/**
 * Keeps one handle's data connection: opens the handle over the control plane, connects to one of the endpoints that the
 * answer names, and does both again when the connection breaks, until it is closed or something says that there is no use.
 * What goes over the connection is its user's.
 *
 * Invariants:
 * - There is at most one channel, and it belongs to the newest open of the handle. The unit fences the earlier connection of
 *   the handle before it answers a new open, so that nothing of it lands later.
 * - The user hears `onUp` and `onDown` by turns. Outcomes come between the two only. After `onEnded` there is no `onUp`, and the
 *   last `onDown` says when native code has let go of everything.
 * - `failure` is set once and never changes.
 */
import { Call } from '../call/call.js'
import type { Secret } from '../call/printed.js'
import { deadlineTimer } from '../call/timer.js'
import type { Endpoint } from '../control/messages.js'
import { isPassing } from '../error-traits.js'
import { CheckpointError, type ErrorCode, type Outcome } from '../errors.js'
import type { NativeDataChannel, NativeDataHandler, NativeEngine, NativeGrant } from '../native.js'
import { fromNative, fromNativeCode, nativeCode } from '../native-error.js'
import type { CallOptions } from '../types.js'
import { Backoff } from './backoff.js'
import { connectionLostError, fencedError, lostToAnother, otherEpoch } from './call-errors.js'
import type { Connection, ConnectionAccount } from './connection-account.js'
import type { DataEndpoint, EndpointChoice } from './endpoints.js'

/** What the control plane answers to an open. */
export interface Opened {
  handle: bigint
  token: Secret
  endpoints: readonly Endpoint[]
}

/** Opens a handle over the control plane. */
export interface Opener<T extends Opened> {
  /** For messages: "region 'orders'". */
  readonly what: string
  /** An open changes something at the unit: who owns the region. */
  readonly changes: boolean
  /** Name of the region; undefined for the pool's tables. */
  readonly region: string | undefined
  /** @param previous the open before, when the connection is made again */
  open(previous: T | undefined, timeoutMs: number): Promise<T>
  /**
   * Best effort. Opens that had no answer are cancelled, and there are no more.
   * @param opened undefined: none had one
   * @param awaited somebody looks at the result
   * @returns why the unit could not close it, if it said so
   */
  close(opened: T | undefined, awaited: boolean): Promise<CheckpointError | undefined>
}

/** Who sends over the connection. */
export interface ConnectionUser {
  /** @param restarted the unit has been restarted since the connection before */
  onUp(restarted: boolean): void
  /** As of the native handler. */
  onOutcomes(outcomes: Float64Array): void
  /** The connection has broken. What was posted and has no outcome may have been carried out, or not. */
  onDown(): void
  /** It has ended for good. */
  onEnded(error: CheckpointError): void
}

/** What the connections of one client share. */
export interface ConnectionContext {
  engine: NativeEngine
  endpoints: EndpointChoice
  /** How long a call waits for a connection. */
  retryMs: number
  account: ConnectionAccount
}

/** A single control call or set-up of a connection may take so long before the next try. */
const attemptMs = 5_000
const firstBackoffMs = 10
/** A connection that stood for so long was a good one. */
const goodMs = 1_000
/** A connection on which one work request is unanswered for so long is dead, whatever the deadlines of the calls. */
const workDeadlineMs = 60_000
/** Whoever closes waits no longer for the end of the connection: a unit that is stopped never confirms it. */
const disconnectMs = 500
const promiseDurable = 2

/** Passing, too, when it opens again: what stood once shall not end because the machine is short of something, or
 * another program answers in the unit's place, for a while. */
const passingLater: ReadonlySet<ErrorCode> = new Set(['LIMIT_REACHED', 'OUT_OF_MEMORY', 'SYSTEM', 'PROTOCOL_VIOLATION'])

export class RegionConnection<T extends Opened> {
  /** The newest open of the handle. */
  opened: T | undefined
  /** Of the newest channel, as is `endpoint`. */
  grant: NativeGrant | undefined
  endpoint: DataEndpoint | undefined
  /** While the connection stands. */
  channel: NativeDataChannel | undefined
  /** Why it has ended for good. */
  failure: CheckpointError | undefined
  /** Why there is no connection, or was none. */
  lastError: CheckpointError | undefined
  readonly retryMs: number

  readonly #context: ConnectionContext
  readonly #opener: Opener<T>
  readonly #user: ConnectionUser
  readonly #connection: Connection
  #backoff = new Backoff(firstBackoffMs)
  #connecting = false
  /** It is being closed: that it ends is no news. */
  #closing = false
  /** Something said that another owner came. The next open tells for certain. */
  #fencedHint = false
  /** A try to open may have taken effect, whatever a later one was answered. */
  #openedInDoubt = false
  #brokenAt = 0
  #openedAt = 0
  #attempt = 0
  #pauseTimer: NodeJS.Timeout | undefined
  #endPause: (() => void) | undefined
  #whenOpen: { resolve: () => void; reject: (error: CheckpointError) => void } | undefined
  #whenClosed: (() => void) | undefined

  constructor(context: ConnectionContext, opener: Opener<T>, user: ConnectionUser) {
    this.#connection = { kind: 'data', ...(opener.region === undefined ? {} : { region: opener.region }) }
    this.retryMs = context.retryMs
    this.#context = context
    this.#opener = opener
    this.#user = user
  }

  /**
   * Makes the first connection, trying again what may pass until the deadline.
   * @param options checked ones
   */
  async open(options: CallOptions): Promise<void> {
    const opening = new Promise<void>((resolve, reject) => {
      this.#whenOpen = { resolve, reject }
    })
    const outcome = this.#opener.changes ? 'unknown' : 'none'
    const call = new Call(`Opening ${this.what}`, options, outcome)
    call.deadline = Math.min(call.deadline, call.startedAt + Math.max(this.retryMs, attemptMs))
    const end = call.onGivenUp((error) => {
      const lost = error.code === 'TIMEOUT' && this.lastError !== undefined
      this.end(lost ? connectionLostError(call.what, outcome, this.lastError) : error)
    })
    this.#brokenAt = call.startedAt
    void this.#connect()
    try {
      await opening
    } catch (error) {
      // The unit may have opened it, and would keep it for this session.
      void this.close(false)
      throw error
    } finally {
      end()
    }
  }

  /** For messages: "region 'orders'". */
  get what(): string {
    return this.#opener.what
  }

  get durablePromised(): boolean {
    return ((this.grant?.promises ?? 0) & promiseDurable) !== 0
  }

  /** Since when there has been no connection, on performance.now()'s clock; undefined while there is one. */
  get brokenAt(): number | undefined {
    return this.channel === undefined ? this.#brokenAt : undefined
  }

  /** For a call whose time is over: that there is no connection, if so. */
  lost(call: string, outcome: Outcome): CheckpointError | undefined {
    return this.channel === undefined ? connectionLostError(call, outcome, this.lastError) : undefined
  }

  /** Until when a call that was made at that time waits for a connection. */
  waitsUntil(calledAt: number): number {
    return Math.max(this.#brokenAt, calledAt) + this.retryMs
  }

  /** An operation has been answered: the connection works. */
  noteWorking(): void {
    this.#backoff.reset()
  }

  /** An operation ended with this code of the native layer, which says that the connection breaks. */
  noteBreaking(code: number): void {
    if (code === nativeCode.fenced) this.#fencedHint = true
    // Past the deadline of its work: the connection may still stand, on a medium that hangs, say.
    if (code === nativeCode.timedOut) this.channel?.close()
  }

  /** A later epoch owns the region. */
  fence(epoch: bigint | undefined): void {
    this.end(fencedError(this.what, epoch))
  }

  /** Ends it for good, unless it has ended. */
  end(error: CheckpointError): void {
    if (this.failure !== undefined) return
    this.failure = error
    this.#context.account.gone(this.#connection)
    this.#endPause?.()
    this.#user.onEnded(error)
    if (!this.#closing) this.channel?.close()
    this.#whenOpen?.reject(error.outcome === 'none' && this.#openedInDoubt ? error.withOutcome('unknown') : error)
    this.#whenOpen = undefined
  }

  /** From here on its end is no news. */
  expectClose(): void {
    this.#closing = true
  }

  /** Closes the channel of a connection that has ended, and the handle. @param awaited, @returns as of {@link Opener.close} */
  async close(awaited = true): Promise<CheckpointError | undefined> {
    this.#closing = true
    if (this.channel !== undefined) {
      await bounded(disconnectMs, (done) => {
        this.#whenClosed = done
        this.channel?.close()
      })
    }
    // Of a handle that was fenced, or whose region is gone, the unit has nothing left.
    const gone = this.failure?.code === 'FENCED' || this.failure?.code === 'REGION_NOT_FOUND'
    return gone ? undefined : await this.#opener.close(this.opened, awaited).catch(() => undefined)
  }

  async #connect(): Promise<void> {
    if (this.#connecting) return
    this.#connecting = true
    try {
      while (this.failure === undefined) {
        try {
          await this.#connectOnce()
          return
        } catch (thrown) {
          const error = fromNative(thrown)
          if (this.failure !== undefined) return
          this.lastError = error
          if (this.opened !== undefined || error.outcome !== 'none') this.#openedInDoubt = this.#opener.changes
          // In a session that is not known any more the unit could not tell by whom; in the next it can.
          if (this.#fencedHint && isPassing(error.code) && error.code !== 'SESSION_EXPIRED') this.fence(undefined)
          else if (this.grant !== undefined && lostToAnother(error)) this.fence(otherEpoch(error))
          else if (this.#mayPass(error)) await this.#pause()
          else this.end(error)
        }
      }
    } finally {
      this.#connecting = false
    }
  }

  async #connectOnce(): Promise<void> {
    const { engine, endpoints } = this.#context
    const opened = await this.#opener.open(this.opened, attemptMs)
    if (this.failure !== undefined) {
      await this.#opener.close(opened, false).catch(() => undefined)
      return
    }
    this.opened = opened
    let refused: CheckpointError | undefined
    for (const endpoint of endpoints.inOrder(opened.endpoints)) {
      try {
        await this.#connectTo(engine, endpoint, opened)
        return
      } catch (thrown) {
        const error = fromNative(thrown)
        if (error.code === 'TIMEOUT') endpoints.wasSilent(endpoint)
        // The token is spent only where the unit has seen it.
        if (error.code !== 'NOT_SUPPORTED' && error.code !== 'CONNECTION_REFUSED') throw error
        refused ??= error
      }
    }
    throw refused ?? new CheckpointError('INTERNAL', 'No endpoint was tried.')
  }

  #connectTo(engine: NativeEngine, endpoint: DataEndpoint, opened: T): Promise<void> {
    return new Promise((resolve, reject) => {
      let open = false
      const handler: NativeDataHandler = {
        onOpen: (grant) => {
          open = true
          this.#context.endpoints.answered(endpoint)
          if (this.failure !== undefined) channel.close()
          else this.#onOpen(channel, endpoint, grant)
          resolve()
        },
        onOutcomes: (outcomes) => this.#user.onOutcomes(outcomes),
        onClosed: (code, message, systemError) => {
          const error = fromNativeCode(code, message, systemError)
          if (open) this.#onClosed(channel, code, error)
          else reject(error)
        },
      }
      const { transport, host, port } = endpoint
      const token = opened.token.reveal()
      const target = { transport, host, port, token, setupTimeoutMs: attemptMs, workDeadlineMs }
      const channel = engine.connectData(target, handler)
    })
  }

  #onOpen(channel: NativeDataChannel, endpoint: DataEndpoint, grant: NativeGrant): void {
    const restarted = this.grant !== undefined && this.grant.unitStart !== grant.unitStart
    this.grant = grant
    this.endpoint = endpoint
    this.channel = channel
    this.#openedAt = performance.now()
    this.#fencedHint = false
    this.#attempt = 0
    this.#context.account.stands(this.#connection)
    this.#user.onUp(restarted)
    this.#whenOpen?.resolve()
    this.#whenOpen = undefined
  }

  #onClosed(channel: NativeDataChannel, code: number, error: CheckpointError): void {
    if (this.channel !== channel) return
    this.channel = undefined
    this.#brokenAt = performance.now()
    this.lastError = error
    if (code === nativeCode.fenced) this.#fencedHint = true
    if (this.#brokenAt - this.#openedAt > goodMs) this.#backoff.reset()
    if (this.failure === undefined && !this.#closing) this.#context.account.lost(this.#connection, error)
    this.#user.onDown()
    this.#whenClosed?.()
    if (this.failure === undefined) void this.#reconnect()
  }

  async #reconnect(): Promise<void> {
    if (this.#backoff.pending) await this.#pause()
    await this.#connect()
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      this.#endPause = () => {
        clearTimeout(this.#pauseTimer)
        this.#pauseTimer = undefined
        this.#endPause = undefined
        resolve()
      }
      const delayMs = this.#backoff.next()
      this.#pauseTimer = setTimeout(this.#endPause, delayMs)
      if (this.lastError !== undefined) {
        this.#context.account.waits(this.#connection, ++this.#attempt, delayMs, this.lastError)
      }
      // Whoever waits for it holds the process.
      this.#pauseTimer.unref()
    })
  }

  #mayPass(error: CheckpointError): boolean {
    return isPassing(error.code) || (this.grant !== undefined && passingLater.has(error.code))
  }
}

/** Waits for `done`, at most so long. */
export function bounded(timeoutMs: number, start: (done: () => void) => void): Promise<void> {
  return new Promise((resolve) => {
    const timer = timeoutMs > 0 ? deadlineTimer(timeoutMs, resolve) : undefined
    start(() => {
      timer?.cancel()
      resolve()
    })
  })
}

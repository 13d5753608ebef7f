/**
 * A client's session at one unit: the control channel, the session's number, and the native session connection whose
 * heartbeats keep the client's leases. Both are made again whenever they break, and another session is opened where the
 * unit no longer knows this one.
 */
import { randomBytes } from 'node:crypto'
import { Call } from '../call/call.js'
import type { ControlCallOptions, ControlListener } from '../control/channel.js'
import type {
  ControlCall,
  RegionEventMessage,
  Reply,
  Request,
  SessionMessage,
  StatusMessage,
  WatchRegionMessage,
} from '../control/messages.js'
import { CheckpointError } from '../errors.js'
import type { NativeEngine, NativeSessionChannel } from '../native.js'
import { fromNative, fromNativeCode } from '../native-error.js'
import { withOutcome } from '../outcome.js'
import { Backoff } from './backoff.js'
import type { Connection, ConnectionAccount } from './connection-account.js'
import type { DataEndpoint, EndpointChoice } from './endpoints.js'

/** What a session needs of the control channel; tests have one of their own. */
export interface Control {
  readonly address: string
  call<C extends ControlCall>(name: C, request: Request<C>, options?: ControlCallOptions): Promise<Reply<C>>
  watchRegion(request: WatchRegionMessage, signal: AbortSignal): AsyncIterable<RegionEventMessage>
  /** Told of its connection from now on. */
  listen(listener: ControlListener): void
  /** Connects now, if no connection stands or is being made. */
  connect(): void
  /** Ends the connection that stands. */
  renew(why: string): void
  close(): void
}

/** @param session undefined: none stood @param failure why the unit has not ended it, or not all that it had open */
export type SessionEnd = (session: bigint | undefined, failure: CheckpointError | undefined) => void

export interface SessionContext {
  control: Control
  account: ConnectionAccount
  engine: NativeEngine
  endpoints: EndpointChoice
  identity: string
  clientVersion: string
}

const attemptMs = 5_000
const firstBackoffMs = 20
/** A connection that stood for so long was a good one: the next is made at once. */
const goodMs = 1_000

export class UnitSession {
  /** The pool's UUID and what else the unit said of itself when the session was made. */
  unit: StatusMessage | undefined
  #context: SessionContext
  #clientId = randomBytes(16)
  #id: bigint | undefined
  #channel: NativeSessionChannel | undefined
  #establishing: Promise<bigint> | undefined
  #fences = new Map<bigint, (epoch: bigint) => void>()
  #disconnects = new Set<() => void>()
  readonly #ends = new Set<SessionEnd>()
  readonly #connection: Connection = { kind: 'session' }
  #backoff = new Backoff(firstBackoffMs)
  /** Before the next try; 0 after one that went well. */
  #delayMs = 0
  #attempt = 0
  #endPause: (() => void) | undefined
  readonly #controlConnection: Connection = { kind: 'control' }
  readonly #controlBackoff = new Backoff(firstBackoffMs)
  #controlAttempt = 0
  #controlDown = false
  #controlTimer: NodeJS.Timeout | undefined
  #restoring = false
  /** When the connection was made last, on performance.now()'s clock. */
  #stoodAt: number | undefined
  #closed = false

  constructor(context: SessionContext) {
    this.#context = context
    const { account, control } = context
    control.listen({
      onStands: () => {
        this.#controlDown = false
        account.stands(this.#controlConnection)
      },
      onLost: (error) => {
        this.#controlDown = true
        this.#controlAttempt = 0
        this.#controlBackoff.reset()
        account.lost(this.#controlConnection, error)
        if (!this.#closed) control.connect()
      },
      onFailed: (error) => this.#connectControlLater(error),
    })
  }

  get address(): string {
    return this.#context.control.address
  }

  /**
   * The session's number, once it stands; made anew if it must be. Once a session has stood, tries to make another come at a pace
   * of their own: whoever asks in between waits for the next one and shares its outcome.
   */
  ready(timeoutMs = attemptMs): Promise<bigint> {
    if (this.#closed) return Promise.reject(closedError())
    if (this.#id !== undefined && this.#channel !== undefined) return Promise.resolve(this.#id)
    this.#establishing ??= this.#try(timeoutMs).finally(() => {
      this.#establishing = undefined
    })
    return this.#establishing
  }

  /** A control call in the session's name; made again once, in another session, when the unit has lost this one. */
  async call<C extends ControlCall>(
    name: C,
    request: Omit<Request<C>, 'session'>,
    options: ControlCallOptions = {},
  ): Promise<Reply<C>> {
    const call = new Call(`${name} at the unit ${this.address}`, options)
    const session = await this.#readyFor(call)
    let expired: CheckpointError
    try {
      return await this.callAs(session, name, request, call.rest())
    } catch (error) {
      if (!isExpired(error)) throw error
      expired = error
    }
    try {
      return await this.callAs(await this.#readyFor(call), name, request, call.rest())
    } catch (error) {
      // A try before may have had its effect, and lost its answer.
      throw expired.outcome === 'none' ? error : withOutcome(error, expired.outcome)
    }
  }

  /** For a call that has not been sent, so that it has changed nothing, whatever became of the session. */
  async #readyFor(call: Call): Promise<bigint> {
    try {
      return await call.race(this.ready())
    } catch (error) {
      throw withOutcome(error, 'none')
    }
  }

  /** The same in that session only: handles are numbers that mean something else in another. */
  async callAs<C extends ControlCall>(
    session: bigint,
    name: C,
    request: Omit<Request<C>, 'session'>,
    options: ControlCallOptions = {},
  ): Promise<Reply<C>> {
    try {
      return await this.#context.control.call(name, { ...request, session } as unknown as Request<C>, options)
    } catch (error) {
      if (isExpired(error)) this.expire(session)
      throw error
    }
  }

  /** Calls outside of any session. */
  get control(): Control {
    return this.#context.control
  }

  /** The unit does not know this session: the next use opens another. */
  expire(session: bigint): void {
    if (this.#id !== session) return
    this.#id = undefined
    this.#channel?.close()
    this.#channel = undefined
    this.#lost(new CheckpointError('SESSION_EXPIRED', `The unit ${this.address} does not know the session any more.`))
  }

  /** The connection that stands now has broken, or its session is not known any more. @returns what takes it back */
  onDisconnect(tell: () => void): () => void {
    this.#disconnects.add(tell)
    return () => this.#disconnects.delete(tell)
  }

  onFence(handle: bigint, fence: (epoch: bigint) => void): void {
    this.#fences.set(handle, fence)
  }

  offFence(handle: bigint): void {
    this.#fences.delete(handle)
  }

  /**
   * Told when the session is closed: of which session the unit was told to end it, and why it has not done all of that, as far as
   * is known.
   * @returns what takes it back
   */
  onEnd(tell: SessionEnd): () => void {
    this.#ends.add(tell)
    return () => this.#ends.delete(tell)
  }

  async close(timeoutMs: number): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#endPause?.()
    clearTimeout(this.#controlTimer)
    const { control } = this.#context
    let told: bigint | undefined
    let failure: CheckpointError | undefined
    if (this.#id !== undefined && this.#channel !== undefined) {
      told = this.#id
      await control.call('CloseSession', { session: told }, { timeoutMs }).catch((error: unknown) => {
        failure = fromNative(error)
      })
    }
    for (const tell of [...this.#ends]) tell(told, failure)
    this.#channel?.close()
    this.#channel = undefined
    control.close()
  }

  async #try(timeoutMs: number): Promise<bigint> {
    if (this.#delayMs > 0) await this.#pause(this.#delayMs)
    if (this.#closed) throw closedError()
    try {
      const session = await this.#establish(timeoutMs)
      this.#delayMs = 0
      this.#attempt = 0
      this.#stoodAt = performance.now()
      this.#context.account.stands(this.#connection)
      return session
    } catch (thrown) {
      const error = fromNative(thrown)
      if (this.#stoodAt !== undefined && !this.#closed) {
        this.#delayMs = this.#backoff.next()
        this.#context.account.waits(this.#connection, ++this.#attempt, this.#delayMs, error)
      }
      throw error
    }
  }

  async #establish(timeoutMs: number): Promise<bigint> {
    const { control, endpoints } = this.#context
    let reply = await this.#openOrResume(timeoutMs)
    if (this.#closed) {
      // Nobody will ever use it. Best effort: the unit lets one go that never connected.
      control.call('CloseSession', { session: reply.session }, { timeoutMs: 1_000 }).catch(() => undefined)
      throw closedError()
    }
    let first: CheckpointError | undefined
    const left = endpoints.inOrder(reply.endpoints)
    for (let endpoint = left.shift(); endpoint !== undefined; endpoint = left.shift()) {
      try {
        return await this.#connectTo(endpoint, reply)
      } catch (thrown) {
        const error = fromNative(thrown)
        first ??= error
        if (error.code === 'NOT_SUPPORTED' || error.code === 'CONNECTION_REFUSED') continue
        if (error.code !== 'TIMEOUT') throw error
        endpoints.wasSilent(endpoint)
        // The token may have been spent.
        if (left.length > 0) reply = await this.#openOrResume(timeoutMs)
      }
    }
    throw first ?? new CheckpointError('INTERNAL', `The unit ${control.address} named no endpoint.`)
  }

  async #connectTo(endpoint: DataEndpoint, reply: SessionMessage): Promise<bigint> {
    const { engine, endpoints } = this.#context
    this.#id = reply.session
    if (reply.unit !== undefined) this.unit = reply.unit
    this.#channel = await this.#connect(engine, endpoint, reply.token)
    if (this.#closed) {
      this.#channel.close()
      throw closedError()
    }
    endpoints.answered(endpoint)
    return reply.session
  }

  async #openOrResume(timeoutMs: number): Promise<SessionMessage> {
    const { control, identity, clientVersion } = this.#context
    const clientId = this.#clientId
    if (this.#id !== undefined) {
      try {
        return await control.call('ResumeSession', { session: this.#id, clientId }, { timeoutMs })
      } catch (error) {
        if (!isExpired(error)) throw error
        this.#id = undefined
      }
    }
    return await control.call('OpenSession', { clientVersion, identity, clientId }, { timeoutMs })
  }

  #connect(engine: NativeEngine, endpoint: DataEndpoint, token: Uint8Array): Promise<NativeSessionChannel> {
    return new Promise((resolve, reject) => {
      let open = false
      const channel = engine.connectSession(
        { ...endpoint, token, setupTimeoutMs: attemptMs },
        {
          onOpen: () => {
            open = true
            resolve(channel)
          },
          onMoved: (code, message, systemError) => this.#onMoved(fromNativeCode(code, message, systemError)),
          onFenced: (handle, epoch) => this.#fences.get(handle)?.(epoch),
          onClosed: (code, message, systemError) => {
            const error = fromNativeCode(code, message, systemError)
            if (open) this.#onClosed(channel, error)
            else reject(error)
          },
        },
      )
    })
  }

  /** The native side has made another connection by itself, with which the session goes on. */
  #onMoved(error: CheckpointError): void {
    const { account } = this.#context
    account.lost(this.#connection, error)
    if (this.#channel !== undefined) account.stands(this.#connection)
  }

  #onClosed(channel: NativeSessionChannel, error: CheckpointError): void {
    if (this.#channel !== channel) return
    this.#channel = undefined
    if (this.#closed) return
    if (this.#stoodAt !== undefined && performance.now() - this.#stoodAt > goodMs) this.#backoff.reset()
    else this.#delayMs = this.#backoff.next()
    // Its machine may be gone, or the way there; what stands of the control plane stands no better.
    if (error.code === 'TIMEOUT') this.#context.control.renew('the unit answers no heartbeat')
    this.#lost(error)
  }

  /** In the background, so that the next call finds it, whether or not anybody calls. */
  #connectControlLater(error: CheckpointError): void {
    if (!this.#controlDown || this.#closed) return
    clearTimeout(this.#controlTimer)
    const delayMs = this.#controlBackoff.next()
    this.#context.account.waits(this.#controlConnection, ++this.#controlAttempt, delayMs, error)
    this.#controlTimer = setTimeout(() => this.#context.control.connect(), delayMs)
    this.#controlTimer.unref()
  }

  #lost(error: CheckpointError): void {
    this.#context.account.lost(this.#connection, error)
    for (const tell of [...this.#disconnects]) tell()
    void this.#restore()
  }

  /** In the background, for the leases; it never holds the process. */
  async #restore(): Promise<void> {
    if (this.#restoring) return
    this.#restoring = true
    while (!this.#closed && this.#channel === undefined) await this.ready().catch(() => undefined)
    this.#restoring = false
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#endPause?.(), ms)
      timer.unref()
      this.#endPause = () => {
        clearTimeout(timer)
        this.#endPause = undefined
        resolve()
      }
    })
  }
}

function isExpired(error: unknown): error is CheckpointError {
  return error instanceof CheckpointError && error.code === 'SESSION_EXPIRED'
}

function closedError(): CheckpointError {
  return new CheckpointError('CLOSED', 'The client has been closed.')
}

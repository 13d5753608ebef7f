/**
 * The client's end of the control plane: typed calls to one unit by name, with coded errors, over one connection that is made again
 * whenever it is needed and missing.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type * as Grpc from '@grpc/grpc-js'
import { Call } from '../call/call.js'
import { CheckpointError, type Outcome } from '../errors.js'
import { withOutcome } from '../outcome.js'
import { type BoundSilence, ControlConnection } from './connection.js'
import type { ControlCall, RegionEventMessage, Reply, Request, WatchRegionMessage } from './messages.js'
import { type ControlProto, loadControlProto } from './proto.js'
import { callsUnderWay, fromStatus } from './status.js'

/** Metadata key of the caller's identity, which every call carries. */
export const identityKey = 'rdma-checkpoint-identity'
/** Metadata key of the caller's session: a unit knows by it whose call it is before the message has come. */
export const sessionKey = 'rdma-checkpoint-session'

export interface ControlCallOptions {
  signal?: AbortSignal
  /** Milliseconds; 0 or Infinity for none. Default 30,000. */
  timeoutMs?: number
}

/** Callbacks about the connection. A connection that was never ready is not reported as lost. */
export interface ControlListener {
  onStands(): void
  onLost(error: CheckpointError): void
  /** A connection could not be established. */
  onFailed(error: CheckpointError): void
}

type Unary = (
  request: unknown,
  metadata: Grpc.Metadata,
  options: Grpc.CallOptions,
  callback: (error: Grpc.ServiceError | null, reply: unknown) => void,
) => Grpc.ClientUnaryCall
type ServerStreaming = (request: unknown, metadata: Grpc.Metadata) => Grpc.ClientReadableStream<unknown>

/** Calls that may be made twice: they change nothing, or have the same result. */
const repeatable: ReadonlySet<ControlCall> = new Set<ControlCall>([
  'Status',
  'ListRegions',
  'GetRegion',
  'OpenSession',
  'ResumeSession',
  'CloseSession',
  'CloseRegion',
  'OpenTables',
  // They name the region's id: what is made is known again, and nothing else is deleted.
  'CreateRegion',
  'DeleteRegion',
  'SaveCursor',
  'NoteCleared',
])
/** Calls that never change anything. */
const looking: ReadonlySet<ControlCall> = new Set<ControlCall>(['Status', 'ListRegions', 'GetRegion', 'OpenTables'])
/**
 * The longest deadline that gRPC gets. It writes a long one in whole seconds, rounded up, and its server counts milliseconds in
 * 31 bits: a deadline of 2^31-1 ms would be over before it began.
 */
const longestGrpcDeadlineMs = 86_400_000
/** On how many connections a repeatable call is tried when they end under it. */
const mostConnections = 3
/** Between the tries of a call that the unit does not take because of others that are under way. */
const firstBusyMs = 20
const longestBusyMs = 320

/** One call, on one connection after the other. */
class UnitCall extends Call {
  connection: ControlConnection | undefined
  /** A try had no answer: whatever a later one ends with, the call may have taken effect. */
  inDoubt = false
  #busyMs = firstBusyMs

  /** The unit has not taken the call, for others are under way: waits a little. False when its time is over. */
  async waitForOthers(): Promise<boolean> {
    this.connection = undefined
    const { leftMs, signal } = this
    // Whoever waits for the call holds the process.
    const options = signal === undefined ? { ref: false } : { ref: false, signal }
    const delayMs = this.#busyMs * (0.5 + Math.random() / 2)
    this.#busyMs = Math.min(2 * this.#busyMs, longestBusyMs)
    await sleep(Math.min(delayMs, leftMs), undefined, options).catch(() => undefined)
    return this.leftMs > 0
  }

  override get outcome(): Outcome {
    return this.inDoubt || this.connection?.stood ? 'unknown' : 'none'
  }
}

function isBusy(error: unknown): boolean {
  return (
    error instanceof CheckpointError && error.code === 'LIMIT_REACHED' && error.details?.[callsUnderWay] !== undefined
  )
}

export class ControlChannel {
  readonly #proto: ControlProto
  #metadata: Grpc.Metadata
  /** The one that was named last, also for calls that need none. */
  #session: bigint | undefined
  readonly #boundSilence: BoundSilence
  #connection: ControlConnection | undefined
  #listener: ControlListener | undefined
  #closed = false

  private constructor(
    /** host:port of the unit's control service. */
    readonly address: string,
    proto: ControlProto,
    metadata: Grpc.Metadata,
    boundSilence: BoundSilence,
  ) {
    this.#proto = proto
    this.#metadata = metadata
    this.#boundSilence = boundSilence
  }

  /**
   * Makes the channel; it connects at the first call.
   * @param boundSilence lets the kernel end a connection whose other end is silent; without it, pings notice later
   */
  static async open(
    address: string,
    identity: string,
    boundSilence: BoundSilence = () => undefined,
  ): Promise<ControlChannel> {
    const proto = await loadControlProto()
    const metadata = new proto.grpc.Metadata()
    metadata.set(identityKey, encodeURIComponent(identity))
    return new ControlChannel(address, proto, metadata, boundSilence)
  }

  listen(listener: ControlListener): void {
    this.#listener = listener
  }

  /** Connects now, unless there is a connection or a connect in progress. */
  connect(): void {
    if (!this.#closed) this.#current()
  }

  /** Drops the connection, which can no longer be trusted: the unit does not answer elsewhere. */
  renew(why: string): void {
    this.#connection?.abort(why)
  }

  /**
   * @throws CheckpointError what the unit threw; `ABORTED`, `TIMEOUT`, `CLOSED`, `CONNECTION_REFUSED` (nothing was
   * sent) or `CONNECTION_LOST`
   */
  async call<C extends ControlCall>(name: C, request: Request<C>, options: ControlCallOptions = {}): Promise<Reply<C>> {
    const call = new UnitCall(`${name} at the unit ${this.address}`, options)
    try {
      return await this.#call(name, request, call)
    } catch (error) {
      if (looking.has(name)) throw withOutcome(error, 'none')
      throw call.inDoubt ? withOutcome(error, 'unknown') : error
    }
  }

  async #call<C extends ControlCall>(name: C, request: Request<C>, call: UnitCall): Promise<Reply<C>> {
    for (let ended = 0; ; ) {
      if (this.#closed) throw this.#closedError(name)
      if (call.signal?.aborted) throw call.abortedError()
      const connection = this.#current()
      call.connection = connection
      try {
        return await this.#callOn(connection, name, request, call)
      } catch (error) {
        if (this.#closed) throw this.#closedError(name, error)
        if (call.leftMs === 0) throw error
        if (isBusy(error) && (await call.waitForOthers())) continue
        if (!(error instanceof CheckpointError) || !connection.over || call.signal?.aborted) throw error
        // It was not sent, and its deadline has not passed.
        if (connection.unanswered) continue
        const again = repeatable.has(name) || error.outcome === 'none'
        if (error.code !== 'CONNECTION_LOST' || !connection.stood || !again || ++ended >= mostConnections) throw error
        if (error.outcome !== 'none') call.inDoubt = true
      }
    }
  }

  #callOn<C extends ControlCall>(
    connection: ControlConnection,
    name: C,
    request: Request<C>,
    call: UnitCall,
  ): Promise<Reply<C>> {
    const client = connection.client as Grpc.Client & Record<string, Unary>
    const { leftMs } = call
    return new Promise<Reply<C>>((resolve, reject) => {
      const unary = client[name]
      if (unary === undefined) {
        reject(new CheckpointError('INTERNAL', `control.proto has no call ${name}.`))
        return
      }
      const callOptions: Grpc.CallOptions = leftMs > longestGrpcDeadlineMs ? {} : { deadline: Date.now() + leftMs }
      const sent = unary.call(client, request, this.#metadataOf(request), callOptions, (error, reply) => {
        end()
        done()
        if (error === null) resolve(reply as Reply<C>)
        else reject(fromStatus(error, this.address, name, connection.stood))
      })
      const done = connection.track(() => sent.cancel())
      const end = call.onGivenUp((error) => {
        reject(error)
        if (error.code === 'ABORTED') connection.resets.reset(sent)
        else sent.cancel()
      })
    })
  }

  /**
   * Events until the signal aborts or the caller leaves the loop. Otherwise the iteration ends only by an error, or with the unit.
   * @throws CheckpointError as {@link call}
   */
  async *watchRegion(
    request: WatchRegionMessage,
    signal: AbortSignal,
  ): AsyncGenerator<RegionEventMessage, void, undefined> {
    const name = 'WatchRegion'
    if (this.#closed) throw this.#closedError(name)
    const aborted = () => new CheckpointError('ABORTED', `${name} was aborted.`, { cause: signal.reason })
    if (signal.aborted) throw aborted()
    const connection = this.#current()
    const start = (connection.client as Grpc.Client & Record<string, unknown>)[name] as ServerStreaming
    const stream = start.call(connection.client, request, this.#metadataOf(request))
    // Nobody reads what comes after the end of the iteration.
    stream.on('error', () => undefined)
    let ended = false
    stream.on('status', () => {
      ended = true
    })
    const abort = () => stream.destroy(aborted())
    const done = connection.track(() => stream.cancel())
    signal.addEventListener('abort', abort)
    try {
      for await (const message of stream) yield message as RegionEventMessage
    } catch (error) {
      if (error instanceof CheckpointError) throw error
      throw fromStatus(error as Grpc.ServiceError, this.address, name, connection.stood)
    } finally {
      signal.removeEventListener('abort', abort)
      done()
      if (!ended && !connection.over) connection.resets.reset(stream)
    }
  }

  /** Calls without an answer reject with `CLOSED`. */
  close(): void {
    this.#closed = true
    this.#connection?.abort('it was closed')
  }

  #metadataOf({ session }: { session?: bigint }): Grpc.Metadata {
    if (session !== undefined && session !== this.#session) {
      this.#session = session
      // Calls that are under way keep theirs.
      this.#metadata = this.#metadata.clone()
      this.#metadata.set(sessionKey, String(session))
    }
    return this.#metadata
  }

  #current(): ControlConnection {
    if (this.#connection !== undefined && !this.#connection.over) return this.#connection
    const connection = new ControlConnection(this.#proto, this.address, this.#boundSilence, {
      onReady: () => this.#listener?.onStands(),
      onOver: (error, stood) => {
        if (this.#connection === connection) this.#connection = undefined
        if (this.#closed) return
        if (stood) this.#listener?.onLost(error)
        else this.#listener?.onFailed(error)
      },
    })
    this.#connection = connection
    return connection
  }

  /** @param error the error of a pending call */
  #closedError(name: string, error?: unknown): CheckpointError {
    const outcome = error instanceof CheckpointError ? error.outcome : 'none'
    return new CheckpointError('CLOSED', `${name}: the channel to ${this.address} was closed.`, {
      outcome,
      cause: error,
    })
  }
}

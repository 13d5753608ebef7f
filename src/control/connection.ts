/**
 * One connection of the control plane: a gRPC channel that is used only until its connection ends. gRPC would reconnect by itself,
 * at a pace of its own. To reconnect at once, a caller makes another of these.
 */
import type { Socket } from 'node:net'
import type * as Grpc from '@grpc/grpc-js'
import { CheckpointError } from '../errors.js'
import type { ControlProto } from './proto.js'
import { ResetPace } from './reset-pace.js'

/** A connect that takes longer is started again, because TCP repeats a lost packet slower and slower. */
const connectMs = 2_000
/**
 * The unit's JavaScript answers a ping, and may be busy for seconds. The kernel finds out whether its machine is there, see
 * `silenceMs`. Pings are for machines in between that have a kernel of their own, such as a proxy.
 */
const pingEveryMs = 10_000
const pingTimeoutMs = 30_000
/** How long the other kernel may be silent while data is unacknowledged; one and a half times as long on an idle connection. */
const silenceMs = 2_000

const channelOptions: Grpc.ChannelOptions = {
  // Clients do not share connections, so the end of one concerns no other client.
  'grpc.use_local_subchannel_pool': 1,
  'grpc.keepalive_time_ms': pingEveryMs,
  'grpc.keepalive_timeout_ms': pingTimeoutMs,
  'grpc.keepalive_permit_without_calls': 1,
  'grpc.client_idle_timeout_ms': 2 ** 31 - 1,
  'grpc.enable_retries': 0,
  'grpc.enable_channelz': 0,
  // Ignore proxies from the environment: a process connects to its unit directly.
  'grpc.enable_http_proxy': 0,
}

export type BoundSilence = (descriptor: number, ms: number) => void

export interface ConnectionHandler {
  onReady(): void
  /** Called once. @param stood the connection was ready before */
  onOver(error: CheckpointError, stood: boolean): void
}

export class ControlConnection {
  readonly client: Grpc.Client
  readonly resets = new ResetPace()
  /** It has been ready, so calls may have been sent. */
  stood = false
  /** It was given up because there was no answer in time, which does not decide the calls that waited for it. */
  unanswered = false
  readonly #address: string
  readonly #handler: ConnectionHandler
  readonly #timer: NodeJS.Timeout
  readonly #calls = new Set<() => void>()
  #over = false

  /** @param boundSilence lets the kernel end a silent connection, by its descriptor */
  constructor({ grpc, Client }: ControlProto, address: string, boundSilence: BoundSilence, handler: ConnectionHandler) {
    this.#address = address
    this.#handler = handler
    const credentials = watchedCredentials(grpc, (socket) => {
      const descriptor = descriptorOf(socket)
      try {
        if (descriptor !== undefined) boundSilence(descriptor, silenceMs)
      } catch {
        // Without it, pings must suffice.
      }
    })
    // With an explicit scheme, even a host named `unix` or `dns` is a host.
    this.client = new Client(`dns:///${address}`, credentials, channelOptions)
    this.#timer = setTimeout(() => {
      this.unanswered = true
      this.end(`no answer within ${connectMs} ms`)
    }, connectMs)
    this.#timer.unref()
    this.#watch(grpc, this.client.getChannel().getConnectivityState(true))
  }

  get over(): boolean {
    return this.#over
  }

  /** @param cancel ends a pending call. @returns a function to call when it has ended */
  track(cancel: () => void): () => void {
    this.#calls.add(cancel)
    return () => this.#calls.delete(cancel)
  }

  /** Ends the connection and every call on it, whatever the other side does. */
  abort(why: string): void {
    for (const cancel of [...this.#calls]) cancel()
    this.end(why)
  }

  /** Stops using the connection. Pending calls may still be answered, for example by a unit that stops gracefully. Idempotent. */
  end(why: string): void {
    if (this.#over) return
    this.#over = true
    clearTimeout(this.#timer)
    this.resets.end()
    this.client.close()
    const message = `The control connection to the unit ${this.#address} has ended: ${why}.`
    this.#handler.onOver(new CheckpointError('CONNECTION_LOST', message, { retryable: true }), this.stood)
  }

  #watch(grpc: ControlProto['grpc'], state: Grpc.connectivityState): void {
    if (this.#over) return
    this.client.getChannel().watchConnectivityState(state, Number.POSITIVE_INFINITY, () => {
      if (this.#over) return
      const next = this.client.getChannel().getConnectivityState(false)
      const { READY, CONNECTING } = grpc.connectivityState
      if (next === READY && !this.stood) {
        this.stood = true
        clearTimeout(this.#timer)
        this.#handler.onReady()
      } else if (this.stood) {
        this.end('it broke, or the unit closed it')
        return
      } else if (next !== CONNECTING) {
        // In this turn gRPC rejects the calls that waited for it, with the reason.
        setImmediate(() => this.end('it could not be established'))
        return
      }
      this.#watch(grpc, next)
    })
  }
}

/** Plain TCP, with access to each connection's socket. */
function watchedCredentials(grpc: ControlProto['grpc'], onSocket: (socket: Socket) => void): Grpc.ChannelCredentials {
  const plain = grpc.credentials.createInsecure()
  const create = plain._createSecureConnector.bind(plain)
  plain._createSecureConnector = (...parameters) => {
    const connector = create(...parameters)
    const connect = connector.connect.bind(connector)
    connector.connect = (socket) => {
      onSocket(socket)
      return connect(socket)
    }
    return connector
  }
  return plain
}

/** Undocumented in Node; without it, pings must suffice. */
function descriptorOf(socket: Socket): number | undefined {
  const { _handle: handle } = socket as Socket & { _handle?: { fd?: unknown } | null }
  const descriptor = handle?.fd
  return typeof descriptor === 'number' && descriptor >= 0 ? descriptor : undefined
}

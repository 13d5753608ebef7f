/**
 * One connection of the control plane: a gRPC channel that is used until its connection ends, and then no more. gRPC would connect
 * again by itself, at a pace of its own; whoever wants another connection makes another of these, at once.
 */
import type { Socket } from 'node:net'
import type * as Grpc from '@grpc/grpc-js'
import { CheckpointError } from '../errors.js'
import type { ControlProto } from './proto.js'
import { ResetPace } from './reset-pace.js'

/** A connection that is not there within so long is tried anew: a packet that was lost is sent again slower and slower. */
const connectMs = 2_000
/**
 * The unit's JavaScript answers a ping, and may be busy for seconds; that its machine is there is for the kernel to find out, see
 * `silenceMs`. This is for what lies in between and has a kernel of its own, such as a proxy.
 */
const pingEveryMs = 10_000
const pingTimeoutMs = 30_000
/** The other kernel says nothing: after so long for what was sent, after half as long again for an idle connection. */
const silenceMs = 2_000

const channelOptions: Grpc.ChannelOptions = {
  // Another client's connection is its own affair, and so is its end.
  'grpc.use_local_subchannel_pool': 1,
  'grpc.keepalive_time_ms': pingEveryMs,
  'grpc.keepalive_timeout_ms': pingTimeoutMs,
  'grpc.keepalive_permit_without_calls': 1,
  'grpc.client_idle_timeout_ms': 2 ** 31 - 1,
  'grpc.enable_retries': 0,
  'grpc.enable_channelz': 0,
  // A proxy from the environment has no business between a process and its unit.
  'grpc.enable_http_proxy': 0,
}

export type BoundSilence = (descriptor: number, ms: number) => void

export interface ConnectionHandler {
  onReady(): void
  /** Once. @param stood it was ready before */
  onOver(error: CheckpointError, stood: boolean): void
}

export class ControlConnection {
  readonly client: Grpc.Client
  readonly resets = new ResetPace()
  /** It was ready once, so that calls may have been sent. */
  stood = false
  /** It was given up because nobody answered in time, which says nothing of the calls that waited for it. */
  unanswered = false
  readonly #address: string
  readonly #handler: ConnectionHandler
  readonly #timer: NodeJS.Timeout
  readonly #calls = new Set<() => void>()
  #over = false

  /** @param boundSilence has the kernel end a connection that is silent, by its descriptor */
  constructor({ grpc, Client }: ControlProto, address: string, boundSilence: BoundSilence, handler: ConnectionHandler) {
    this.#address = address
    this.#handler = handler
    const credentials = watchedCredentials(grpc, (socket) => {
      const descriptor = descriptorOf(socket)
      try {
        if (descriptor !== undefined) boundSilence(descriptor, silenceMs)
      } catch {
        // Pings have to do.
      }
    })
    // With its scheme said, a host named `unix` or `dns`, say, is one, too.
    this.client = new Client(`dns:///${address}`, credentials, channelOptions)
    this.#timer = setTimeout(() => {
      this.unanswered = true
      this.end(`nobody answered within ${connectMs} ms`)
    }, connectMs)
    this.#timer.unref()
    this.#watch(grpc, this.client.getChannel().getConnectivityState(true))
  }

  get over(): boolean {
    return this.#over
  }

  /** @param cancel ends a call that is under way. @returns what is to be called when it has ended */
  track(cancel: () => void): () => void {
    this.#calls.add(cancel)
    return () => this.#calls.delete(cancel)
  }

  /** Ends it with every call on it, whatever the other side does. */
  abort(why: string): void {
    for (const cancel of [...this.#calls]) cancel()
    this.end(why)
  }

  /** Uses it no more. Calls under way may still be answered, as by a unit that stops in order. Idempotent. */
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
        // The calls that waited for it are told why by gRPC, in this turn.
        setImmediate(() => this.end('it could not be made'))
        return
      }
      this.#watch(grpc, next)
    })
  }
}

/** Plain TCP, with a look at each connection's socket. */
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

/** Node keeps it to itself; where it does, pings have to do. */
function descriptorOf(socket: Socket): number | undefined {
  const { _handle: handle } = socket as Socket & { _handle?: { fd?: unknown } | null }
  const descriptor = handle?.fd
  return typeof descriptor === 'number' && descriptor >= 0 ? descriptor : undefined
}

/** The client's end of the control plane: one gRPC channel to one unit, calls by name, typed, with coded errors. */
import type * as Grpc from '@grpc/grpc-js'
import { unwatchAbort, watchAbort } from '../abort-watch.js'
import { timeoutOf } from '../call/check.js'
import { deadlineTimer, longestTimerMs } from '../call/timer.js'
import { CheckpointError } from '../errors.js'
import type { ControlCall, RegionEventMessage, Reply, Request, WatchRegionMessage } from './messages.js'
import { loadControlProto } from './proto.js'
import { fromStatus } from './status.js'

/** Metadata key under which every call carries who makes it. */
export const identityKey = 'rdma-checkpoint-identity'

export interface ControlCallOptions {
  signal?: AbortSignal
  /** Milliseconds; 0 or Infinity for none. Default 30,000. */
  timeoutMs?: number
}

type Unary = (
  request: unknown,
  metadata: Grpc.Metadata,
  options: Grpc.CallOptions,
  callback: (error: Grpc.ServiceError | null, reply: unknown) => void,
) => Grpc.ClientUnaryCall
type ServerStreaming = (request: unknown, metadata: Grpc.Metadata) => Grpc.ClientReadableStream<unknown>

export class ControlChannel {
  #client: Grpc.Client & Record<string, Unary>
  #metadata: Grpc.Metadata
  #closed = false

  private constructor(
    /** host:port of the unit's control service. */
    readonly address: string,
    client: Grpc.Client,
    metadata: Grpc.Metadata,
  ) {
    this.#client = client as Grpc.Client & Record<string, Unary>
    this.#metadata = metadata
  }

  /** Makes the channel; gRPC connects at the first call, and again whenever the connection broke. */
  static async open(address: string, identity: string): Promise<ControlChannel> {
    const { grpc, Client } = await loadControlProto()
    const metadata = new grpc.Metadata()
    metadata.set(identityKey, encodeURIComponent(identity))
    // With its scheme said, a host named `unix` or `dns`, say, is one, too.
    const client = new Client(`dns:///${address}`, grpc.credentials.createInsecure(), {
      // A unit that restarts is found again within a fraction of a lease.
      'grpc.initial_reconnect_backoff_ms': 50,
      'grpc.min_reconnect_backoff_ms': 50,
      'grpc.max_reconnect_backoff_ms': 1000,
      // A proxy from the environment has no business between a process and its unit.
      'grpc.enable_http_proxy': 0,
    })
    return new ControlChannel(address, client, metadata)
  }

  /**
   * @throws CheckpointError what the unit threw; `ABORTED`, `TIMEOUT`, `CLOSED`, `CONNECTION_REFUSED` (nothing was
   * sent) or `CONNECTION_LOST`
   */
  async call<C extends ControlCall>(name: C, request: Request<C>, options: ControlCallOptions = {}): Promise<Reply<C>> {
    if (this.#closed) throw new CheckpointError('CLOSED', `${name}: the channel to ${this.address} was closed.`)
    const { signal } = options
    if (signal?.aborted) throw new CheckpointError('ABORTED', `${name} was aborted.`, { cause: signal.reason })
    const timeoutMs = timeoutOf(options)
    // Both ends of gRPC take what is longer than a timer for none, or for one that is over.
    const long = timeoutMs > longestTimerMs
    const callOptions: Grpc.CallOptions = long ? {} : { deadline: Date.now() + timeoutMs }
    return await new Promise<Reply<C>>((resolve, reject) => {
      const unary = this.#client[name]
      if (unary === undefined) {
        reject(new CheckpointError('INTERNAL', `control.proto has no call ${name}.`))
        return
      }
      const call = unary.call(this.#client, request, this.#metadata, callOptions, (error, reply) => {
        if (signal !== undefined) unwatchAbort(signal, abortable)
        timer?.cancel()
        if (error === null) resolve(reply as Reply<C>)
        else if (signal?.aborted) {
          reject(new CheckpointError('ABORTED', `${name} was aborted.`, { cause: signal.reason, outcome: 'unknown' }))
        } else reject(fromStatus(error, this.address, name))
      })
      const timer = long ? deadlineTimer(timeoutMs, () => call.cancel()) : undefined
      const abortable = { onAbort: () => call.cancel() }
      if (signal !== undefined) watchAbort(signal, abortable)
    })
  }

  /**
   * Events until the signal aborts or whoever iterates leaves; the iteration ends only by an error, or with the unit.
   * @throws CheckpointError as {@link call}
   */
  async *watchRegion(
    request: WatchRegionMessage,
    signal: AbortSignal,
  ): AsyncGenerator<RegionEventMessage, void, undefined> {
    const name = 'WatchRegion'
    if (this.#closed) throw new CheckpointError('CLOSED', `${name}: the channel to ${this.address} was closed.`)
    if (signal.aborted) throw new CheckpointError('ABORTED', `${name} was aborted.`, { cause: signal.reason })
    const start = this.#client[name] as unknown as ServerStreaming
    const stream = start.call(this.#client, request, this.#metadata)
    // What comes after the end of the iteration is nobody's.
    stream.on('error', () => undefined)
    const cancel = () => stream.cancel()
    signal.addEventListener('abort', cancel)
    try {
      for await (const message of stream) yield message as RegionEventMessage
    } catch (error) {
      throw fromStatus(error as Grpc.ServiceError, this.address, name)
    } finally {
      signal.removeEventListener('abort', cancel)
      stream.cancel()
    }
  }

  close(): void {
    this.#closed = true
    this.#client.close()
  }
}

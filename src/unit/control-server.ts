/** The gRPC server of a unit: control.proto and grpc.health.v1 on one address. */
import { once } from 'node:events'
import { type AddressInfo, createServer, type Server } from 'node:net'
import type * as Grpc from '@grpc/grpc-js'
import { formatAddress, type HostPort } from '../address.js'
import { identityKey, sessionKey } from '../control/channel.js'
import { type ControlProto, loadControlProto } from '../control/proto.js'
import { toStatus } from '../control/status.js'
import { UnreadableRequest } from '../control/unreadable-request.js'
import { CheckpointError } from '../errors.js'
import { ControlGuests } from './control-guests.js'
import type { Caller, ControlHandlers } from './control-service.js'
import { Health } from './health.js'
import { levelOf, type UnitJournal } from './journal.js'
import { unknownSession } from './sessions.js'

const serviceName = 'rdma_checkpoint.v1.Control'
/** Calls that need no session. */
const callsOfAnyone: ReadonlySet<string> = new Set(['Status', 'OpenSession'])
/** How long an orderly stop waits for calls under way. */
const drainMs = 2000
/** Of a client, beside its watches. */
const spareCalls = 1024

export interface ControlLimits {
  /** Connections that have no session. */
  readonly strangers: number
  /** Of a session. */
  readonly watches: number
  readonly knows: (session: bigint) => boolean
}

type Unary = Grpc.ServerUnaryCall<unknown, unknown>
type Streaming = Grpc.ServerWritableStream<unknown, unknown>

export class ControlServer {
  readonly address: HostPort
  readonly #listener: Server
  readonly #server: Grpc.Server
  readonly #health: Health
  readonly #guests: ControlGuests

  private constructor(listener: Server, server: Grpc.Server, health: Health, guests: ControlGuests, address: HostPort) {
    this.#listener = listener
    this.#server = server
    this.#health = health
    this.#guests = guests
    this.address = address
  }

  /**
   * Listens at once; calls other than Status wait for the handlers.
   * @throws CheckpointError `ADDRESS_IN_USE`, `SYSTEM`
   */
  static async listen(
    address: HostPort,
    handlers: Promise<ControlHandlers>,
    status: ControlHandlers['Status'],
    journal: Pick<UnitJournal, 'log' | 'tell'>,
    limits: ControlLimits,
  ): Promise<ControlServer> {
    const proto = await loadControlProto()
    const { grpc } = proto
    const guests = new ControlGuests(limits.strangers, limits.knows)
    const server = new grpc.Server({
      interceptors: [counting(proto, guests, journal)],
      // More than a client may have watches: one above this would wait at the client, with nothing said.
      'grpc.max_concurrent_streams': Math.min(limits.watches + spareCalls, 2 ** 31 - 1),
      'grpc.max_receive_message_length': 1 << 20,
      // A client's event loop may stand for long, and its call be under way all the same.
      'grpc.keepalive_time_ms': 30_000,
      'grpc.keepalive_timeout_ms': 60_000,
    })
    const health = new Health(['', serviceName])
    server.addService(proto.health, health.implementation)
    server.addService(proto.service, implementation(proto, handlers, status, journal, guests))
    const listener = await listenAlone(address)
    listener.on('error', (error) =>
      journal.log('error', 'the control service cannot accept', { because: error.message }),
    )
    const http2 = server.createConnectionInjector(grpc.ServerCredentials.createInsecure())
    listener.on('connection', (socket) => {
      guests.enter(socket)
      http2.injectConnection(socket)
    })
    return new ControlServer(listener, server, health, guests, {
      host: address.host,
      port: (listener.address() as AddressInfo).port,
    })
  }

  /** Connections now, and how many have given way. */
  get counters(): { controlConnections: number; controlYielded: number } {
    return { controlConnections: this.#guests.size, controlYielded: this.#guests.yielded }
  }

  setServing(serving: boolean): void {
    this.#health.setServing(serving)
  }

  /** Lets calls under way end, then breaks what is left. */
  async close(): Promise<void> {
    this.#listener.close()
    this.#health.close()
    await new Promise<void>((resolve) => {
      const timer = setTimeout(() => {
        this.#server.forceShutdown()
        resolve()
      }, drainMs)
      this.#server.tryShutdown(() => {
        clearTimeout(timer)
        resolve()
      })
    })
    // A session that has closed waits for its peer to close, too. One that stands still, or is cut off, would hold the process.
    await this.#guests.endAll()
  }
}

/**
 * Knows how many calls each connection has under way, whatever they are, from their first bytes on. A client that connects again
 * releases all that waited at once, so that whose they are has to be known before any of their messages is here.
 */
function counting(
  { grpc }: ControlProto,
  guests: ControlGuests,
  journal: Pick<UnitJournal, 'tell'>,
): Grpc.ServerInterceptor {
  return ({ path }, call) => {
    let end: () => void = () => undefined
    return new grpc.ServerInterceptingCall(call, {
      start: (next) =>
        next({
          onReceiveMetadata: (metadata, go) => {
            try {
              proveByMetadata(guests, call.getPeer(), path, metadata)
              end = guests.beginCall(call.getPeer())
            } catch (error) {
              const coded = error as CheckpointError
              const what = path.slice(path.lastIndexOf('/') + 1)
              journal.tell('refused', { what, owner: identityOf(metadata), error: coded }, levelOf(coded))
              call.sendStatus(toStatus(grpc, coded))
              return
            }
            go(metadata)
          },
          onCancel: () => end(),
        }),
      sendStatus: (answer, next) => {
        end()
        next(answer)
      },
    })
  }
}

function implementation(
  proto: ControlProto,
  handlers: Promise<ControlHandlers>,
  status: ControlHandlers['Status'],
  journal: Pick<UnitJournal, 'tell'>,
  guests: ControlGuests,
): Grpc.UntypedServiceImplementation {
  const result: Grpc.UntypedServiceImplementation = {}
  for (const [name, definition] of Object.entries(proto.service)) {
    if (definition.responseStream) {
      result[name] = (call: Streaming) => {
        prove(guests, call, call.request)
        void serveStream(proto, handlers, name, call, journal)
      }
      continue
    }
    const answer = async (call: Unary): Promise<unknown> => {
      if (call.request instanceof UnreadableRequest) throw call.request.error
      const caller: Caller = { identity: identityOf(call.metadata), gone: () => call.cancelled }
      if (name === 'Status') return await status({}, caller)
      const handler = (await handlers)[name as keyof ControlHandlers] as
        | ((request: unknown, caller: Caller) => unknown)
        | undefined
      if (handler === undefined) throw new CheckpointError('NOT_SUPPORTED', `This unit does not know the call ${name}.`)
      prove(guests, call, call.request)
      const reply = await handler(call.request, caller)
      prove(guests, call, reply)
      return reply
    }
    result[name] = (call: Unary, callback: Grpc.sendUnaryData<unknown>) => {
      answer(call).then(
        (reply) => callback(null, reply),
        (error: unknown) => {
          tellRefused(journal, name, call, error)
          callback(toStatus(proto.grpc, error))
        },
      )
    }
  }
  return result
}

/** @throws CheckpointError `SESSION_EXPIRED`: then the call is answered, and counts for nothing */
function proveByMetadata(guests: ControlGuests, peer: string, path: string, metadata: Grpc.Metadata): void {
  const [text] = metadata.get(sessionKey)
  if (typeof text !== 'string' || !/^\d{1,20}$/.test(text)) return
  const session = BigInt(text)
  if (guests.knows(session)) guests.prove(peer, session)
  else if (path.startsWith(`/${serviceName}/`) && !callsOfAnyone.has(path.slice(serviceName.length + 2))) {
    throw unknownSession(session)
  }
}

/** @param message that may name a session */
function prove(guests: ControlGuests, call: Unary | Streaming, message: unknown): void {
  const { session } = (message ?? {}) as { session?: unknown }
  if (typeof session === 'bigint') guests.prove(call.getPeer(), session)
}

/** As fast as the client takes what comes, and not longer than it wants it. Never rejects. */
async function serveStream(
  proto: ControlProto,
  handlers: Promise<ControlHandlers>,
  name: string,
  call: Streaming,
  journal: Pick<UnitJournal, 'tell'>,
): Promise<void> {
  const gone = new AbortController()
  call.on('cancelled', () => gone.abort())
  call.on('error', () => gone.abort())
  try {
    if (call.request instanceof UnreadableRequest) throw call.request.error
    const stream = (await handlers)[name as keyof ControlHandlers] as
      | ((request: unknown, signal: AbortSignal) => AsyncIterable<unknown>)
      | undefined
    if (stream === undefined) throw new CheckpointError('NOT_SUPPORTED', `This unit does not know the call ${name}.`)
    for await (const message of stream(call.request, gone.signal)) {
      if (!call.write(message) && !call.cancelled) await once(call, 'drain', { signal: gone.signal })
    }
    call.end()
  } catch (error) {
    if (call.cancelled || gone.signal.aborted) return
    tellRefused(journal, name, call, error)
    call.emit('error', toStatus(proto.grpc, error))
  }
}

function tellRefused(journal: Pick<UnitJournal, 'tell'>, what: string, call: Unary | Streaming, error: unknown): void {
  const coded =
    error instanceof CheckpointError
      ? error
      : new CheckpointError('INTERNAL', error instanceof Error ? error.message : String(error), { cause: error })
  const { name, region } = call.request as { name?: unknown; region?: unknown }
  const named = [name, region].find((text) => typeof text === 'string' && text !== '') as string | undefined
  const facts = { what, owner: identityOf(call.metadata), error: coded }
  journal.tell('refused', named === undefined ? facts : { ...facts, region: named }, levelOf(coded))
}

function identityOf(metadata: Grpc.Metadata): string {
  const value = metadata.get(identityKey)[0]
  if (typeof value !== 'string') return ''
  try {
    return decodeURIComponent(value)
  } catch {
    return ''
  }
}

/**
 * A listener that no other shares: gRPC's own would take SO_REUSEPORT, and in a worker of `node:cluster` the one port that
 * all workers have together, so that two units answered at one address. It would write to stderr when it cannot bind, too.
 */
async function listenAlone({ host, port }: HostPort): Promise<Server> {
  const listener = createServer({ noDelay: true })
  try {
    listener.listen({ host, port, exclusive: true })
    await once(listener, 'listening')
  } catch (error) {
    throw bindError({ host, port }, error as Error)
  }
  return listener
}

function bindError(address: HostPort, error: Error): CheckpointError {
  const where = formatAddress(address)
  if (error.message.includes('EADDRINUSE')) {
    return new CheckpointError(
      'ADDRESS_IN_USE',
      `The control service cannot listen on ${where}: the address is taken.`,
      {
        cause: error,
        help: 'Stop what listens there, or choose another port; port 0 takes any.',
      },
    )
  }
  return new CheckpointError('SYSTEM', `The control service cannot listen on ${where}: ${error.message}`, {
    cause: error,
  })
}

/** The gRPC server of a unit: control.proto and grpc.health.v1 on one address. */
import { once } from 'node:events'
import { createServer } from 'node:net'
import type * as Grpc from '@grpc/grpc-js'
import { formatAddress, type HostPort } from '../address.js'
import { identityKey } from '../control/channel.js'
import { type ControlProto, loadControlProto } from '../control/proto.js'
import { toStatus } from '../control/status.js'
import { UnreadableRequest } from '../control/unreadable-request.js'
import { CheckpointError } from '../errors.js'
import type { Caller, ControlHandlers } from './control-service.js'
import { Health } from './health.js'

const serviceName = 'rdma_checkpoint.v1.Control'
/** How long an orderly stop waits for calls under way. */
const drainMs = 2000

type Unary = Grpc.ServerUnaryCall<unknown, unknown>
type Streaming = Grpc.ServerWritableStream<unknown, unknown>

export class ControlServer {
  readonly address: HostPort
  readonly #server: Grpc.Server
  readonly #health: Health

  private constructor(server: Grpc.Server, health: Health, address: HostPort) {
    this.#server = server
    this.#health = health
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
  ): Promise<ControlServer> {
    const proto = await loadControlProto()
    const { grpc } = proto
    await assertBindable(address)
    const server = new grpc.Server({ 'grpc.max_receive_message_length': 1 << 20 })
    const health = new Health(['', serviceName])
    server.addService(proto.health, health.implementation)
    server.addService(proto.service, implementation(proto, handlers, status))
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync(formatAddress(address), grpc.ServerCredentials.createInsecure(), (error, bound) => {
        if (error === null) resolve(bound)
        else reject(bindError(address, error))
      })
    })
    return new ControlServer(server, health, { host: address.host, port })
  }

  setServing(serving: boolean): void {
    this.#health.setServing(serving)
  }

  /** Lets calls under way end, then breaks what is left. */
  async close(): Promise<void> {
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
  }
}

function implementation(
  proto: ControlProto,
  handlers: Promise<ControlHandlers>,
  status: ControlHandlers['Status'],
): Grpc.UntypedServiceImplementation {
  const result: Grpc.UntypedServiceImplementation = {}
  for (const [name, definition] of Object.entries(proto.service)) {
    if (definition.responseStream) {
      result[name] = (call: Streaming) => void serveStream(proto, handlers, name, call)
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
      return await handler(call.request, caller)
    }
    result[name] = (call: Unary, callback: Grpc.sendUnaryData<unknown>) => {
      answer(call).then(
        (reply) => callback(null, reply),
        (error: unknown) => callback(toStatus(proto.grpc, error)),
      )
    }
  }
  return result
}

/** As fast as the client takes what comes, and not longer than it wants it. Never rejects. */
async function serveStream(
  proto: ControlProto,
  handlers: Promise<ControlHandlers>,
  name: string,
  call: Streaming,
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
    if (!call.cancelled && !gone.signal.aborted) call.emit('error', toStatus(proto.grpc, error))
  }
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

/** gRPC writes to stderr when it cannot bind, which this library does not do; so what fails is found out before. */
async function assertBindable({ host, port }: HostPort): Promise<void> {
  const probe = createServer()
  try {
    probe.listen({ host, port, exclusive: true })
    await once(probe, 'listening')
  } catch (error) {
    throw bindError({ host, port }, error as Error)
  }
  probe.close()
  await once(probe, 'close')
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

// The control plane by hand, for the tokens that a client keeps to itself.
import { fileURLToPath } from 'node:url'
import * as grpc from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { connectData, connectionKind, heartbeat, hello } from './messages.js'
import { RawPeer } from './raw-peer.js'

const protoFile = fileURLToPath(new URL('../../../src/control/control.proto', import.meta.url))

interface Opened {
  handle: string
  token: Buffer
  epoch: string
}

type Service = Record<string, Unary> & { close(): void }
type Unary = (request: object, callback: (error: Error | null, reply: never) => void) => void

/** A session with its connection and heartbeats, which opens regions and hands out their tokens. */
export class RawSession {
  readonly #service: Service
  readonly #session: string
  readonly #connection: RawPeer
  readonly #beats: NodeJS.Timeout
  readonly data: string

  private constructor(service: Service, session: string, connection: RawPeer, data: string) {
    this.#service = service
    this.#session = session
    this.#connection = connection
    this.data = data
    let sequence = 0n
    this.#beats = setInterval(() => connection.send(heartbeat(++sequence)), 100)
  }

  static async open(address: string): Promise<RawSession> {
    const service = serviceAt(address)
    const opened = await call<{
      session: string
      token: Buffer
      endpoints: { transport: string; host: string; port: number }[]
    }>(service, 'OpenSession', { clientVersion: '0.1.0', identity: 'hostile', clientId: Buffer.alloc(16, 7) })
    const endpoint = opened.endpoints.find(({ transport }) => transport === 'iwarp')
    if (endpoint === undefined) throw new Error('the unit has no iwarp endpoint')
    const data = `${endpoint.host}:${endpoint.port}`
    const connection = await RawPeer.connect(data)
    await connection.setUp({ privateData: connectData(connectionKind.session, opened.token) })
    connection.send(hello())
    await connection.until(() => connection.messages.length > 0, 'the welcome')
    return new RawSession(service, opened.session, connection, data)
  }

  call<T>(method: string, request: object): Promise<T> {
    return call<T>(this.#service, method, { session: this.#session, ...request })
  }

  async createRegion(name: string, bytes: number): Promise<void> {
    await this.call('CreateRegion', { name, bytes: String(bytes), mode: 'RAW' })
  }

  openRegion(name: string, mode: 'READ' | 'WRITE', more: object = {}): Promise<Opened> {
    return this.call<Opened>('OpenRegion', { name, mode, ...more })
  }

  closeRegion(handle: string): Promise<unknown> {
    return this.call('CloseRegion', { handle })
  }

  async sessionToken(): Promise<Buffer> {
    const reply = await this.call<{ token: Buffer }>('ResumeSession', { clientId: Buffer.alloc(16, 7) })
    return reply.token
  }

  async close(): Promise<void> {
    clearInterval(this.#beats)
    await this.call('CloseSession', {}).catch(() => {})
    this.#connection.destroy()
    this.#service.close()
  }
}

function serviceAt(address: string): Service {
  const definition = grpc.loadPackageDefinition(loadSync(protoFile, { longs: String, defaults: true }))
  const { v1 } = definition.rdma_checkpoint as unknown as {
    v1: { Control: new (address: string, credentials: grpc.ChannelCredentials) => Service }
  }
  return new v1.Control(address, grpc.credentials.createInsecure())
}

/** What the unit's data plane has counted since it started. */
export async function unitCounters(address: string): Promise<Record<string, bigint>> {
  const service = serviceAt(address)
  const { counters } = await call<{ counters: Record<string, string> }>(service, 'Status', {})
  service.close()
  return Object.fromEntries(Object.entries(counters).map(([name, value]) => [name, BigInt(value)]))
}

function call<T>(service: Service, method: string, request: object): Promise<T> {
  return new Promise((resolve, reject) => {
    service[method]!(request, (error, reply) => (error ? reject(error) : resolve(reply)))
  })
}

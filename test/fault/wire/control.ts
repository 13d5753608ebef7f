// The control plane by hand, for the tokens that a client keeps to itself.
import { ControlChannel } from '../../../src/control/channel.js'
import type { ControlCall, Reply, Request } from '../../../src/control/messages.js'
import { connectData, connectionKind, heartbeat, hello } from './messages.js'
import { RawPeer } from './raw-peer.js'

const clientId = Buffer.alloc(16, 7)

/** A session with its connection and heartbeats, which opens regions and hands out their tokens. */
export class RawSession {
  readonly #channel: ControlChannel
  readonly #session: bigint
  readonly #connection: RawPeer
  readonly #beats: NodeJS.Timeout
  readonly data: string

  private constructor(channel: ControlChannel, session: bigint, connection: RawPeer, data: string) {
    this.#channel = channel
    this.#session = session
    this.#connection = connection
    this.data = data
    let sequence = 0n
    this.#beats = setInterval(() => connection.send(heartbeat(++sequence)), 100)
  }

  static async open(address: string): Promise<RawSession> {
    const channel = await ControlChannel.open(address, 'hostile')
    const opened = await channel.call('OpenSession', { clientVersion: '0.1.0', identity: 'hostile', clientId })
    const endpoint = opened.endpoints.find(({ transport }) => transport === 'iwarp')
    if (endpoint === undefined) throw new Error('the unit has no iwarp endpoint')
    const data = `${endpoint.host}:${endpoint.port}`
    const connection = await RawPeer.connect(data)
    await connection.setUp({ privateData: connectData(connectionKind.session, opened.token) })
    connection.send(hello())
    await connection.until(() => connection.messages.length > 0, 'the welcome')
    return new RawSession(channel, opened.session, connection, data)
  }

  call<C extends ControlCall>(name: C, request: Omit<Request<C>, 'session'>): Promise<Reply<C>> {
    return this.#channel.call(name, { ...request, session: this.#session } as unknown as Request<C>)
  }

  async createRegion(name: string, bytes: number): Promise<void> {
    await this.call('CreateRegion', { name, bytes: BigInt(bytes), mode: 'RAW' })
  }

  openRegion(name: string, mode: 'READ' | 'WRITE', more: Partial<Request<'OpenRegion'>> = {}) {
    return this.call('OpenRegion', { name, mode, ...more })
  }

  closeRegion(handle: bigint): Promise<unknown> {
    return this.call('CloseRegion', { handle })
  }

  async sessionToken(): Promise<Uint8Array> {
    return (await this.call('ResumeSession', { clientId })).token
  }

  async close(): Promise<void> {
    clearInterval(this.#beats)
    await this.call('CloseSession', {}).catch(() => {})
    this.#connection.destroy()
    this.#channel.close()
  }
}

/** What the unit's data plane has counted since it started. */
export async function unitCounters(address: string): Promise<Record<string, bigint>> {
  const channel = await ControlChannel.open(address, 'counters')
  const { counters } = await channel.call('Status', {})
  channel.close()
  return Object.fromEntries(counters)
}

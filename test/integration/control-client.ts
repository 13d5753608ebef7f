/** A bare client of the control service, for tests of what a unit answers. */
import { randomBytes } from 'node:crypto'
import { ControlChannel } from '../../src/control/channel.js'
import type { ControlCall, RegionInfoMessage, Reply, Request } from '../../src/control/messages.js'

export class ControlClient {
  readonly channel: ControlChannel
  readonly clientId = randomBytes(16)
  session = 0n

  private constructor(channel: ControlChannel) {
    this.channel = channel
  }

  static async open(address: string, identity = 'test@host'): Promise<ControlClient> {
    const client = new ControlClient(await ControlChannel.open(address, identity))
    const { session } = await client.channel.call('OpenSession', { clientId: client.clientId, identity })
    client.session = session
    return client
  }

  call<C extends ControlCall>(name: C, request: Omit<Request<C>, 'session'>, signal?: AbortSignal): Promise<Reply<C>> {
    const whole = { ...request, session: this.session } as unknown as Request<C>
    return this.channel.call(name, whole, signal === undefined ? {} : { signal })
  }

  async create(name: string, bytes: number): Promise<RegionInfoMessage> {
    const { region } = await this.call('CreateRegion', {
      name,
      bytes: BigInt(bytes),
      mode: 'RAW',
      lease: { silenceMs: 60_000 },
    })
    return region!
  }

  async list(pageSize = 0): Promise<RegionInfoMessage[]> {
    const all: RegionInfoMessage[] = []
    for (;;) {
      const { regions, more } = await this.call('ListRegions', { pageAfter: all.at(-1)?.name ?? '', pageSize })
      all.push(...regions)
      if (!more) return all
    }
  }

  close(): void {
    this.channel.close()
  }
}

/** Runs work on each item, so many at a time. */
export async function eachOf<T>(
  items: readonly T[],
  atOnce: number,
  work: (item: T) => Promise<unknown>,
): Promise<void> {
  const rest = items[Symbol.iterator]()
  const worker = async () => {
    for (let next = rest.next(); !next.done; next = rest.next()) await work(next.value)
  }
  await Promise.all(Array.from({ length: atOnce }, worker))
}

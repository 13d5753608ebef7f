/** `rdma-checkpoint status`: shows the state of a unit. */
import { unitAddress } from '../address.js'
import { ControlChannel } from '../control/channel.js'
import { formatSize } from './sizes.js'
import { printFields, printJson } from './terminal.js'

/** @returns whether the unit is ready */
export async function status(address: string, options: { json?: boolean; timeout: number }): Promise<boolean> {
  const channel = await ControlChannel.open(unitAddress(address), `status:${process.pid}`)
  try {
    const found = await channel.call('Status', {}, { timeoutMs: options.timeout })
    if (options.json) {
      const { promises, endpoints, counters, ...rest } = found
      printJson({ address, ...rest, counters: Object.fromEntries(counters), promises, endpoints })
    } else {
      printFields([
        ['state', found.state],
        ['unit', found.id],
        ['version', found.version],
        ['starts', String(found.starts)],
        ['medium', `${found.medium} (${found.promises.join(', ')})`],
        ['used', `${formatSize(found.used)} of ${formatSize(found.bytes)}`],
        ['regions', `${found.regions} of at most ${found.maxRegions}`],
        ['sessions', String(found.sessions)],
        ['data', found.endpoints.map(({ transport, host, port }) => `${transport} ${host}:${port}`).join(', ')],
      ])
    }
    return found.state === 'ready'
  } finally {
    channel.close()
  }
}

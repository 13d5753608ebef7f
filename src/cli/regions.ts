/** `rdma-checkpoint regions`: what a unit holds. */
import type { Client } from '../client/client.js'
import { printable } from '../printable.js'
import type { OnFull, RegionInfo, RegionMode } from '../types.js'
import { formatSize } from './sizes.js'
import { printFields, printJson, printTable, withProgress } from './terminal.js'

export interface OutputOptions {
  json?: boolean
  timeout: number
}

export async function withClient<T>(
  address: string,
  options: OutputOptions,
  work: (client: Client) => Promise<T>,
): Promise<T> {
  const { connect } = await import('../client/connect.js')
  const client = await connect(address, { timeoutMs: options.timeout })
  return await closingAfter(
    () => work(client),
    () => client.close({ timeoutMs: options.timeout }),
  )
}

/** Closes in any case. What the work failed with counts more than what the close did. */
export async function closingAfter<T>(work: () => Promise<T>, close: () => Promise<void>): Promise<T> {
  let result: T
  try {
    result = await work()
  } catch (error) {
    await close().catch(() => undefined)
    throw error
  }
  await close()
  return result
}

export async function listRegions(address: string, options: OutputOptions & { prefix?: string }): Promise<void> {
  const regions = await withClient(address, options, (client) =>
    withProgress('Listing regions', async (at) => {
      const found: RegionInfo[] = []
      for await (const region of client.regions(options.prefix === undefined ? {} : { prefix: options.prefix })) {
        found.push(region)
        at(String(found.length))
      }
      return found
    }),
  )
  if (options.json) {
    printJson(regions)
    return
  }
  const rows = regions.map((region) => [
    printable(region.name),
    formatSize(region.bytes),
    region.mode,
    String(region.epoch),
    region.owner === undefined ? '-' : printable(region.owner.identity),
    region.owner?.since.toISOString() ?? '-',
  ])
  printTable(['NAME', 'SIZE', 'MODE', 'EPOCH', 'OWNER', 'SINCE'], rows)
}

export interface CreateOptions extends OutputOptions {
  bytes: number
  mode?: RegionMode
  onFull?: OnFull
  silenceMs?: number
  stallMs?: number
  labels: Record<string, string>
}

export async function createRegion(address: string, name: string, options: CreateOptions): Promise<void> {
  const lease = {
    ...(options.silenceMs === undefined ? {} : { silenceMs: options.silenceMs }),
    ...(options.stallMs === undefined ? {} : { stallMs: options.stallMs }),
  }
  const info = await withClient(address, options, (client) =>
    withProgress(`Creating ${printable(name)}`, async () => {
      const region = await client.createRegion(name, {
        bytes: options.bytes,
        ...(options.mode === undefined ? {} : { mode: options.mode }),
        ...(options.onFull === undefined ? {} : { onFull: options.onFull }),
        lease,
        labels: options.labels,
        timeoutMs: options.timeout,
      })
      return await closingAfter(
        () => region.metadata({ timeoutMs: options.timeout }),
        () => region.close(),
      )
    }),
  )
  if (options.json) {
    // Its creator has just closed it.
    const { owner: _, ...rest } = info
    printJson(rest)
  } else process.stdout.write(`created ${printable(info.name)} (${info.id}): ${formatSize(info.bytes)}, ${info.mode}\n`)
}

export async function deleteRegion(address: string, name: string, options: OutputOptions): Promise<void> {
  await withClient(address, options, (client) =>
    withProgress(`Deleting ${printable(name)}`, () => client.deleteRegion(name, { timeoutMs: options.timeout })),
  )
  if (options.json) printJson({ deleted: name })
  else process.stdout.write(`deleted ${printable(name)}\n`)
}

/** Raises the epoch, whether or not the region has an owner. Once this has answered, no write of that owner lands. */
export async function takeOverRegion(address: string, name: string, options: OutputOptions): Promise<void> {
  const call = { timeoutMs: options.timeout }
  const taken = await withClient(address, options, (client) =>
    withProgress(`Taking over ${printable(name)}`, async () => {
      const { owner } = await (await client.openRegion(name, call)).metadata(call)
      const region = await client.openRegion(name, { mode: 'takeOver', ...call })
      const { epoch } = region
      await region.close()
      return { region: name, epoch, ...(owner === undefined ? {} : { fenced: owner }) }
    }),
  )
  if (options.json) {
    printJson(taken)
    return
  }
  const owner = taken.fenced === undefined ? 'nobody owned it' : `${printable(taken.fenced.identity)} was fenced`
  process.stdout.write(`took over ${printable(name)}: ${owner}; epoch ${taken.epoch}; it has no owner now\n`)
}

/** The region's entry in the unit's tables, read by RDMA. */
export async function showMetadata(address: string, name: string, options: OutputOptions): Promise<void> {
  const { info, context } = await withClient(address, options, async (client) => {
    const region = await client.openRegion(name, { timeoutMs: options.timeout })
    const call = { timeoutMs: options.timeout }
    return { info: await region.metadata(call), context: await region.addressContext(call) }
  })
  if (options.json) {
    printJson({ ...info, address: context })
    return
  }
  const labels = Object.entries(info.labels).map(([key, value]) => printable(`${key}=${value}`))
  const cursors = info.cursors.map((cursor) =>
    printable(`${cursor.name} at ${cursor.sequence} (epoch ${cursor.epoch})`),
  )
  printFields([
    ['name', printable(info.name)],
    ['id', info.id],
    ['size', `${formatSize(info.bytes)} (${info.bytes} bytes)`],
    ['mode', `${info.mode}, ${info.onFull}`],
    ['epoch', String(info.epoch)],
    [
      'owner',
      info.owner === undefined ? '-' : `${printable(info.owner.identity)} since ${info.owner.since.toISOString()}`,
    ],
    [
      'lease',
      `silence ${info.lease.silenceMs} ms, stall ${info.lease.stallMs === 0 ? 'never' : `${info.lease.stallMs} ms`}`,
    ],
    ['labels', labels.join(', ') || '-'],
    ['cursors', cursors.join(', ') || '-'],
    ['reached by', `${context.transport} ${context.endpoint}, base ${context.base}, length ${context.length}`],
  ])
}

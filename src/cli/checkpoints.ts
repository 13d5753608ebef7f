/** `rdma-checkpoint checkpoints`: lists a region's checkpoints, extracts one to a file, and clears them. */
import type { RegionReader } from '../client/region.js'
import { CheckpointError } from '../errors.js'
import { printable } from '../printable.js'
import { writeOutput } from './output-file.js'
import { closingAfter, type OutputOptions, withClient } from './regions.js'
import { formatSize } from './sizes.js'
import { printJson, printTable, withProgress } from './terminal.js'

export async function listCheckpoints(address: string, name: string, options: OutputOptions): Promise<void> {
  const infos = await withRegion(address, name, options, (region) =>
    withProgress('Reading the log', () => region.checkpoints().list({ timeoutMs: options.timeout })),
  )
  if (options.json) {
    printJson(infos.map(({ cursor: _, ...info }) => info))
    return
  }
  const rows = infos.map((info) => {
    if (info.damaged) {
      const { sequence, through } = info
      return [sequence === through ? String(sequence) : `${sequence}-${through}`, '', 'damaged', '', '', '']
    }
    return [
      String(info.sequence),
      String(info.epoch),
      info.writtenAt.toISOString(),
      formatSize(info.bytes),
      codecNames[info.codec] ?? String(info.codec),
      String(info.schema),
    ]
  })
  printTable(['SEQUENCE', 'EPOCH', 'WRITTEN', 'SIZE', 'CODEC', 'SCHEMA'], rows)
}

const codecNames = ['raw', 'json', 'v8']

export interface ExtractOptions extends OutputOptions {
  /** Default: the newest. */
  sequence?: bigint
  /** A file, or - for stdout. */
  output: string
}

/** The encoded bytes as they were written. */
export async function extractCheckpoint(address: string, name: string, options: ExtractOptions): Promise<void> {
  const written = await withRegion(address, name, options, async (region) => {
    const reader = region.checkpoints()
    const infos = await reader.list({ timeoutMs: options.timeout })
    const wanted = options.sequence ?? infos.at(-1)?.sequence
    if (wanted === undefined) throw new CheckpointError('CHECKPOINT_NOT_FOUND', `Region "${name}" holds no checkpoint.`)
    const info = infos.find(({ sequence }) => sequence === wanted)
    const bytes = info?.damaged ? undefined : info?.bytes
    const stream = reader.stream(wanted, { timeoutMs: options.timeout })
    const total = await withProgress(`Extracting checkpoint ${wanted}`, (at) =>
      writeOutput(options.output, stream, (done) =>
        at(`${formatSize(done)}${bytes === undefined ? '' : ` of ${formatSize(bytes)}`}`),
      ),
    )
    return { sequence: wanted, bytes: total, output: options.output }
  })
  if (options.output === '-') return
  if (options.json) printJson(written)
  else process.stdout.write(`checkpoint ${written.sequence}: ${written.bytes} bytes to ${written.output}\n`)
}

export interface ClearOptions extends OutputOptions {
  /** Only what has a lower sequence number. */
  before?: bigint
  /** Fence the region's owner if it is alive. */
  takeOver?: boolean
}

/** Owns the region for a moment, so its epoch rises by one. */
export async function clearCheckpoints(address: string, name: string, options: ClearOptions): Promise<void> {
  const call = { timeoutMs: options.timeout }
  const cleared = await withClient(address, options, (client) =>
    withProgress(`Clearing ${printable(name)}`, async () => {
      const mode = options.takeOver ? 'takeOver' : 'write'
      const region = await client.openRegion(name, { mode, ...call })
      const clear = async () => {
        const log = region.log()
        const before = options.before === undefined ? {} : { before: options.before }
        const had = await log.list(call)
        const ack = await log.clear({ ...before, ...call })
        const left = await log.list(call)
        return { region: name, removed: had.length - left.length, left: left.length, durability: ack.durability }
      }
      return await closingAfter(clear, () => region.close())
    }),
  )
  if (options.json) printJson(cleared)
  else process.stdout.write(`cleared ${printable(name)}: ${cleared.removed} removed, ${cleared.left} left\n`)
}

export async function withRegion<T>(
  address: string,
  name: string,
  options: OutputOptions,
  work: (region: RegionReader) => Promise<T>,
): Promise<T> {
  return await withClient(address, options, async (client) => {
    const region = await client.openRegion(name, { timeoutMs: options.timeout })
    return await work(region)
  })
}

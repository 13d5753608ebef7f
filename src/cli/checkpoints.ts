/** `rdma-checkpoint checkpoints`: what a region's log holds, and one of them into a file. */
import { randomBytes } from 'node:crypto'
import { open, rename, unlink } from 'node:fs/promises'
import type { RegionReader } from '../client/region.js'
import { CheckpointError } from '../errors.js'
import { type OutputOptions, withClient } from './regions.js'
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
  const rows = infos.map((info) => [
    String(info.sequence),
    String(info.epoch),
    info.writtenAt.toISOString(),
    formatSize(info.bytes),
    codecNames[info.codec] ?? String(info.codec),
    String(info.schema),
  ])
  printTable(['SEQUENCE', 'EPOCH', 'WRITTEN', 'SIZE', 'CODEC', 'SCHEMA'], rows)
}

const codecNames = ['raw', 'json', 'v8']

export interface ExtractOptions extends OutputOptions {
  /** Default: the newest. */
  sequence?: bigint
  /** A file, or - for stdout. */
  output: string
}

/** The encoded bytes as they were written. The file is there when it is whole, and not before. */
export async function extractCheckpoint(address: string, name: string, options: ExtractOptions): Promise<void> {
  const written = await withRegion(address, name, options, async (region) => {
    const reader = region.checkpoints()
    const infos = await reader.list({ timeoutMs: options.timeout })
    const wanted = options.sequence ?? infos.at(-1)?.sequence
    if (wanted === undefined) throw new CheckpointError('CHECKPOINT_NOT_FOUND', `Region "${name}" holds no checkpoint.`)
    const bytes = infos.find((info) => info.sequence === wanted)?.bytes
    const stream = reader.stream(wanted, { timeoutMs: options.timeout })
    const total = await withProgress(`Extracting checkpoint ${wanted}`, (at) =>
      copyTo(options.output, stream, (done) =>
        at(`${formatSize(done)}${bytes === undefined ? '' : ` of ${formatSize(bytes)}`}`),
      ),
    )
    return { sequence: wanted, bytes: total, output: options.output }
  })
  if (options.output === '-') return
  if (options.json) printJson(written)
  else process.stdout.write(`checkpoint ${written.sequence}: ${written.bytes} bytes to ${written.output}\n`)
}

async function copyTo(output: string, stream: ReadableStream<Uint8Array>, at: (done: number) => void): Promise<number> {
  let done = 0
  if (output === '-') {
    for await (const chunk of stream) {
      if (!process.stdout.write(chunk)) await new Promise((resolve) => process.stdout.once('drain', resolve))
      done += chunk.byteLength
    }
    return done
  }
  const partial = `${output}.${randomBytes(4).toString('hex')}.partial`
  const file = await open(partial, 'wx')
  try {
    for await (const chunk of stream) {
      await file.writeFile(chunk)
      done += chunk.byteLength
      at(done)
    }
    await file.sync()
    await file.close()
    await rename(partial, output)
  } catch (error) {
    await file.close().catch(() => undefined)
    await unlink(partial)
    throw error
  }
  return done
}

async function withRegion<T>(
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

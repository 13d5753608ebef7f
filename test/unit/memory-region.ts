/**
 * A region in memory that behaves as badly as a real one may: writes land piece by piece while others read, a writer dies
 * in the middle of one, and a crash of the unit takes any subset of the blocks that were not flushed.
 */
import { randomUUID } from 'node:crypto'
import type { LogFinding, RegionReadAccess, RegionWriteAccess } from '../../src/checkpoint/region-access.js'
import { VerifiedCheckpoints } from '../../src/checkpoint/verified.js'
import { CheckpointError } from '../../src/errors.js'
import type { Ack, Durability, OnFull, RegionInfo } from '../../src/types.js'
import { Random } from './random.js'

const table = Uint32Array.from({ length: 256 }, (_, index) => {
  let crc = index
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1
  return crc
})

export function crc32c(bytes: Uint8Array, seed = 0): number {
  let crc = ~seed
  for (let index = 0; index < bytes.length; index++) {
    crc = (table[(crc ^ (bytes[index] as number)) & 0xff] as number) ^ (crc >>> 8)
  }
  return ~crc >>> 0
}

/** As the native function. */
function takeChanges(
  base: Uint8Array,
  state: Uint8Array,
  blockBytes: number,
  mostBytes: number,
): Uint8Array | undefined {
  const runs: { offset: number; end: number }[] = []
  for (let from = 0; from < state.length; from += blockBytes) {
    const end = Math.min(from + blockBytes, state.length)
    if (end <= base.length && Buffer.compare(base.subarray(from, end), state.subarray(from, end)) === 0) continue
    const last = runs.at(-1)
    if (last?.end === from) last.end = end
    else runs.push({ offset: from, end })
  }
  const bytes = new Uint8Array(runs.reduce((sum, { offset, end }) => sum + 16 + end - offset, 0))
  if (bytes.length > mostBytes) {
    base.fill(0xdd)
    return undefined
  }
  let at = 0
  for (const { offset, end } of runs) {
    new DataView(bytes.buffer).setBigUint64(at, BigInt(offset), true)
    new DataView(bytes.buffer).setBigUint64(at + 8, BigInt(end - offset), true)
    bytes.set(state.subarray(offset, end), at + 16)
    if (offset < base.length) base.set(state.subarray(offset, Math.min(end, base.length)), offset)
    at += 16 + end - offset
  }
  return bytes
}

interface Operation {
  ranges: readonly { offset: number; bytes: Uint8Array }[]
  flush: readonly { offset: number; length: number }[]
  done: () => void
  failed: (error: unknown) => void
}

export interface MemoryRegionOptions {
  bytes: number
  mode?: 'append' | 'overwrite' | 'raw'
  onFull?: OnFull
  strongest?: Durability
  random?: Random
  /** Largest piece in which a write lands; readers run between two. Default: all at once. */
  pieceBytes?: number
  /** Largest piece in which a read is taken; default as for writes. */
  readPieceBytes?: number
  /** What a crash keeps or loses as one. */
  blockBytes?: number
  /** Readers and owners are of one client, which remembers what it has read whole. */
  oneClient?: boolean
  /** What is visible when an owner opens the region is made durable first. */
  durableWhenOpened?: boolean
}

export class MemoryRegion {
  readonly id = randomUUID()
  readonly visible: Uint8Array
  readonly medium: Uint8Array
  readonly options: Required<Omit<MemoryRegionOptions, 'random'>>
  readonly random: Random
  cursors: { name: string; epoch: bigint; sequence: bigint }[] = []
  epoch = 0n
  rollbacks = 0
  reads = 0
  readBytes = 0
  writes = 0
  flushes = 0
  /** That durable writes and flushes were asked to make durable. */
  flushedBytes = 0
  readonly verified = new VerifiedCheckpoints()
  metadataCalls = 0
  /** What owners found. */
  readonly findings: LogFinding[] = []
  /** Writes that are posted from now on: to be failed instead of landing, by their number counted from the first. */
  readonly failing = new Map<number, { error: unknown; lands: boolean }>()
  /** Staging memory in the order in which it was taken. */
  readonly stagings: { released: boolean }[] = []
  /** Awaited before each operation lands. */
  gate: Promise<void> = Promise.resolve()
  #operations: Operation[] = []
  #running = false
  /** Owners up to this epoch are dead: their calls never settle. */
  #deadEpoch = 0n

  constructor(options: MemoryRegionOptions) {
    const { random, ...rest } = options
    this.random = random ?? new Random(1)
    this.options = {
      mode: 'append',
      onFull: 'drop-oldest',
      strongest: 'durable',
      pieceBytes: Number.POSITIVE_INFINITY,
      readPieceBytes: options.pieceBytes ?? Number.POSITIVE_INFINITY,
      blockBytes: 4096,
      oneClient: false,
      durableWhenOpened: false,
      ...rest,
    }
    this.visible = new Uint8Array(options.bytes)
    this.medium = new Uint8Array(options.bytes)
  }

  reader(): RegionReadAccess {
    const region = this
    const { mode, onFull } = this.options
    return {
      name: 'test',
      id: this.id,
      bytes: this.visible.length,
      mode,
      onFull,
      crc32c,
      get unitStart() {
        return BigInt(region.rollbacks + 1)
      },
      ...(this.options.oneClient ? { verified: this.verified } : {}),
      async readInto(ranges, options = {}) {
        if (options.signal?.aborted) throw new CheckpointError('ABORTED', 'aborted')
        region.reads++
        for (const { offset, bytes } of ranges) {
          region.readBytes += bytes.length
          if (offset < 0 || offset + bytes.length > region.visible.length) throw new Error('read out of bounds')
          const { readPieceBytes } = region.options
          for (let from = 0; from < bytes.length; from += readPieceBytes) {
            await undefined
            const length = Math.min(bytes.length - from, readPieceBytes)
            bytes.set(region.visible.subarray(offset + from, offset + from + length), from)
            if (length === bytes.length) break
          }
        }
      },
      async metadata() {
        region.metadataCalls++
        await undefined
        return {
          name: 'test',
          id: region.id,
          bytes: BigInt(region.visible.length),
          mode,
          onFull,
          epoch: region.epoch,
          lease: { silenceMs: 1000, stallMs: 10_000 },
          labels: {},
          cursors: region.cursors,
        } satisfies RegionInfo
      },
      async saveCursor(cursor) {
        region.cursors = [...region.cursors.filter(({ name }) => name !== cursor.name), cursor]
      },
    }
  }

  /** A new owner. */
  owner(): RegionWriteAccess {
    this.epoch++
    if (this.options.durableWhenOpened) this.medium.set(this.visible)
    const region = this
    const epoch = this.epoch
    const ack = (durability: Durability): Ack => ({
      durability,
      method: durability === 'durable' ? 'unit-flush' : 'none',
      epoch,
    })
    const alive = async () => {
      if (epoch <= region.#deadEpoch) await new Promise(() => {})
      if (region.epoch !== epoch) throw new CheckpointError('FENCED', 'a later epoch owns the region')
    }
    const { unitStart: _, ...reader } = this.reader()
    return {
      ...reader,
      get unitStart() {
        return BigInt(region.rollbacks + 1)
      },
      durableWhenOpened: this.options.durableWhenOpened,
      epoch,
      strongest: this.options.strongest,
      get rollbacks() {
        return region.rollbacks
      },
      async writeAll(ranges, options) {
        const dead = alive()
        if (epoch !== region.epoch || epoch <= region.#deadEpoch) await dead
        const durability = options.durability ?? region.options.strongest
        const number = region.writes++
        const failure = region.failing.get(number)
        if (failure !== undefined && !failure.lands) {
          await region.gate
          throw failure.error
        }
        const flush =
          durability === 'durable'
            ? [...ranges.map(({ offset, bytes }) => ({ offset, length: bytes.length })), ...(options.alsoFlush ?? [])]
            : []
        if (durability === 'visible' && options.alsoFlush !== undefined) throw new Error('alsoFlush without durable')
        await region.#post(ranges, flush)
        if (failure !== undefined) throw failure.error
        return ack(durability)
      },
      async flush(ranges) {
        const dead = alive()
        if (epoch !== region.epoch || epoch <= region.#deadEpoch) await dead
        region.flushes++
        await region.#post([], ranges)
        return ack('durable')
      },
      noteFinding(finding) {
        region.findings.push(finding)
      },
      staging(bytes) {
        const memory = new Uint8Array(bytes)
        const taken = { released: false }
        region.stagings.push(taken)
        return {
          bytes: memory,
          release: () => {
            taken.released = true
            // Whoever still used it would be found out by a checksum.
            memory.fill(0xdd)
          },
        }
      },
      copyCrc32c(target, targetOffset, source, seed) {
        target.set(source, targetOffset)
        return crc32c(source, seed)
      },
      takeChanges,
    }
  }

  /** Another region in the same state, with nothing under way. */
  copy(): MemoryRegion {
    const copy = new MemoryRegion({ ...this.options, bytes: this.visible.length, random: this.random })
    Object.assign(copy, { id: this.id, epoch: this.epoch, cursors: [...this.cursors], rollbacks: this.rollbacks })
    copy.visible.set(this.visible)
    copy.medium.set(this.medium)
    return copy
  }

  get idle(): boolean {
    return !this.#running
  }

  /** The owner is gone: of what is on its way, a part of one operation more may land. Its calls never settle. */
  kill(): void {
    this.#deadEpoch = this.epoch
    const [operation] = this.#operations
    this.#operations = []
    if (operation === undefined) return
    let left = this.random.below(operation.ranges.reduce((sum, { bytes }) => sum + bytes.length, 0) + 1)
    for (const { offset, bytes } of operation.ranges) {
      this.visible.set(bytes.subarray(0, left), offset)
      left = Math.max(0, left - bytes.length)
    }
  }

  /** The unit dies and comes back: what was not flushed is there or not, block by block. */
  crash(keep = this.random.next()): void {
    const { blockBytes } = this.options
    for (let from = 0; from < this.visible.length; from += blockBytes) {
      const to = Math.min(from + blockBytes, this.visible.length)
      if (this.random.chance(keep)) this.medium.set(this.visible.subarray(from, to), from)
      else this.visible.set(this.medium.subarray(from, to), from)
    }
    this.rollbacks++
  }

  #post(ranges: Operation['ranges'], flush: Operation['flush']): Promise<void> {
    for (const { offset, bytes } of ranges) {
      if (offset < 0 || offset + bytes.length > this.visible.length) throw new Error('write out of bounds')
    }
    return new Promise((done, failed) => {
      this.#operations.push({ ranges, flush, done, failed })
      void this.#run()
    })
  }

  async #run(): Promise<void> {
    if (this.#running) return
    this.#running = true
    while (this.#operations.length > 0) {
      await this.gate
      const [operation] = this.#operations
      if (operation === undefined) break
      // A client repeats what it had under way when the unit went.
      for (let before = -1; before !== this.rollbacks && this.#operations[0] === operation; ) {
        before = this.rollbacks
        await this.#land(operation)
      }
      if (this.#operations[0] !== operation) continue
      this.#operations.shift()
      operation.done()
    }
    this.#running = false
  }

  async #land(operation: Operation): Promise<void> {
    const { pieceBytes, blockBytes } = this.options
    for (const { offset, bytes } of operation.ranges) {
      for (let from = 0; from < bytes.length; from += pieceBytes) {
        await undefined
        if (this.#operations[0] !== operation) return
        this.visible.set(bytes.subarray(from, Math.min(bytes.length, from + pieceBytes)), offset + from)
      }
    }
    await undefined
    if (this.#operations[0] !== operation) return
    for (const { offset, length } of operation.flush) {
      this.flushedBytes += length
      const from = Math.floor(offset / blockBytes) * blockBytes
      const to = Math.min(this.visible.length, Math.ceil((offset + length) / blockBytes) * blockBytes)
      this.medium.set(this.visible.subarray(from, to), from)
    }
  }
}

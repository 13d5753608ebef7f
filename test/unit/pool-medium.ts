/**
 * A pool medium in memory whose power can fail at any moment: it records when each write-back begins and ends, and
 * gives the image that a crash would leave.
 */
import type { PoolMedium } from '../../src/pool/medium.js'
import type { NewRegion } from '../../src/pool/pool.js'

export function region(name: string, bytes = 5000): NewRegion {
  return { name, bytes, mode: 'raw', onFull: 'wait', lease: { silenceMs: 1000, stallMs: 0 }, labels: { team: 'ä' } }
}

interface WriteBack {
  offset: number
  bytes: Uint8Array
}
type Event = { begin: WriteBack[]; id: number } | { end: number }

export const sector = 512

export class CrashableMedium implements PoolMedium {
  readonly blockSize = 4096
  readonly bytes: number
  readonly events: Event[] = []
  readonly image: Uint8Array
  flushCalls = 0
  failFlushes = false
  failReads: (offset: number, length: number) => boolean = () => false
  failure: Error | undefined
  /** The flush after so many more fails with it. */
  failFlush: { after: number; failure: Error } | undefined
  readonly #memory: Uint8Array
  readonly #durable: boolean
  #id = 0

  constructor(image: Uint8Array, durable = true) {
    this.bytes = image.length
    this.image = Uint8Array.from(image)
    this.#memory = new Uint8Array(image.length)
    this.#durable = durable
  }

  get durable(): boolean {
    return this.#durable
  }
  read(offset: number, length: number): Uint8Array {
    return this.#memory.slice(offset, offset + length)
  }
  write(offset: number, bytes: Uint8Array): void {
    this.#memory.set(bytes, offset)
  }
  async flush(ranges: readonly number[]): Promise<void> {
    this.flushCalls++
    if (this.failFlushes) this.failure ??= new Error('the medium failed')
    if (this.failFlush !== undefined && this.failFlush.after-- === 0) this.failure ??= this.failFlush.failure
    if (this.failure !== undefined) throw this.failure
    const blocks: WriteBack[] = []
    for (let index = 0; index < ranges.length; index += 2)
      blocks.push(...this.#blocks(ranges[index]!, ranges[index + 1]!))
    await this.#writeBack(blocks)
  }
  async zero(offset: number, length: number): Promise<void> {
    this.#memory.fill(0, offset, offset + length)
    await this.#writeBack(this.#blocks(offset, length))
  }
  async load(offset: number, length: number): Promise<void> {
    if (this.failReads(offset, length)) throw new Error('EIO')
    this.#memory.set(this.image.subarray(offset, offset + length), offset)
  }

  /** What the medium holds if the power fails after so many events: under way, each sector made it if `landed` says so. */
  crashImage(initial: Uint8Array, events: number, landed: (sector: number) => boolean): Uint8Array {
    const image = Uint8Array.from(initial)
    const open = new Map<number, WriteBack[]>()
    for (const event of this.events.slice(0, events)) {
      if ('begin' in event) open.set(event.id, event.begin)
      else {
        for (const { offset, bytes } of open.get(event.end) ?? []) image.set(bytes, offset)
        open.delete(event.end)
      }
    }
    let count = 0
    for (const blocks of open.values()) {
      for (const { offset, bytes } of blocks) {
        for (let at = 0; at < bytes.length; at += sector) {
          if (landed(count++)) image.set(bytes.subarray(at, at + sector), offset + at)
        }
      }
    }
    return image
  }

  #blocks(offset: number, length: number): WriteBack[] {
    const first = offset - (offset % this.blockSize)
    const end = Math.ceil((offset + length) / this.blockSize) * this.blockSize
    return [{ offset: first, bytes: this.#memory.slice(first, end) }]
  }
  async #writeBack(begin: WriteBack[]): Promise<void> {
    const id = this.#id++
    this.events.push({ begin, id })
    await new Promise((resolve) => setImmediate(resolve))
    for (const { offset, bytes } of begin) this.image.set(bytes, offset)
    this.events.push({ end: id })
  }
}

/** Deterministic numbers in [0, 1), so that a failure can be run again (mulberry32). */
export function random(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let value = Math.imul(state ^ (state >>> 15), state | 1)
    value ^= value + Math.imul(value ^ (value >>> 7), value | 61)
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32
  }
}

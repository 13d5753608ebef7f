/** A region as the checkpoint formats need it. */
import type { RegionReadAccess, RegionWriteAccess } from '../checkpoint/region-access.js'
import type { VerifiedCheckpoints } from '../checkpoint/verified.js'
import type { Ack, CallOptions, Durability, OnFull, Range, RegionInfo, RegionMode, WriteOptions } from '../types.js'
import type { ClientCore } from './client-core.js'

interface ReadableRegion {
  readInto(ranges: readonly Range[], options?: CallOptions): Promise<void>
  metadata(options?: CallOptions): Promise<RegionInfo>
  /** @internal */
  readonly unitStart: bigint | undefined
}
interface WritableRegion {
  readonly epoch: bigint
  readonly strongest: Durability
  readonly rollbacks: number
  flush(ranges: readonly { offset: number; length: number }[], options?: CallOptions): Promise<Ack>
  noteCleared(): void
}
type WriteRanges = (
  ranges: readonly Range[],
  alsoFlush: readonly { offset: number; length: number }[],
  options: WriteOptions,
) => Promise<Ack>

export interface PortParts {
  region: ReadableRegion
  info: RegionInfo
  core: ClientCore
  saveCursor: RegionReadAccess['saveCursor']
}

export class RegionReadPort implements RegionReadAccess {
  readonly name: string
  readonly id: string
  readonly bytes: number
  readonly mode: RegionMode
  readonly onFull: OnFull
  readonly saveCursor: RegionReadAccess['saveCursor']
  protected readonly core: ClientCore
  #region: ReadableRegion

  constructor({ region, info, core, saveCursor }: PortParts) {
    this.name = info.name
    this.id = info.id
    this.bytes = Number(info.bytes)
    this.mode = info.mode
    this.onFull = info.onFull
    this.saveCursor = saveCursor
    this.core = core
    this.#region = region
  }

  readInto(ranges: readonly { offset: number; bytes: Uint8Array }[], options?: CallOptions): Promise<void> {
    return this.#region.readInto(ranges, options)
  }

  metadata(options?: CallOptions): Promise<RegionInfo> {
    return this.#region.metadata(options)
  }

  get unitStart(): bigint | undefined {
    return this.#region.unitStart
  }

  get verified(): VerifiedCheckpoints {
    return this.core.verified
  }

  crc32c(bytes: Uint8Array, seed?: number): number {
    return this.core.native.crc32c(bytes, seed)
  }
}

export class RegionWritePort extends RegionReadPort implements RegionWriteAccess {
  readonly durableWhenOpened = true
  #region: WritableRegion
  #writeRanges: WriteRanges

  constructor(parts: PortParts, region: WritableRegion, writeRanges: WriteRanges) {
    super(parts)
    this.#region = region
    this.#writeRanges = writeRanges
  }

  get epoch(): bigint {
    return this.#region.epoch
  }

  get strongest(): Durability {
    return this.#region.strongest
  }

  get rollbacks(): number {
    return this.#region.rollbacks
  }

  writeAll(
    ranges: readonly { offset: number; bytes: Uint8Array }[],
    options: WriteOptions & { alsoFlush?: readonly { offset: number; length: number }[] },
  ): Promise<Ack> {
    return this.#writeRanges(ranges, options.alsoFlush ?? [], options)
  }

  flush(ranges: readonly { offset: number; length: number }[], options?: CallOptions): Promise<Ack> {
    return this.#region.flush(ranges, options)
  }

  noteCleared(): void {
    this.#region.noteCleared()
  }

  staging(bytes: number): { bytes: Uint8Array<ArrayBuffer>; release(): void } {
    return this.core.staging.take(bytes)
  }

  copyCrc32c(target: Uint8Array, targetOffset: number, source: Uint8Array, seed?: number): number {
    return this.core.native.copyCrc32c(target, targetOffset, source, seed)
  }

  takeChanges(base: Uint8Array, state: Uint8Array, blockBytes: number, mostBytes: number): Uint8Array | undefined {
    return this.core.native.takeChanges(base, state, blockBytes, mostBytes)
  }
}

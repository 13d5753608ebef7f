/** A region as the checkpoint formats need it. */
import type { LogFinding, RegionReadAccess, RegionWriteAccess } from '../checkpoint/region-access.js'
import type { VerifiedCheckpoints } from '../checkpoint/verified.js'
import type { CheckpointError, Outcome } from '../errors.js'
import type {
  Ack,
  CallOptions,
  Durability,
  OnFull,
  Range,
  RegionInfo,
  RegionMode,
  Size,
  WriteOptions,
} from '../types.js'
import type { ClientCore } from './client-core.js'

interface ReadableRegion {
  /** @internal */
  readonly unitStart: bigint | undefined
}
interface WritableRegion {
  readonly epoch: bigint
  readonly strongest: Durability
  readonly rollbacks: number
  noteCleared(): void
  noteFinding(finding: LogFinding): void
}

export interface PortParts {
  region: ReadableRegion
  info: RegionInfo
  core: ClientCore
  saveCursor: RegionReadAccess['saveCursor']
  /** Aborts when the region takes no more calls. */
  ended: AbortSignal
  look(ranges: readonly Range[], options: CallOptions | undefined, use: 'look' | 'log'): Promise<void>
  metadata(options: CallOptions | undefined, use: 'look' | 'log'): Promise<RegionInfo>
}

/** Calls of the log go on until what it has taken is done, also while the region is being closed. */
export interface WritePortParts {
  region: WritableRegion
  writeRanges(
    ranges: readonly Range[],
    alsoFlush: readonly { offset: Size; length: Size }[],
    options: WriteOptions,
  ): Promise<Ack>
  flush(ranges: readonly { offset: Size; length: Size }[], options: CallOptions | undefined): Promise<Ack>
  retryMs: number
  brokenAt(): number | undefined
  lost(call: string, outcome: Outcome): CheckpointError | undefined
  foundFenced(epoch: bigint): void
}

export class RegionReadPort implements RegionReadAccess {
  readonly name: string
  readonly id: string
  readonly bytes: number
  readonly mode: RegionMode
  readonly onFull: OnFull
  readonly saveCursor: RegionReadAccess['saveCursor']
  readonly ended: AbortSignal
  protected readonly core: ClientCore
  protected readonly use: 'look' | 'log' = 'look'
  #parts: PortParts

  constructor(parts: PortParts) {
    const { info, core, saveCursor, ended } = parts
    this.name = info.name
    this.id = info.id
    this.bytes = Number(info.bytes)
    this.mode = info.mode
    this.onFull = info.onFull
    this.saveCursor = saveCursor
    this.ended = ended
    this.core = core
    this.#parts = parts
  }

  readInto(ranges: readonly { offset: number; bytes: Uint8Array }[], options?: CallOptions): Promise<void> {
    return this.#parts.look(ranges, options, this.use)
  }

  metadata(options?: CallOptions): Promise<RegionInfo> {
    return this.#parts.metadata(options, this.use)
  }

  get unitStart(): bigint | undefined {
    return this.#parts.region.unitStart
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
  readonly forReaders: RegionReadAccess
  protected override readonly use = 'log'
  #log: WritePortParts
  #region: WritableRegion

  constructor(parts: PortParts, log: WritePortParts) {
    super(parts)
    this.forReaders = new RegionReadPort(parts)
    this.#log = log
    this.#region = log.region
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
    return this.#log.writeRanges(ranges, options.alsoFlush ?? [], options)
  }

  flush(ranges: readonly { offset: number; length: number }[], options?: CallOptions): Promise<Ack> {
    return this.#log.flush(ranges, options)
  }

  get retryMs(): number {
    return this.#log.retryMs
  }

  get brokenAt(): number | undefined {
    return this.#log.brokenAt()
  }

  lost(call: string, outcome: Outcome): CheckpointError | undefined {
    return this.#log.lost(call, outcome)
  }

  foundFenced(epoch: bigint): void {
    this.#log.foundFenced(epoch)
  }

  noteFinding(finding: LogFinding): void {
    this.#region.noteFinding(finding)
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

/**
 * A region as readers of its checkpoints have it: as its log does, but that their steps end when the region begins to be
 * closed, while the log goes on until it has sent what it had taken.
 */
import type { RegionReadAccess } from '../checkpoint/index.js'

/** The steps of reading that differ. */
export type ReaderSteps = Pick<RegionReadAccess, 'readInto' | 'metadata'>

export class ReaderAccess implements RegionReadAccess {
  readonly #region: RegionReadAccess
  readonly readInto: RegionReadAccess['readInto']
  readonly metadata: RegionReadAccess['metadata']
  readonly saveCursor: RegionReadAccess['saveCursor']
  readonly crc32c: RegionReadAccess['crc32c']

  constructor(region: RegionReadAccess, { readInto, metadata }: ReaderSteps) {
    this.#region = region
    this.readInto = readInto
    this.metadata = metadata
    this.saveCursor = (cursor, options) => region.saveCursor(cursor, options)
    this.crc32c = (bytes, seed) => region.crc32c(bytes, seed)
  }

  get name(): RegionReadAccess['name'] {
    return this.#region.name
  }

  get id(): RegionReadAccess['id'] {
    return this.#region.id
  }

  get bytes(): RegionReadAccess['bytes'] {
    return this.#region.bytes
  }

  get mode(): RegionReadAccess['mode'] {
    return this.#region.mode
  }

  get onFull(): RegionReadAccess['onFull'] {
    return this.#region.onFull
  }

  get unitStart(): RegionReadAccess['unitStart'] {
    return this.#region.unitStart
  }

  get verified(): RegionReadAccess['verified'] {
    return this.#region.verified
  }

  get ended(): RegionReadAccess['ended'] {
    return this.#region.ended
  }
}

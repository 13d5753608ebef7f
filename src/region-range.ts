/** Parts of a region, in bytes from its beginning. */
export interface RegionRange {
  readonly offset: number
  readonly length: number
}

/** A part of a region and the memory that it is read into or written from. */
export interface RangeBytes {
  readonly offset: number
  readonly bytes: Uint8Array
}

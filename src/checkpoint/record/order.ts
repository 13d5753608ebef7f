/** The order of a log: by epoch, then by sequence. */

/** A place in the order of records. */
export interface LogOrder {
  readonly epoch: bigint
  readonly sequence: bigint
}

/** Below, at or after: negative, zero or positive. Epoch first. */
export function compareOrder(a: LogOrder, b: LogOrder): number {
  if (a.epoch !== b.epoch) return a.epoch < b.epoch ? -1 : 1
  return a.sequence === b.sequence ? 0 : a.sequence < b.sequence ? -1 : 1
}

export function greater(a: bigint, b: bigint): bigint {
  if (a < b) return b
  return a
}

export function lesser(a: bigint, b: bigint): bigint {
  if (b < a) return b
  return a
}

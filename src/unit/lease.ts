/** The lease of a region's owner: its default, and what a client may make of it. */
import { maxLeaseMs, minSilenceMs } from '../call/options.js'
import { CheckpointError } from '../errors.js'
import type { OwnerLease } from './ownership.js'

export interface LeaseChange {
  silenceMs?: number
  stallMs?: number
}

export const defaultLease: OwnerLease = { silenceMs: 1000, stallMs: 10_000 }

/** @throws CheckpointError `INVALID_ARGUMENT` */
export function mergedLease(lease: OwnerLease, change: LeaseChange): OwnerLease {
  const merged = { silenceMs: change.silenceMs ?? lease.silenceMs, stallMs: change.stallMs ?? lease.stallMs }
  if (merged.silenceMs < minSilenceMs || merged.silenceMs > maxLeaseMs) {
    throw new CheckpointError(
      'INVALID_ARGUMENT',
      `silenceMs is ${minSilenceMs} to ${maxLeaseMs}; it is ${merged.silenceMs}.`,
    )
  }
  if (merged.stallMs > maxLeaseMs) {
    throw new CheckpointError('INVALID_ARGUMENT', `stallMs is 0 (never) to ${maxLeaseMs}; it is ${merged.stallMs}.`)
  }
  return merged
}

/** What a log that writes deltas remembers: its last state, and which record of the log holds it. */

import { newBytes } from '../../call/new-bytes.js'
import type { RecordHeader } from '../record/header.js'
import type { RegionWriteAccess } from '../region-access.js'
import { deltaHeaderBytes, mostDeltas } from './payload.js'

/** A checkpoint that a delta may build on, as its writer knows it. */
export interface ChainEntry {
  readonly bytes: number
  /** What it builds on itself; undefined for a full one. */
  readonly base: ChainEntry | undefined
  /** The full one that the chain begins with: itself, if it is one. */
  readonly root: ChainEntry
  /** 0 for a full one. */
  readonly depth: number
  /** Undefined until it was sent. */
  header: RecordHeader | undefined
  /** Since which look at the log's end it is known to be there. */
  recovery: number
}

/**
 * Compared block by block. Smaller blocks send less of what has not changed, and cost 16 bytes each where every other one
 * changes; bench/delta.js measures both.
 */
export const deltaBlockBytes = 256
const withoutDeltas = 'A log that writes deltas keeps its last state in memory; one without them does not.'
/** A delta of more than half of the state is not worth a chain. */
const worthwhile = 0.5

export class DeltaChain {
  /** One full checkpoint and the deltas behind it. */
  readonly fullEvery: number
  newest: ChainEntry | undefined
  #state = new Uint8Array(0)

  constructor(fullEvery: number) {
    this.fullEvery = fullEvery
  }

  /** Whether a delta may come behind the newest, as far as its number goes. */
  get open(): boolean {
    return this.newest !== undefined && this.newest.depth + 1 < Math.min(this.fullEvery, mostDeltas + 1)
  }

  /** The runs of a delta, which the state here then has, too; undefined when a full checkpoint is better: then `remember` has to follow. */
  changes(access: RegionWriteAccess, payload: Uint8Array): Uint8Array | undefined {
    const common = Math.min(this.#state.length, payload.length)
    const most = Math.floor(payload.length * worthwhile) - deltaHeaderBytes
    if (most < 0) return undefined
    const runs = access.takeChanges(this.#state.subarray(0, common), payload, deltaBlockBytes, most)
    if (runs === undefined || payload.length === this.#state.length) return runs
    const state = newBytes(payload.length, withoutDeltas)
    state.set(this.#state.subarray(0, common))
    // From what was taken: the caller's memory may be shared with a thread that goes on.
    state.set(runs.subarray(runs.length - (payload.length - common)), common)
    this.#state = state
    return runs
  }

  /** The state is now what was taken for a full checkpoint. */
  remember(taken: Uint8Array): void {
    if (this.#state.length !== taken.length) this.#state = newBytes(taken.length, withoutDeltas)
    this.#state.set(taken)
  }
}

export function chainEntry(bytes: number, base: ChainEntry | undefined): ChainEntry {
  const entry = { bytes, base, depth: base === undefined ? 0 : base.depth + 1, header: undefined, recovery: -1 }
  return Object.assign(entry, { root: base?.root ?? (entry as unknown as ChainEntry) })
}

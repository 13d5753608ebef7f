/** The bytes of a checkpoint, whatever it is made of: one record, the parts of a stream, or a chain of deltas and its base. */
import { copyOf } from '../../call/new-bytes.js'
import type { Deadline } from '../deadline.js'
import type { Item, LogView, Survey } from '../log-view.js'
import { recordKind } from '../record/header.js'
import type { LogOrder } from '../record/order.js'
import type { StoredCheckpoint } from '../record/stored.js'
import type { RecordWindow } from '../record/window.js'
import type { RegionReadAccess } from '../region-access.js'
import { noteVerified } from '../verified.js'
import { applyDelta, type Delta, type DeltaBase, parseDelta } from './payload.js'

export type Find = (sequence: bigint, deadline: Deadline, through: StoredCheckpoint) => Promise<Item | undefined>

/**
 * Why there are no bytes: the checkpoint's own checksum does not hold (torn), the record is sound and what it says cannot be
 * (malformed), or a checkpoint that it builds on is not there.
 */
export type Unrestorable = { readonly why: 'torn' | 'malformed' } | { readonly why: 'base'; readonly missing: bigint }

export function isDelta({ parts }: StoredCheckpoint): boolean {
  return parts[0].kind === recordKind.delta
}

/** Whether it is a delta in a chain of which the ring has dropped the beginning. */
export function isCut(stored: StoredCheckpoint, { droppedThrough }: Pick<Survey, 'droppedThrough'>): boolean {
  return isDelta(stored) && stored.parts[0].baseSequence <= droppedThrough
}

/**
 * Whether a cursor names what is kept but not intact, as that of `CHECKPOINT_DAMAGED` does. Who reads on from it passes
 * over what the ring has dropped since, or dropped the base of: sent back to the oldest, he would meet the damage again.
 */
export async function leadsPastDamage(
  view: LogView,
  survey: Survey,
  at: LogOrder,
  deadline: Deadline,
): Promise<boolean> {
  if (at.sequence <= survey.droppedThrough) return false
  const item = await view.find(at.sequence, deadline)
  if (item === undefined) return true
  return !isCut(item.stored, survey) && !(await view.isWhole(item.stored, item.window, deadline))
}

/** Whether a chain's checkpoint is the record that the next delta names. */
export function isBase(stored: StoredCheckpoint, base: DeltaBase): boolean {
  const { epoch, sequence, last } = stored
  return epoch === base.epoch && sequence === base.sequence && last.headerCrc === base.headerCrc
}

/**
 * Restores checkpoints. One that is used for several in order remembers the last, once it has met a delta, so that each
 * costs its own bytes only. Until then it remembers where the last full one was read: the ring may have dropped it since,
 * and what was read of it may still be there.
 */
export class Restorer {
  readonly #access: RegionReadAccess
  readonly #find: Find
  readonly #remembers: boolean
  #last: { stored: StoredCheckpoint; bytes: Uint8Array<ArrayBuffer> } | undefined
  #lastFull: Item | undefined
  /** The unit's start in which those were read: a crash may have taken them from under what builds on them. */
  #unitStart: bigint | undefined

  constructor(access: RegionReadAccess, find: Find, remembers = false) {
    this.#access = access
    this.#find = find
    this.#remembers = remembers
  }

  async bytes(
    stored: StoredCheckpoint,
    window: RecordWindow,
    deadline: Deadline,
  ): Promise<Uint8Array<ArrayBuffer> | Unrestorable> {
    const { unitStart } = this.#access
    if (unitStart !== this.#unitStart) {
      this.#last = undefined
      this.#lastFull = undefined
      this.#unitStart = unitStart
    }
    const restored = await this.#restore(stored, window, deadline)
    if (restored instanceof Uint8Array) noteVerified(this.#access, unitStart, stored)
    return restored
  }

  async #restore(
    stored: StoredCheckpoint,
    window: RecordWindow,
    deadline: Deadline,
  ): Promise<Uint8Array<ArrayBuffer> | Unrestorable> {
    const own = await window.payloads(stored.parts, stored.storedBytes)
    if (own === undefined) return { why: 'torn' }
    if (!isDelta(stored)) {
      if (this.#remembers) this.#lastFull = { stored, window }
      if (this.#remembers && this.#last !== undefined) this.#last = { stored, bytes: copyOf(own) }
      return own
    }
    const deltas: { stored: StoredCheckpoint; delta: Delta }[] = []
    let current = stored
    let payload = own
    let state: Uint8Array<ArrayBuffer> | undefined
    while (state === undefined) {
      if (!isDelta(current)) {
        state = payload
        break
      }
      const delta = parseDelta(payload, current.parts[0])
      const above = deltas.at(-1)
      if (delta === undefined || (above !== undefined && !follows(above, { stored: current, delta }))) {
        return { why: 'malformed' }
      }
      deltas.push({ stored: current, delta })
      if (this.#last !== undefined && isBase(this.#last.stored, delta)) {
        state = this.#last.bytes
        if (state.length !== delta.baseBytes) return { why: 'malformed' }
        break
      }
      const full = this.#lastFull
      const item =
        full !== undefined && isBase(full.stored, delta) ? full : await this.#find(delta.sequence, deadline, current)
      if (item === undefined || !isBase(item.stored, delta)) return { why: 'base', missing: delta.sequence }
      if (item.stored.bytes !== delta.baseBytes) return { why: 'malformed' }
      if (!isDelta(item.stored) && delta.depth !== 1) return { why: 'malformed' }
      const below = await item.window.payloads(item.stored.parts, item.stored.storedBytes)
      if (below === undefined) return { why: 'base', missing: delta.sequence }
      current = item.stored
      payload = below
    }
    this.#last = undefined
    for (const { delta } of deltas.toReversed()) state = applyDelta(state, delta)
    if (!this.#remembers) return state
    // What is given out may be changed by whoever gets it.
    this.#last = { stored, bytes: state }
    return copyOf(state)
  }
}

/** Both belong to one chain, in which the upper is the next. */
function follows(
  upper: { stored: StoredCheckpoint; delta: Delta },
  lower: { stored: StoredCheckpoint; delta: Delta },
): boolean {
  return (
    lower.delta.depth === upper.delta.depth - 1 &&
    lower.stored.parts[0].baseSequence === upper.stored.parts[0].baseSequence
  )
}

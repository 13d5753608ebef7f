/**
 * Who owns a region, and whether that owner is lost: what the unit knows of it in memory, beside the record.
 *
 * Invariants: a region has at most one owner, and it is the one on record (the record is changed first, durably). A loss
 * is told once; it is told again only after somebody owned the region, or was told that it is owned, in between. `written`
 * is false only if every byte that an owner wrote is durable.
 */
import type { NativeSessionState } from '../native.js'
import type { Handle } from './sessions.js'

export interface OwnerLease {
  silenceMs: number
  /** 0: never lost for a stalled event loop. */
  stallMs: number
}
/** States of sessions, by their number. */
export type SessionStates = ReadonlyMap<bigint, NativeSessionState>

export class Ownership {
  #owner: Handle | undefined
  /** The owner on record was there when the unit started, and has not come back yet. */
  #inherited: boolean
  /** Somebody could write the region since a takeover last made it durable, or the unit started. */
  #written = false
  /** The same before the present owner came. */
  #writtenBefore = false
  /** Watchers know that the owner is lost, or there is none to lose. */
  #lossTold = false

  /** @param inherited an owner was on record when the unit started */
  constructor(inherited: boolean) {
    this.#inherited = inherited
  }

  get owner(): Handle | undefined {
    return this.#owner
  }
  get inherited(): boolean {
    return this.#inherited
  }
  get written(): boolean {
    return this.#written
  }

  own(handle: Handle): void {
    this.#owner = handle
    this.#inherited = false
    this.#writtenBefore = this.#written
    this.#written = true
    this.#lossTold = false
  }

  /** The handle owns nothing any more, if it did. */
  end(handle: Handle): void {
    if (this.#owner === handle) this.#owner = undefined
  }

  /** A takeover is on record, and its owner is not there yet. @returns the former owner */
  beginTakeover(): Handle | undefined {
    const former = this.#owner
    this.#owner = undefined
    this.#inherited = false
    this.#lossTold = true
    return former
  }

  /** What the former owner left is durable. */
  madeDurable(): void {
    this.#written = false
  }

  /** The handle was never given to anybody: it has written nothing, whatever was written before it. */
  withdraw(handle: Handle): void {
    if (this.#owner === handle) this.#written = this.#writtenBefore
  }

  /** The owner gives the region up: nobody is lost. */
  beginRelease(): void {
    this.#lossTold = true
  }

  /** Somebody relies on hearing of the next loss. */
  tellNextLoss(): void {
    this.#lossTold = false
  }

  /**
   * @param msSinceReady since clients can come
   * @returns milliseconds that the owner on record can live on without being heard; 0: it is lost
   */
  livesMs(lease: OwnerLease, states: SessionStates, msSinceReady: number): number {
    if (this.#inherited) return inheritedOwnerLivesMs(lease, msSinceReady)
    return this.#owner === undefined ? 0 : ownerLivesMs(lease, states.get(this.#owner.session.id))
  }

  /** @returns why the owner is lost, if that has not been told */
  takeLoss(lease: OwnerLease, states: SessionStates, msSinceReady: number): string | undefined {
    const lost = this.livesMs(lease, states, msSinceReady) === 0
    const isNews = lost && !this.#lossTold
    this.#lossTold = lost
    if (!isNews) return undefined
    if (this.#inherited) return 'it did not come back after the start of the unit'
    return lossOf(lease, this.#owner && states.get(this.#owner.session.id))
  }
}

/**
 * An owner lives while its session is heard and its event loop turns. It is lost at once when all its connections are
 * closed (a dead process); with only the session connection broken it has its lease to come back. The times are those of
 * the lease clock, so that the unit's own pauses cost nobody a lease.
 * @param session state of the owner's session, or nothing when the unit does not know it (any more)
 */
export function ownerLivesMs(lease: OwnerLease, session: NativeSessionState | undefined): number {
  if (session === undefined || isGone(session)) return 0
  const untilSilent = lease.silenceMs - session.heardMsAgo
  const untilStalled =
    !session.connected || lease.stallMs === 0 ? Number.POSITIVE_INFINITY : lease.stallMs - session.loopAgeMs
  return Math.max(0, Math.min(untilSilent, untilStalled))
}

/**
 * Besides its lease. An owner that lives tries every quarter of a second to reach a unit that is away: this is for a try that has
 * just begun when the unit comes back, for a session and a data connection to be made, on machines that are busy.
 */
const comeBackMs = 2_000

/** How long an owner that was on record when the unit started has to come back: its lease, and the time that takes. */
export function inheritedLeaseMs(lease: OwnerLease): number {
  return lease.silenceMs + comeBackMs
}

/** @param msSinceReady since clients can come */
export function inheritedOwnerLivesMs(lease: OwnerLease, msSinceReady: number): number {
  return Math.max(0, inheritedLeaseMs(lease) - msSinceReady)
}

/** The first time at which an owner that is heard now can be lost. */
export function leaseMs({ silenceMs, stallMs }: OwnerLease): number {
  return stallMs === 0 ? silenceMs : Math.min(silenceMs, stallMs)
}

function isGone(session: NativeSessionState): boolean {
  return !session.connected && session.everConnected && session.dataConnections === 0
}

function lossOf(lease: OwnerLease, session: NativeSessionState | undefined): string {
  if (session === undefined) return 'its session has ended'
  if (isGone(session)) return 'its connections are closed'
  if (session.heardMsAgo >= lease.silenceMs) return `it was silent for ${Math.round(session.heardMsAgo)} ms`
  return `its event loop stood still for ${Math.round(session.loopAgeMs)} ms`
}

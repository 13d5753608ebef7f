/** When an owner counts as lost. A rule of its own, so that it can be tested without a unit. */
import type { NativeSessionState } from '../native.js'

export interface OwnerLease {
  silenceMs: number
  /** 0: never lost for a stalled event loop. */
  stallMs: number
}

/**
 * An owner lives while its session is heard and its event loop turns. It is lost at once when all its connections are
 * closed (a dead process); with only the session connection broken it has its lease to come back.
 * @param session state of the owner's session, or nothing when the unit does not know it (any more)
 */
export function ownerLives(lease: OwnerLease, session: NativeSessionState | undefined): boolean {
  if (session === undefined) return false
  if (!session.connected && session.everConnected && session.dataConnections === 0) return false
  if (session.heardMsAgo >= lease.silenceMs) return false
  return !session.connected || lease.stallMs === 0 || session.loopAgeMs < lease.stallMs
}

/**
 * An owner that was on record when the unit started has one full lease from then on to come back.
 */
export function inheritedOwnerLives(lease: OwnerLease, msSinceReady: number): boolean {
  return msSinceReady < lease.silenceMs
}

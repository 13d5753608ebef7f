/** When an owner counts as lost. A rule of its own, so that it can be tested without a unit. */
import type { NativeSessionState } from '../native.js'

export interface OwnerLease {
  silenceMs: number
  /** 0: never lost for a stalled event loop. */
  stallMs: number
}

/**
 * An owner lives while its session is heard and its event loop turns. It is lost at once when all its connections are
 * closed (a dead process); with only the session connection broken it has its lease to come back. The times are those of
 * the lease clock, so that the unit's own pauses cost nobody a lease.
 * @param session state of the owner's session, or nothing when the unit does not know it (any more)
 * @returns milliseconds that it can live on without being heard; 0: it is lost
 */
export function ownerLivesMs(lease: OwnerLease, session: NativeSessionState | undefined): number {
  if (session === undefined) return 0
  if (!session.connected && session.everConnected && session.dataConnections === 0) return 0
  const untilSilent = lease.silenceMs - session.heardMsAgo
  const untilStalled =
    !session.connected || lease.stallMs === 0 ? Number.POSITIVE_INFINITY : lease.stallMs - session.loopAgeMs
  return Math.max(0, Math.min(untilSilent, untilStalled))
}

export function ownerLives(lease: OwnerLease, session: NativeSessionState | undefined): boolean {
  return ownerLivesMs(lease, session) > 0
}

/**
 * Besides its lease. An owner that lives tries every quarter of a second to reach a unit that is away: this is for a try that has
 * just begun when the unit comes back, for a session and a data connection to be made, on machines that are busy.
 */
export const comeBackMs = 2_000

/**
 * An owner that was on record when the unit started has its lease from then on, and the time it takes to come back.
 * @param msSinceReady since clients can come
 */
export function inheritedOwnerLivesMs(lease: OwnerLease, msSinceReady: number): number {
  return Math.max(0, lease.silenceMs + comeBackMs - msSinceReady)
}

// The messages between the director and the processes that it started. They are the demo's stage machinery: primary and
// backup exchange nothing with each other. All they share is the region on the unit.
import { once } from 'node:events'

/**
 * @typedef {{ unit: string, region: string, regionBytes: number, files: import('./input.js').InputFile[],
 *   pauseMs: number }} Assignment  pauseMs: how long the owner rests after each step
 * @typedef {import('./input.js').Position} Position
 * @typedef {{ type: 'owner' }
 *   | { type: 'standing-by' }
 *   | { type: 'saved', sequence: string, durability: string, position: Position }
 *   | { type: 'taken-over', recovered: string, stateBytes: number, sequence: string,
 *       noticedAt: number, openedAt: number, restoredAt: number, savedAt: number }
 *   | { type: 'finished' }} Report
 */

/** The assignment, which the director sends once. @returns {Promise<Assignment>} */
export async function assignment() {
  const [message] = await once(process, 'message')
  // When the director ends, so does this process.
  process.once('disconnect', () => process.exit())
  return message
}

/** The director waits until the backup stands by, so that there is a backup when the primary dies. */
export async function startSignal() {
  await once(process, 'message')
}

/** @param {Report} message */
export function report(message) {
  process.send?.(message)
}

/** The last call of a process: it has nothing more to report, so the channel to the director must not keep it running. */
export function leave() {
  process.disconnect?.()
}

/** Milliseconds on the clock that all processes of one machine share. */
export function monotonicMs() {
  return Number(process.hrtime.bigint()) / 1e6
}

// What the director and the processes it started tell each other. This is the demo's stage machinery: primary and
// backup exchange nothing with each other, all they share is the region on the unit.
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

/** What to do, sent by the director once. @returns {Promise<Assignment>} */
export async function assignment() {
  const [message] = await once(process, 'message')
  // Nobody stays behind when the director goes.
  process.once('disconnect', () => process.exit())
  return message
}

/** The director waits until the backup stands by, so that there is one when the primary dies. */
export async function startSignal() {
  await once(process, 'message')
}

/** @param {Report} message */
export function report(message) {
  process.send?.(message)
}

/** The last thing a process does: nothing more to say, so the channel to the director need not hold it open. */
export function leave() {
  process.disconnect?.()
}

/** Milliseconds of the clock that all processes of one machine share. */
export function monotonicMs() {
  return Number(process.hrtime.bigint()) / 1e6
}

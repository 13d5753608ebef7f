// One process of a pair, for the benchmark of takeovers: forked by it, and told what to do by messages. It reports
//   { type: 'standby' }                  it watches the region
//   { type: 'seen', sequence }           as a standby: a checkpoint that it has read
//   { type: 'primary', ... }             it has taken over, and its first write has been accepted: when, and what it found
//   { type: 'saved', sequence }          the state it was told to save is accepted
import { once } from 'node:events'
import { ProcessPair } from 'rdma-checkpoint'

/**
 * @typedef {{ unit: string, region: string, regionBytes: number, standby: 'cold' | 'hot', silenceMs: number }} Assignment
 * @typedef {{ save: number, durability: 'visible' | 'durable' }} Command
 * @typedef {{ type: 'primary', epoch: string, unreadBytes: number, noticedAt: number, openedAt: number, restoredAt: number,
 *   writtenAt: number }} TakenOver  times in milliseconds of CLOCK_MONOTONIC, which all processes of one machine share
 * @typedef {{ type: 'standby' } | { type: 'seen', sequence: string } | { type: 'saved', sequence: string } | TakenOver} Report
 */

/** @type {[Assignment]} */
const [{ unit, region, regionBytes, standby, silenceMs }] = await once(process, 'message')
// Nobody stays behind when the benchmark goes.
process.once('disconnect', () => process.exit())

const now = () => Number(process.hrtime.bigint()) / 1e6
const report = (/** @type {Report} */ message) => process.send?.(message)

/** What a new primary saves first: that it is there. */
const note = new Uint8Array(64)
/** Read before the takeover, so that they need not be read in it. */
let seenSequence = 0n
/** @type {{ noticedAt: number, openedAt: number, restoredAt: number } | undefined} */
let took

const pair = new ProcessPair(unit, {
  region,
  create: { bytes: regionBytes, lease: { silenceMs } },
  standby,
  onStandby({ sequence }) {
    if (pair.role === 'standby') seenSequence = sequence
    report({ type: 'seen', sequence: String(sequence) })
  },
  async onPrimary({ log, checkpoint, epoch, signal }) {
    const { durability } = await log.append(note)
    const writtenAt = now()
    if (durability !== 'durable' || took === undefined) throw new Error(`the first write is ${durability}`)
    const unread = checkpoint !== undefined && checkpoint.sequence > seenSequence
    report({
      type: 'primary',
      epoch: String(epoch),
      unreadBytes: unread ? checkpoint.bytes : 0,
      ...took,
      writtenAt,
    })
    // One state for all its saves, every page of it touched: what the kernel has to bury with the process.
    let state = new Uint8Array(0)
    process.on('message', async (/** @type {Command} */ command) => {
      if (state.byteLength !== command.save) state = new Uint8Array(command.save).fill(1)
      const { sequence } = await log.append(state, { durability: command.durability })
      report({ type: 'saved', sequence: String(sequence) })
    })
    if (!signal.aborted) await once(signal, 'abort')
  },
})
pair.addEventListener('role', (event) => {
  const { role, took: parts } = /** @type {import('rdma-checkpoint').PairEvent} */ (event)
  if (role === 'standby') report({ type: 'standby' })
  if (role !== 'primary' || parts === undefined) return
  const restoredAt = now()
  const openedAt = restoredAt - parts.restoreMs
  took = { noticedAt: openedAt - parts.openMs, openedAt, restoredAt }
})
pair.addEventListener('error', (event) => {
  console.error(/** @type {import('rdma-checkpoint').PairEvent} */ (event).error)
})
await pair.run()

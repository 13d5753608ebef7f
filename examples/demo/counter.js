// The process that counts. Primary and backup both run this program: whoever owns the region counts and saves its state
// after each step, the other one waits until the owner is lost, reads what it had saved, and goes on from there.
import { setTimeout as sleep } from 'node:timers/promises'
import { ProcessPair } from 'rdma-checkpoint'
import { assignment, leave, monotonicMs, report, startSignal } from './messages.js'
import { stateCodec } from './state-codec.js'
import { WordCount } from './word-count.js'

const { unit, region, regionBytes, files, pauseMs } = await assignment()

const pair = new ProcessPair(unit, {
  region,
  create: { bytes: regionBytes },
  codec: stateCodec,
  async onPrimary({ state, checkpoint, log }) {
    const count = new WordCount(state)
    if (checkpoint === undefined) {
      report({ type: 'owner' })
      await startSignal()
    } else {
      const { sequence, bytes } = checkpoint
      // Its own first checkpoint proves that it can continue.
      const saved = await log.append(count.state)
      report({
        type: 'taken-over',
        recovered: String(sequence),
        stateBytes: bytes,
        sequence: String(saved.sequence),
        ...became,
        savedAt: monotonicMs(),
      })
    }
    for (const _ of count.run(files)) {
      const { sequence, durability } = await log.append(count.state)
      // Reported only after the await: from here on the checkpoint outlives this process.
      report({ type: 'saved', sequence: String(sequence), durability, position: count.position })
      if (pauseMs > 0) await sleep(pauseMs)
    }
    report({ type: 'finished' })
    // Returning means that the work is done: the pair gives the region up.
  },
})

/** When this process knew that the owner was lost, when it owned the region, and when the state was restored. */
let became = { noticedAt: 0, openedAt: 0, restoredAt: 0 }
pair.addEventListener('role', (event) => {
  const { role, took } = /** @type {import('rdma-checkpoint').PairEvent} */ (event)
  if (role === 'standby') report({ type: 'standing-by' })
  if (role !== 'primary' || took === undefined) return
  const restoredAt = monotonicMs()
  const openedAt = restoredAt - took.restoreMs
  became = { noticedAt: openedAt - took.openMs, openedAt, restoredAt }
})
await pair.run()
leave()

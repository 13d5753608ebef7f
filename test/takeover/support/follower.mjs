// A process that follows the log from its oldest checkpoint on, all the time. Told { until: { epoch, sequence } }, it ends when
// it has come so far.
import { setTimeout as sleep } from 'node:timers/promises'
import { CheckpointError, connect } from 'rdma-checkpoint'
import { foundOf, Recorder } from './recorder.mjs'

/** @type {{ unit: string, region: string, id: string, history: string, every: boolean }} */
const { unit, region: name, id, history: path, every } = JSON.parse(process.argv[2] ?? '{}')
const history = new Recorder(path, id)
/** @type {{ epoch: number, sequence: number } | undefined} */
let until
let last = { epoch: 0, sequence: 0 }

function endIfThere() {
  if (until === undefined) return
  const { epoch, sequence } = until
  if (last.epoch > epoch || (last.epoch === epoch && last.sequence >= sequence)) process.exit(0)
}
process.on('message', (message) => {
  until = /** @type {{ until: typeof last }} */ (message).until
  endIfThere()
})
process.on('disconnect', () => process.exit(1))

const client = await connect(unit, { retryMs: 60_000, timeoutMs: 60_000 })
const region = await client.openRegion(name)
const reader = region.checkpoints()
/** @type {import('rdma-checkpoint').Cursor | 'oldest'} */
let from = 'oldest'
process.send?.({ following: true })
for (;;) {
  const follow = reader.follow({ from })
  try {
    for await (const checkpoint of follow) {
      const found = foundOf(checkpoint)
      history.add({ type: 'followed', iteration: id, every, ...found })
      last = found
      from = checkpoint.cursor
      endIfThere()
    }
  } catch (error) {
    if (!(error instanceof CheckpointError)) throw error
    if (error.code === 'CHECKPOINT_LAPPED') {
      history.add({ type: 'lapped', iteration: id })
      from = 'oldest'
    } else if (error.retryable || error.code === 'CONNECTION_LOST') await sleep(100)
    else throw error
  }
}

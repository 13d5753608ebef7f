// The backup process: waits until the primary is lost, reads what it had saved, and finishes its work.
import { setTimeout as sleep } from 'node:timers/promises'
import { CheckpointError, connect } from 'rdma-checkpoint'
import { assignment, leave, monotonicMs, report } from './messages.js'
import { stateCodec } from './state-codec.js'
import { WordCount } from './word-count.js'

const { unit, region: name, files } = await assignment()

const client = await connect(unit)
report({ type: 'standing-by' })
const region = await openWhenPrimaryIsLost()
const openedAt = monotonicMs()
const log = region.log({ codec: stateCodec })

const latest = await log.latest()
const count = new WordCount(latest?.value)
const restoredAt = monotonicMs()
report({
  type: 'recovered',
  sequence: String(latest?.sequence ?? 0n),
  stateBytes: latest?.bytes ?? 0,
  position: count.position,
  transport: region.transport,
  openedAt,
  restoredAt,
})

// Opening made this process the owner; its first own checkpoint proves that it can go on.
let saved = await log.append(count.state)
report({ type: 'taken-over', sequence: String(saved.sequence), at: monotonicMs() })

for (const _ of count.run(files)) saved = await log.append(count.state)
report({ type: 'finished', sequence: String(saved.sequence) })
await client.close()
leave()

/** A region has one writer: as long as the primary lives, opening it for writing is refused with REGION_BUSY. */
async function openWhenPrimaryIsLost() {
  for (;;) {
    try {
      return await client.openRegion(name, { mode: 'write' })
    } catch (error) {
      if (!(error instanceof CheckpointError) || error.code !== 'REGION_BUSY') throw error
      await sleep(5)
    }
  }
}

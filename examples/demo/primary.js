// The primary process: counts, and saves its state to the unit after each step. It does not know that it will be killed.
import { connect } from 'rdma-checkpoint'
import { assignment, leave, report, startSignal } from './messages.js'
import { stateCodec } from './state-codec.js'
import { WordCount } from './word-count.js'

const { unit, region: name, regionBytes, files } = await assignment()

const client = await connect(unit)
const region = await client.createRegion(name, { bytes: regionBytes, mode: 'append' })
const log = region.log({ codec: stateCodec })
report({ type: 'owner' })
await startSignal()

const count = new WordCount()
for (const _ of count.run(files)) {
  const saved = await log.append(count.state)
  // Said only after the await: from here on the checkpoint outlives this process.
  report({ type: 'saved', sequence: String(saved.sequence), durability: saved.durability, position: count.position })
}
report({ type: 'finished' })
await client.close()
leave()

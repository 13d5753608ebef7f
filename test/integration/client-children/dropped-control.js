// Run in a network namespace of its own. A client watches a region that another client owns; then the watcher's flow of the control
// plane is dropped in silence, while its session goes on.
import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from '../../../dist/index.js'
import { drop, flowsTo, startUnit } from './dropping.js'

const { address, controlPort } = await startUnit()
const flows = () => flowsTo(controlPort)

const owner = await connect(address)
const region = await owner.openRegion('r', { mode: 'write', create: { bytes: 1 << 20 } })
const before = flows()
const watcher = await connect(address)
const events = []
for (const type of ['disconnected', 'restored']) {
  watcher.addEventListener(type, ({ connection }) => events.push(connection ? `${type} ${connection}` : type))
}
const watch = watcher.watch('r')
await watch.next()
const next = watch.next()

const dropped = flows().filter((port) => !before.includes(port))
drop(dropped)
const droppedAt = performance.now()
const since = () => Math.round(performance.now() - droppedAt)
// A new client of the same process has nothing to do with it.
const connectMs = await connect(address)
  .then((client) => client.close())
  .then(since)
await region.close()
const seen = next.then(({ value }) => ({ type: value.type, watchMs: since() }))
// One call is under way on the dead flow: it may be made again, and so it is.
const statusMs = await watcher.status({ timeoutMs: 30_000 }).then(since)
const { type, watchMs } = await seen
while (!watcher.connected) await sleep(20)
process.stdout.write(`${JSON.stringify({ dropped: dropped.length, connectMs, statusMs, type, watchMs, events })}\n`)
process.exit()

// Run in a network namespace of its own. A unit, an owner that appends and a reader that follows; then every flow of the data
// plane that stands is dropped in silence.
import { setTimeout as sleep } from 'node:timers/promises'
import { connect, json } from '../../../dist/index.js'
import { drop, flowsTo, startUnit } from './dropping.js'

const { address, dataPort } = await startUnit()
const flows = (unitEnd) => flowsTo(dataPort, unitEnd)

const owner = await connect(address)
const region = await owner.openRegion('r', { mode: 'write', create: { bytes: 1 << 20 } })
const log = region.log({ codec: json })
await log.append({ n: 0 })
const reader = await connect(address)
const idle = await (await connect(address)).openRegion('r')
const followed = (await reader.openRegion('r')).checkpoints({ codec: json }).follow({ from: 'oldest' })
let fenced = false
region.fenced.addEventListener('abort', () => (fenced = true))

const dropped = flows()
drop(dropped)
const droppedAt = performance.now()
const since = () => Math.round(performance.now() - droppedAt)
// One append is under way when the flow is dropped; the follower waits for it.
const appended = log.append({ n: 1 }, { timeoutMs: 30_000 }).then(since)
const seen = (async () => {
  for await (const { value } of followed) if (value.n === 1) return since()
})()
const gone = (async () => {
  while ([...flows(), ...flows(true)].some((port) => dropped.includes(port)) && since() < 30_000) await sleep(50)
  return since()
})()
const result = { dropped: dropped.length, appendMs: await appended, followMs: await seen, goneMs: await gone }
// What nobody used meanwhile has been made again, and is there at once.
const readAt = performance.now()
await idle.read(0, 1)
process.stdout.write(`${JSON.stringify({ ...result, idleReadMs: Math.round(performance.now() - readAt), fenced })}\n`)
process.exit()

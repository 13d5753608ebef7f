// unit-host.mjs DEVICE HOST -- the guest that is a storage host: a unit on persistent memory, reached by verbs. Tells on
// /run/results/told, one JSON a line: when it is ready, when an owner is lost, and how many queue pairs the kernel counts.
// Ends when /run/results/stop is there.
import { execFileSync } from 'node:child_process'
import { appendFileSync, existsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect, PersistentMemoryUnit } from '../../../dist/index.js'

const [device, host] = process.argv.slice(2)
const tell = (fact) => appendFileSync('/run/results/told', `${JSON.stringify(fact)}\n`)
const queuePairs = () =>
  Number(/rxe0:.* qp (\d+)/.exec(execFileSync('rdma', ['resource', 'show'], { encoding: 'utf8' }))?.[1])

const idle = queuePairs()
const unit = await PersistentMemoryUnit.start({
  pool: { medium: 'devdax', path: device, create: true },
  listen: `${host}:4000`,
  data: [`${host}:0`],
  transport: 'verbs',
  security: { mode: 'dangerously-unauthenticated' },
  log: () => undefined,
})
tell({ ready: true, promises: unit.promises })

async function watchOwner() {
  const client = await connect(unit.address)
  for (let there = false; !there; await sleep(100))
    for await (const _ of client.regions({ prefix: 'log' })) there = true
  // This client's own session is one of the queue pairs.
  for await (const { type, epoch } of client.watch('log')) tell({ event: type, epoch: String(epoch), idle: idle + 2 })
}
watchOwner().catch((error) => tell({ failed: String(error?.stack ?? error) }))

for (let last = -1; !existsSync('/run/results/stop'); await sleep(200)) {
  const now = queuePairs()
  if (now !== last) tell({ queuePairs: now })
  last = now
}
process.exit(0)

// removal.mjs ADDRESS DEVICE -- the device is taken away under a unit and its writing client: their calls end with a code, and
// both go on living.
import { execFile } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect, PersistentMemoryUnit } from 'rdma-checkpoint'
import { check, claim, exitCode } from './claims.mjs'

const [address, device] = process.argv.slice(2)

const unit = await PersistentMemoryUnit.start({
  pool: { medium: 'memory', bytes: 32 * 1024 * 1024 },
  data: [`${address}:0`],
  transport: 'verbs',
  security: { mode: 'dangerously-unauthenticated' },
  log: () => undefined,
})
const events = []
unit.addEventListener('device', (event) => events.push(event))
const client = await connect(unit.address, { transport: 'verbs', retryMs: 3_000 })
const region = await client.createRegion('r', { bytes: 4096, mode: 'raw' })
const write = () => region.write(0, new Uint8Array(1000), { durability: 'visible', timeoutMs: 20_000 })
await write()

// It does not come back before the last user's process has ended: the device's own files are open until then.
const removal = execFile('rdma', ['link', 'delete', device])
removal.on('exit', (code) => console.log(`# rdma link delete ended with ${code}`))
let writes = 0
let error
for (const end = Date.now() + 30_000; error === undefined && Date.now() < end; writes++) {
  await write().catch((reason) => {
    error = reason
  })
}
console.log(`# ${writes} writes until the device was gone`)
await claim('a write ends with a code once the device is gone', () => check(error?.code === 'CONNECTION_LOST', error))
await claim('so does a later one', async () => {
  const later = await write().catch((reason) => reason)
  check(later?.code === 'CONNECTION_LOST', later)
})
await claim('the unit has told that the device was taken away', async () => {
  for (const end = Date.now() + 5_000; events.length === 0 && Date.now() < end; ) await sleep(20)
  console.log(`# ${events.map((event) => `${event.device}: ${event.what}`).join(', ')}`)
  check(
    events.some((event) => event.what === 'removed' && event.device === device),
    `${events.length} events`,
  )
})
await claim('the unit answers its control service', async () => {
  const { state } = await client.status()
  check(state === 'ready', state)
})
await claim('both are closed in order', async () => {
  await sleep(100)
  await client.close({ timeoutMs: 5_000 })
  await unit.close()
})
process.exit(exitCode())

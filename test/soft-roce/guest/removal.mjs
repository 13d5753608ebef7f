// removal.mjs ADDRESS DEVICE -- the device is taken away under a unit and its writing client: their calls end with a code, and
// both go on living. Prints one line for each claim, as the native tests do; exit code 1 when one does not hold.
import { execFile } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect, PersistentMemoryUnit } from 'rdma-checkpoint'

const [address, device] = process.argv.slice(2)
let failed = 0
function claim(what, holds, seen) {
  console.log(`${holds ? 'ok' : 'not ok'} ${what}${holds ? '' : `: ${seen}`}`)
  if (!holds) failed++
}

const unit = await PersistentMemoryUnit.start({
  pool: { medium: 'memory', bytes: 32 * 1024 * 1024 },
  data: [`${address}:0`],
  transport: 'verbs',
  security: { mode: 'dangerously-unauthenticated' },
  log: () => undefined,
})
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
claim('a write ends with a code once the device is gone', error?.code === 'CONNECTION_LOST', error)
const later = await write().catch((reason) => reason)
claim('so does a later one', later?.code === 'CONNECTION_LOST', later)
const { state } = await client.status()
claim('the unit answers its control service', state === 'ready', state)
await sleep(100)
await client.close({ timeoutMs: 5_000 })
await unit.close()
claim('both are closed in order', true)
process.exit(failed === 0 ? 0 : 1)

// locked-memory.mjs ADDRESS -- a unit that may not pin as much as a region has: an open of that region is refused with its code,
// and costs nobody else anything. Run with RLIMIT_MEMLOCK at 64 MiB and without CAP_IPC_LOCK.
import { connect, PersistentMemoryUnit } from 'rdma-checkpoint'
import { check, claim, exitCode } from './claims.mjs'

const [address] = process.argv.slice(2)
const MiB = 1024 * 1024

const unit = await PersistentMemoryUnit.start({
  pool: { medium: 'memory', bytes: 256 * MiB },
  data: [`${address}:0`],
  transport: 'verbs',
  security: { mode: 'dangerously-unauthenticated' },
  log: () => undefined,
})
const client = await connect(unit.address, { transport: 'verbs', retryMs: 10_000 })
const small = await client.createRegion('small', { bytes: 64 * 1024, mode: 'raw' })
const write = (region) => region.write(0, new Uint8Array(1000), { durability: 'visible', timeoutMs: 10_000 })
await write(small)

await claim('a region that is larger than may be pinned is refused, and the limit is named', async () => {
  const error = await client
    .createRegion('large', { bytes: 128 * MiB, mode: 'raw', timeoutMs: 20_000 })
    .catch((reason) => reason)
  check(error?.code === 'MEMLOCK_LIMIT', error)
  check(error.message.includes('65536 KiB'), error)
  console.log(`# ${error.message}`)
})
await claim('it is the same for the next try', async () => {
  const error = await client.openRegion('large', { mode: 'write', timeoutMs: 20_000 }).catch((reason) => reason)
  check(error?.code === 'MEMLOCK_LIMIT', error)
})
await claim('others go on, and another region can be opened', async () => {
  await write(small)
  const other = await client.createRegion('other', { bytes: 64 * 1024, mode: 'raw' })
  await write(other)
})
await client.close({ timeoutMs: 5_000 })
await unit.close()
process.exit(exitCode())

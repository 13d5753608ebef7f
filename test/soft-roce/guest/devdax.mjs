// devdax.mjs DEVICE ADDRESS -- a pool on persistent memory, reached by verbs: what was durable is there after a restart.
// DURABLE_METHOD: how it is expected to be made durable.
import { connect, PersistentMemoryUnit } from '../../../dist/index.js'
import { check, claim, exitCode } from './claims.mjs'

const [device, address] = process.argv.slice(2)
const method = process.env.DURABLE_METHOD ?? 'unit-flush'
const start = () =>
  PersistentMemoryUnit.start({
    pool: { medium: 'devdax', path: device, create: true },
    data: [`${address}:0`],
    transport: 'verbs',
    security: { mode: 'dangerously-unauthenticated' },
    log: () => undefined,
  })
const payload = (sequence) => Uint8Array.from({ length: 5000 }, (_, index) => (index * 7 + sequence) % 256)

let unit
await claim('a devdax device becomes a pool that keeps what is durable', async () => {
  unit = await start()
  check(unit.promises.includes('durable'), `promises ${unit.promises}`)
})
await claim('a second unit is told that the pool is in use', async () => {
  const second = await start().catch((error) => error)
  check(second.code === 'POOL_IN_USE', `${second.code ?? 'it started'}: ${second.message}`)
})
await claim('durable appends and a region of two extents are written over verbs', async () => {
  const client = await connect(unit.address)
  const log = await client.createRegion('log', { bytes: 1 << 20, mode: 'append' })
  check(log.transport === 'verbs', log.transport)
  const checkpoints = log.log()
  for (let sequence = 1; sequence <= 20; sequence++) {
    const ack = await checkpoints.append(payload(sequence), { durability: 'durable' })
    check(ack.durability === 'durable' && ack.method === method, ack)
  }
  // A hole of 4 MiB between two regions, and then one that is larger: it is mapped of several extents.
  for (const name of ['a', 'hole', 'b']) await client.createRegion(name, { bytes: 4 << 20, mode: 'raw' })
  await client.deleteRegion('hole')
  const { bytes, used } = await client.status()
  const large = await client.createRegion('large', { bytes: bytes - used - (4n << 20n), mode: 'raw' })
  await large.write(large.size - 5000n, payload(99), { durability: 'durable' })
  await client.close()
})
await claim('after a restart every durable checkpoint is there', async () => {
  await unit.close()
  unit = await start()
  const client = await connect(unit.address)
  const all = await (await client.openRegion('log')).checkpoints().all()
  check(all.length === 20, `${all.length} checkpoints`)
  for (const [index, { value }] of all.entries()) {
    check(Buffer.compare(value, payload(index + 1)) === 0, `checkpoint ${index + 1} differs`)
  }
  const large = await client.openRegion('large')
  const tail = await large.read(large.size - 5000n, 5000)
  check(Buffer.compare(tail, payload(99)) === 0, 'the large region differs')
  await client.close()
})
await unit?.close()
process.exitCode = exitCode()

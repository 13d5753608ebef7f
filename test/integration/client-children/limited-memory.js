// limited-memory.js ADDRESS -- with 16 MiB of locked memory at most: how much of allocate()'s is registered, and that all works.
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { connect } from '../../../dist/index.js'

const MiB = 1024 * 1024
const registrations = () =>
  [...execFileSync('rdma', ['resource', 'show'], { encoding: 'utf8' }).matchAll(/ mr (\d+)/g)].reduce(
    (sum, [, count]) => sum + Number(count),
    0,
  )

const client = await connect(process.argv[2], { transport: 'verbs' })
const region = await client.createRegion('limited', { bytes: 12 * MiB, mode: 'raw' })
// The connection's own memory, of both sizes.
await region.write(0, new Uint8Array(MiB), { durability: 'visible' })
await region.write(0, new Uint8Array(1000), { durability: 'visible' })
const before = registrations()
const told = []
for (const size of [4, 12]) {
  const { bytes } = client.allocate(size * MiB)
  bytes.fill(size)
  const had = registrations()
  await region.write(0, bytes, { durability: 'visible' })
  told.push(`${registrations() > had ? 'registered' : 'copied'} ${size} MiB`)
  const back = await region.read(0, bytes.length)
  assert.equal(Buffer.compare(back, bytes), 0)
}
console.log(`${told.reverse().join(', ')}; ${registrations() - before} more`)
await client.close()

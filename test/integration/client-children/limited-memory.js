// limited-memory.js ADDRESS SIZE... -- under a limit of locked memory: which allocations of so many MiB are registered, and that
// all of it works, and so does what a connection copies through memory of its own afterwards.
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
const region = await client.createRegion('limited', { bytes: 24 * MiB, mode: 'raw' })
// What the connection has for small pieces, and for the read that makes a write visible.
await region.write(0, Uint8Array.of(1), { durability: 'visible' })
const told = []
const kept = []
for (const size of process.argv.slice(3).map(Number)) {
  const { bytes } = client.allocate(size * MiB)
  bytes.fill(size)
  kept.push(bytes)
  const had = registrations()
  await region.write(0, bytes.subarray(0, 5000), { durability: 'visible' })
  await region.write(5000, bytes.subarray(5000), { durability: 'visible' })
  told.push(`${size}: ${registrations() - had}`)
  const back = await region.read(0, bytes.length)
  assert.equal(Buffer.compare(back, bytes), 0)
}
console.log(told.join(', '))
await region.close()
await client.deleteRegion('limited')
await client.close()

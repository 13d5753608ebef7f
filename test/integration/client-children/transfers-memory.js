// Takes memory away from calls that are under way, and has it collected: node --expose-gc transfers-memory.js ADDRESS UNIT_PID
// The unit stands still meanwhile, so that the calls are still under way when their memory is gone.
import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from '../../../dist/index.js'

const [address, unit] = process.argv.slice(2)
const MiB = 1024 * 1024
const client = await connect(address, { maxBytesInFlight: 32 * MiB })
const region = await client.openRegion('r', { mode: 'write', create: { bytes: 64 * MiB, mode: 'raw' } })
const log = (await client.openRegion('log', { mode: 'write', create: { bytes: 32 * MiB } })).log()
const bytesOf = (salt, length = 4 * MiB) => new Uint8Array(length).fill(salt)
const all = (bytes, salt) => Buffer.compare(bytes, Buffer.alloc(bytes.length, salt)) === 0
const code = (promise) =>
  promise.then(
    () => 'ok',
    (error) => error.code,
  )

const ways = {
  clone: (buffer) => structuredClone(buffer, { transfer: [buffer] }),
  post: (buffer) => {
    const { port1, port2 } = new MessageChannel()
    port1.postMessage(buffer, [buffer])
    port1.close()
    port2.close()
  },
  // Not before Node 21; with another length the memory is freed at once.
  ...(ArrayBuffer.prototype.transfer && {
    transfer: (buffer) => buffer.transfer(),
    shrink: (buffer) => buffer.transfer(1),
  }),
}
const refused = []
async function take(way, { buffer }) {
  try {
    ways[way](buffer)
  } catch {
    refused.push(way) // allocated memory that Node does not let go of
  }
  for (let i = 0; i < 3; i++) {
    globalThis.gc()
    await sleep(5)
  }
  // Somebody else's bytes, should the memory have been freed.
  return [new Uint8Array(4 * MiB).fill(255), new Uint8Array(4 * MiB).fill(255)]
}

await region.write(0, new Uint8Array(64 * MiB).fill(99), { durability: 'visible' })
const results = {}
for (const way of Object.keys(ways)) {
  process.kill(Number(unit), 'SIGSTOP')
  const written = bytesOf(1)
  const several = [bytesOf(2), bytesOf(3, 100)]
  const allocated = client.allocate(4 * MiB).bytes.fill(4)
  const read = bytesOf(5)
  const small = bytesOf(6, 64)
  const appended = bytesOf(7)
  const waiting = bytesOf(8, 8 * MiB)
  const calls = {
    write: region.write(0, written),
    writeAll: region.writeAll([
      { offset: 8 * MiB, bytes: several[0] },
      { offset: 7 * MiB, bytes: several[1] },
    ]),
    allocated: region.write(16 * MiB, allocated),
    readInto: region.readInto([
      { offset: 40 * MiB, bytes: read },
      { offset: 63 * MiB, bytes: small },
    ]),
    append: log.append(appended),
    // More than may be on its way: what is left of it is sent from where it was.
    full: region.write(32 * MiB, bytesOf(9, 24 * MiB)),
    waiting: region.write(20 * MiB, waiting),
  }
  const codes = Object.fromEntries(Object.entries(calls).map(([name, call]) => [name, code(call)]))
  const kept = []
  for (const memory of [written, several[0], several[1], allocated, read, small, appended, waiting])
    kept.push(await take(way, memory))
  process.kill(Number(unit), 'SIGCONT')
  for (const name of Object.keys(codes)) codes[name] = await codes[name]
  const landed = async (offset, length, salt) => all(await region.read(offset, length), salt)
  const checkpoint = await (await client.openRegion('log')).checkpoints().latest()
  results[way] = {
    ...codes,
    landed: [
      await landed(0, 4 * MiB, 1),
      await landed(8 * MiB, 4 * MiB, 2),
      await landed(7 * MiB, 100, 3),
      await landed(16 * MiB, 4 * MiB, 4),
      checkpoint.value.length === 4 * MiB && all(checkpoint.value, 7),
    ],
    kept: kept.flat().every((bytes) => all(bytes, 255)),
  }
  // Now that its call has settled, memory is the caller's again.
  const free = bytesOf(10, 1000)
  await region.write(0, free)
  structuredClone(free.buffer, { transfer: [free.buffer] })
}
process.send({ results, refused })
await client.close()
process.disconnect()

// flush.mjs DEVICE ADDRESS -- durable by the RDMA FLUSH operation: who carries it out, what it covers, and what is used where it
// is not to be had. The unit is a process of its own, so that it can be stopped and killed.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect, PersistentMemoryUnit } from '../../../dist/index.js'
import { loadNative } from '../../../dist/native-loader.js'
import { check, claim, exitCode, text } from './claims.mjs'

const [device, address] = process.argv.slice(2)

/** Lengths of the flushes that the kernel has carried out since the call before. */
let seen = 0
function flushesOfKernel() {
  const all = [...readFileSync('/sys/kernel/tracing/trace', 'latin1').matchAll(/ flush: .*bytes=(\d+)/g)]
  const fresh = all.slice(seen).map(([, bytes]) => Number(bytes))
  seen = all.length
  return fresh
}

async function startUnit() {
  const data = ['--data', `${address}:0`, '--transport', 'verbs', '--listen', '127.0.0.1:4000']
  const child = spawn(
    process.execPath,
    ['dist/cli/main.js', 'serve', '--devdax', device, '--create', ...data, '--dangerously-allow-unauthenticated'],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  await once(createInterface(child.stdout), 'line')
  return child
}
async function kill(child) {
  const gone = once(child, 'exit')
  child.kill('SIGKILL')
  await gone
}
/** What the host looks for on the NVDIMM when the guest is gone. */
const mark = `flushed by the device of a unit that was killed, ${Math.random()}`
/** Every thread of the process is. */
const stopped = (pid) =>
  readdirSync(`/proc/${pid}/task`).every((thread) =>
    readFileSync(`/proc/${pid}/task/${thread}/status`, 'latin1').includes('(stopped)'),
  )
const durable = { durability: 'durable' }
const bytes = (length, salt) => Uint8Array.from({ length }, (_, index) => (index * 7 + salt) % 256)

let unit = await startUnit()
let client = await connect('127.0.0.1:4000')
// What the step before has left.
for await (const { name } of client.regions()) await client.deleteRegion(name)
let region = await client.createRegion('r', { bytes: 4 << 20, mode: 'raw' })

await claim('the device is probed and has RDMA FLUSH', () => {
  const [found] = loadNative().verbsDevices()
  check(found.flush === true, found)
})
await claim('a durable write is answered by flush-verb, and the kernel has flushed its range and no more', async () => {
  flushesOfKernel()
  const ack = await region.write(8192, bytes(5000, 1), durable)
  check(ack.method === 'flush-verb' && ack.durability === 'durable', ack)
  const flushes = flushesOfKernel()
  check(text(flushes) === '[5000]', flushes)
})
await claim('a flush covers what was written visibly before it, in one operation a range', async () => {
  await region.write(0, bytes(100, 2), { durability: 'visible' })
  await region.write(1 << 20, bytes(200_000, 3), { durability: 'visible' })
  check(flushesOfKernel().length === 0, 'a visible write was flushed')
  const ack = await region.flush()
  check(ack.method === 'flush-verb', ack)
  const flushes = flushesOfKernel()
  check(text(flushes) === '[100,200000]', flushes)
})
await claim('while the process of the unit is stopped, durable writes go on', async () => {
  unit.kill('SIGSTOP')
  try {
    for (let waited = 0; !stopped(unit.pid); waited++) {
      check(waited < 5000, 'the threads of the unit did not stop')
      await sleep(1)
    }
    for (let i = 0; i < 5; i++) {
      const ack = await region.write(2 << 20, bytes(3000, i), { ...durable, timeoutMs: 500 })
      check(ack.method === 'flush-verb', ack)
    }
  } finally {
    unit.kill('SIGCONT')
  }
  check(flushesOfKernel().length === 5, 'the kernel flushed something else')
})
await claim('so does a log of checkpoints', async () => {
  const log = (await client.createRegion('history', { bytes: 1 << 20, mode: 'append' })).log()
  for (let i = 1; i <= 20; i++) {
    const ack = await log.append(bytes(5000, i), durable)
    check(ack.method === 'flush-verb', ack)
  }
})
await claim(
  'after the death of the unit all of it is there; the old handle has the unit flush, a new one the device',
  async () => {
    await region.write(0, Buffer.from(mark), durable)
    writeFileSync('/run/results/mark', mark)
    await kill(unit)
    unit = await startUnit()
    const first = await region.write(3 << 20, bytes(10, 9), durable)
    check(first.method === 'unit-flush', first)
    await client.close()
    client = await connect('127.0.0.1:4000')
    const all = await (await client.openRegion('history')).checkpoints().all()
    check(all.length === 20, `${all.length} checkpoints`)
    for (const [index, { value }] of all.entries())
      check(Buffer.compare(value, bytes(5000, index + 1)) === 0, `${index}`)
    region = await client.openRegion('r', { mode: 'takeOver' })
    const read = async (offset, expected) =>
      check(Buffer.compare(await region.read(offset, expected.length), expected) === 0, `differs at ${offset}`)
    await read(8192, bytes(5000, 1))
    await read(1 << 20, bytes(200_000, 3))
    await read(2 << 20, bytes(3000, 4))
    const second = await region.write(3 << 20, bytes(10, 9), durable)
    check(second.method === 'flush-verb', second)
  },
)
await client.close()
await kill(unit)

async function elsewhere(pool, work) {
  const other = await PersistentMemoryUnit.start({
    pool,
    data: [`${address}:0`],
    transport: 'verbs',
    security: { mode: 'dangerously-unauthenticated' },
    log: () => undefined,
  })
  const peer = await connect(other.address)
  try {
    const made = await peer.createRegion('r', { bytes: 1 << 20, mode: 'raw' })
    check(made.transport === 'verbs', made.transport)
    flushesOfKernel()
    await work(made)
    check(flushesOfKernel().length === 0, 'the kernel flushed')
  } finally {
    await peer.close()
    await other.close()
  }
}
await claim('a file pool on the same device is flushed by the unit', () =>
  elsewhere({ medium: 'file', path: '/tmp/pool', bytes: 8 << 20, create: true }, async (made) => {
    const ack = await made.write(0, bytes(100, 1), durable)
    check(ack.method === 'unit-flush', ack)
  }),
)
await claim('a memory pool on the same device keeps nothing, with a code', () =>
  elsewhere({ medium: 'memory', bytes: 8 << 20, create: true }, async (made) => {
    const error = await made.write(0, bytes(100, 1), durable).catch((thrown) => thrown)
    check(error.code === 'NOT_DURABLE', error)
  }),
)
process.exitCode = exitCode()

// A client that does fixed work and tells what it cost, per operation: { [workload]: { [what is counted]: number } }.
// Run with --expose-gc --no-opt and a young generation that is larger than what a repeat allocates; the addon is addon.cjs,
// and counters.c is preloaded here and into both units.
//   argument (JSON): { own, memory: { address, pid, counters }, file: { ... } }; counters and own are files of counters.c
import { createHook } from 'node:async_hooks'
import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { getHeapStatistics } from 'node:v8'
import { connect } from 'rdma-checkpoint'

const { own, ...units } = JSON.parse(process.argv[2])

/** In the order of counters.c. */
const counted = [
  'sends',
  'sentBytes',
  'frames',
  'receives',
  'emptyReceives',
  'signals',
  'signalReads',
  'loopTurns',
  'pwrites',
  'pwriteBytes',
  'syncs',
]

function readCounters(file) {
  const bytes = readFileSync(file)
  return Object.fromEntries(counted.map((name, at) => [name, Number(bytes.readBigUInt64LE(8 * at))]))
}

/** How often the threads of a process have gone to sleep of their own. */
function sleeps(pid) {
  const tasks = readdirSync(`/proc/${pid}/task`)
  return tasks.reduce((sum, task) => {
    const status = readFileSync(`/proc/${pid}/task/${task}/status`, 'utf8')
    return sum + Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(status)?.[1])
  }, 0)
}

let promises = 0
const hook = createHook({
  init(_id, type) {
    if (type === 'PROMISE') promises++
  },
})

const calls = (of) =>
  of.sends + of.receives + of.emptyReceives + of.signals + of.signalReads + of.loopTurns + of.pwrites + of.syncs

function lookAtClient() {
  const mine = readCounters(own)
  return {
    callsIntoNative: globalThis.crossings.in,
    callsBack: globalThis.crossings.back,
    clientSends: mine.sends,
    clientFrames: mine.frames,
    clientBytes: mine.sentBytes,
    clientSystemCalls: calls(mine),
    clientWakeUps: sleeps(process.pid),
  }
}

function lookAtUnit(unit) {
  const served = readCounters(unit.counters)
  return {
    unitSends: served.sends,
    unitFrames: served.frames,
    unitBytes: served.sentBytes,
    unitSystemCalls: calls(served),
    unitWakeUps: sleeps(unit.pid),
    fileWrites: served.pwrites,
    fileBytes: served.pwriteBytes,
    syncs: served.syncs,
  }
}

/** Calls one after the other, or all at once. */
async function work(call, operations, together) {
  if (together) await Promise.all(Array.from({ length: operations }, (_, i) => call(i)))
  else for (let done = 0; done < operations; done++) await call(done)
}

const differences = (after, before, operations) =>
  Object.fromEntries(Object.entries(after).map(([name, value]) => [name, (value - before[name]) / operations]))

/** What nothing but more work makes more of is least where the machine was least in the way. */
function least(list) {
  return Object.fromEntries(Object.keys(list[0]).map((name) => [name, Math.min(...list.map((one) => one[name]))]))
}

/** What all of it costs, the loop that asks for it included. */
async function measure(unit, call, { operations, together }) {
  const served = lookAtUnit(unit)
  const before = lookAtClient()
  const heap = getHeapStatistics().used_heap_size
  await work(call, operations, together)
  const heapBytes = (getHeapStatistics().used_heap_size - heap) / operations
  const mine = differences(lookAtClient(), before, operations)
  // The unit has answered; it counts what it did after that, and goes to sleep.
  await sleep(2)
  const { clientFrames, clientBytes, unitFrames, unitBytes, ...costs } = {
    ...mine,
    ...differences(lookAtUnit(unit), served, operations),
  }
  return { ...costs, messages: clientFrames + unitFrames, wireBytes: clientBytes + unitBytes, heapBytes }
}

async function promisesOf(call, { operations, together }) {
  hook.enable()
  promises = 0
  await work(call, operations, together)
  hook.disable()
  return promises / operations
}

async function cost({ unit: name, call, ...how }) {
  const unit = units[name]
  const answered = Promise.resolve()
  const nothing = () => answered
  const found = []
  const ofLoop = []
  // The first ones warm up: they make what is made once.
  for (let repeat = -6; repeat < how.repeats; repeat++) {
    globalThis.gc()
    const loop = await measure(unit, nothing, how)
    const all = await measure(unit, call, how)
    if (repeat < 0) continue
    ofLoop.push(loop)
    found.push(all)
  }
  const promised = (await promisesOf(call, how)) - (await promisesOf(nothing, how))
  const costs = least(found)
  return { ...costs, heapBytes: costs.heapBytes - least(ofLoop).heapBytes, promises: promised }
}

const payload = (bytes) => new Uint8Array(bytes).fill(7)
const lease = { silenceMs: 600_000, stallMs: 0 }

async function regionsOf(address) {
  const client = await connect(address, { transport: 'iwarp' })
  const make = (name, mode) => client.createRegion(name, { bytes: 16 * 1024 * 1024, mode, lease })
  const raw = await make('raw', 'raw')
  const append = await make('append', 'append')
  const overwrite = await make('overwrite', 'overwrite')
  // A read and its answer mark the connection as one that is counted, at both ends.
  for (const region of [raw, append, overwrite]) await region.read(0, 64)
  return { client, raw, append: append.log(), overwrite: overwrite.log() }
}

const on = { memory: await regionsOf(units.memory.address), file: await regionsOf(units.file.address) }
const other = await connect(units.memory.address, { transport: 'iwarp' })
const checkpoints = (await other.openRegion('overwrite')).checkpoints()
await on.memory.overwrite.append(payload(64))
await checkpoints.latest()

const small = payload(64)
const middle = payload(4096)
const big = payload(1024 * 1024)
const place = (number) => (number % 1024) * 64

const verbs = {
  'write of 64 B, visible': { unit: 'memory', call: (n) => on.memory.raw.write(place(n), small) },
  'append of 64 B, visible': { unit: 'memory', call: () => on.memory.append.append(small) },
  'overwrite of 64 B, visible': { unit: 'memory', call: () => on.memory.overwrite.append(small) },
  'write of 4 KiB, durable': { unit: 'file', call: (n) => on.file.raw.write((n % 1024) * 4096, middle) },
  'append of 4 KiB, durable': { unit: 'file', call: () => on.file.append.append(middle) },
  'overwrite of 64 B, durable': { unit: 'file', call: () => on.file.overwrite.append(small) },
  'read of 64 B': { unit: 'memory', call: (n) => on.memory.raw.read(place(n), 64) },
}
// How much of the work of calls in flight is joined, and in how many parts much data arrives, depends on the load. What is least
// in many short looks does not.
const one = (operations) => ({ operations, together: false, repeats: 12 })
const several = { operations: 16, together: true, repeats: 30 }
const large = { operations: 1, together: false, repeats: 30 }
const works = Object.entries(verbs).flatMap(([name, verb]) => [
  { name, ...verb, ...one(verb.unit === 'file' ? 16 : 32) },
  { name: `${name}, 16 in flight`, ...verb, ...several },
])
works.push(
  { name: 'latest of 64 B', unit: 'memory', call: () => checkpoints.latest(), ...one(32) },
  { name: 'write of 1 MiB, visible', unit: 'memory', call: () => on.memory.raw.write(0, big), ...large },
  { name: 'append of 1 MiB, visible', unit: 'memory', call: () => on.memory.append.append(big), ...large },
)

const costs = {}
for (const { name, ...how } of works) costs[name] = await cost(how)
process.stdout.write(JSON.stringify(costs))
await Promise.all([on.memory.client.close(), on.file.client.close(), other.close()])

// Run in a network namespace of its own. Owners, each with a client of its own; then flows of each are dropped in silence: one, two or
// all of its session, data and control connection, in one direction or both. Prints what became of each.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect, json } from '../../../dist/index.js'
import { drop, flowsTo, startUnit } from './dropping.js'

const kinds = ['session', 'data', 'control']
const directions = ['both', 'out', 'in']
const patienceMs = 30_000
process.setMaxListeners(50)

const { address, controlPort, dataPort } =
  process.argv[2] === 'owner' ? { address: process.argv[3] } : await startUnit('64MiB')
const watcher = process.argv[2] === 'owner' ? undefined : await connect(address)

class Moved extends Error {}

/** The one flow to that port that the work makes. */
async function flowOf(port, work) {
  const before = new Set(flowsTo(port))
  const result = await work()
  const made = flowsTo(port).filter((one) => !before.has(one))
  // On a busy machine a session may go on with another flow.
  if (made.length !== 1) throw new Moved(`${made.length} flows were made`)
  return [result, made[0]]
}

function requireThose(ports) {
  const standing = [...flowsTo(controlPort), ...flowsTo(dataPort)]
  if (Object.values(ports).some((port) => !standing.includes(port))) throw new Moved('a flow is not there any more')
}

let preparing = Promise.resolve()

/**
 * One after the other they make their flows, and drop them; and as often as that is spoilt by a flow that is made in between.
 * @param prepare resolves to what waits for the rest
 */
async function again(prepare) {
  const turn = preparing
  let resolve
  preparing = new Promise((done) => (resolve = done))
  await turn
  let rest
  try {
    for (let left = 10; rest === undefined; left--) {
      try {
        rest = await prepare(10 - left)
      } catch (error) {
        if (left === 0 || !(error instanceof Moved)) throw error
      }
    }
  } finally {
    resolve()
  }
  return await rest()
}

/** What the unit says of a region, from now on. */
async function watched(name) {
  const heard = []
  const events = watcher.watch(name)
  await events.next()
  void (async () => {
    for await (const { type } of events) heard.push([type, performance.now()])
  })()
  return heard
}

async function owner(name, lease) {
  const ports = {}
  let client
  let region
  ;[, ports.control] = await flowOf(controlPort, async () => {
    ;[client, ports.session] = await flowOf(dataPort, () => connect(address))
  })
  const mode = { mode: 'write', lease, create: { bytes: 256 * 1024 } }
  ;[region, ports.data] = await flowOf(dataPort, () => client.openRegion(name, mode))
  const log = region.log({ codec: json })
  await log.append(0)
  return { client, region, log, ports }
}

async function dropped(kinds, direction, silenceMs, attempt) {
  const name = `${kinds.join('+')}-${direction}-${silenceMs}`
  const { client, region, log, ports } = await owner(`${name}-${attempt}`, { silenceMs })
  const events = []
  for (const type of ['disconnected', 'restored']) {
    client.addEventListener(type, ({ connection }) => events.push(connection ? `${type} ${connection}` : type))
  }
  const heard = await watched(region.name)
  requireThose(ports)
  const at = performance.now()
  const since = () => Math.round(performance.now() - at)
  drop(
    kinds.map((kind) => ports[kind]),
    direction,
  )
  return async () => {
    const result = { name }
    const errors = []
    const told = (error) => errors.push(error.code ?? String(error))
    const standing = () =>
      kinds.some((kind) => {
        const port = kind === 'control' ? controlPort : dataPort
        // The unit looks after a control connection at a pace of its own.
        return [...flowsTo(port), ...(kind === 'control' ? [] : flowsTo(port, true))].includes(ports[kind])
      })
    await Promise.all([
      log.append(1, { timeoutMs: patienceMs }).then(() => (result.appendMs = since()), told),
      client.status({ timeoutMs: patienceMs }).then(() => (result.statusMs = since()), told),
      (async () => {
        while (standing() && since() < patienceMs) await sleep(20)
        result.goneMs = since()
      })(),
    ])
    while (!client.connected && since() < patienceMs) await sleep(20)
    result.connectedMs = since()
    await log.append(2, { timeoutMs: patienceMs }).catch(told)
    await client.status({ timeoutMs: patienceMs }).catch(told)
    if (region.fenced.aborted) errors.push('FENCED')
    return { ...result, heard: heard.map(([type]) => type), events, errors }
  }
}

/** The same of an owner in a process of its own, to which something is done just before. */
async function droppedProcess(name, kinds, act, forMs, attempt) {
  const child = fork(new URL(import.meta.url).pathname, ['owner', address, `${name}-${attempt}`])
  process.once('exit', () => child.kill('SIGKILL'))
  const ports = {}
  ;[, ports.control] = await flowOf(controlPort, async () => {
    ;[, ports.session] = await flowOf(dataPort, () => once(child, 'message'))
  })
  ;[, ports.data] = await flowOf(dataPort, () => child.send('open') && once(child, 'message'))
  const heard = await watched(`${name}-${attempt}`)
  requireThose(ports)
  const at = performance.now()
  act(child)
  drop(kinds.map((kind) => ports[kind]))
  return async () => {
    await sleep(forMs)
    const [, lostAt] = heard[0] ?? []
    const result = { name, heard: heard.map(([type]) => type) }
    if (lostAt !== undefined) return { ...result, lostMs: Math.round(lostAt - at) }
    child.send('append')
    const [answer] = await once(child, 'message')
    return { ...result, answer, heard: heard.map(([type]) => type) }
  }
}

async function ownerProcess(name) {
  const client = await connect(address)
  process.send('connected')
  await once(process, 'message')
  const region = await client.openRegion(name, { mode: 'write', create: { bytes: 256 * 1024 } })
  const log = region.log({ codec: json })
  await log.append(0)
  process.on('message', (what) => {
    if (what === 'append') log.append(1, { timeoutMs: patienceMs }).then(() => process.send('appended'), process.send)
    const end = performance.now() + 3_000
    if (what === 'block') while (performance.now() < end);
  })
  process.send('open')
}

async function main() {
  // A dropped flow takes seconds to be noticed: with RC_QUICK there are fewer.
  const some = process.env.RC_QUICK === '1' ? ['both'] : directions
  const combinations = [1, 2, 3, 4, 5, 6, 7].map((bits) => kinds.filter((_, at) => bits & (1 << at)))
  const cases = []
  for (const direction of some) for (const combination of combinations) cases.push([combination, direction, 1_000])
  for (const direction of directions) cases.push([['session'], direction, 500])
  const print = (result) => console.log(JSON.stringify(result))
  // Some at a time: what is measured is the flows, and not the machine.
  const left = cases.map((one) => () => again((attempt) => dropped(...one, attempt)))
  const others = [
    ['blocked', ['session'], (child) => child.send('block'), 4_000],
    ['blocked-all', kinds, (child) => child.send('block'), 4_000],
    ['stopped', ['session'], (child) => child.kill('SIGSTOP'), 2_500],
  ]
  for (const other of others) left.unshift(() => again((attempt) => droppedProcess(...other, attempt)))
  await Promise.all(
    Array.from({ length: 6 }, async () => {
      for (let work = left.shift(); work !== undefined; work = left.shift()) print(await work())
    }),
  )
  process.exit()
}

if (process.argv[2] === 'owner') await ownerProcess(process.argv[4])
else await main()

// Run in a network namespace of its own. A unit, an owner that appends and a reader that follows; then every flow of the data
// plane that stands is dropped in silence: no packet of it arrives any more, nobody is told, and new flows work.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect, json } from '../../../dist/index.js'

const ip = (...args) => execFileSync('ip', args)
ip('link', 'set', 'lo', 'up')
// Rules before the one for local addresses, which stands first.
ip('rule', 'add', 'pref', '100', 'lookup', 'local')
ip('rule', 'del', 'pref', '0')

const main = new URL('../../../dist/cli/main.js', import.meta.url).pathname
const serve = ['serve', '--medium', 'memory', '--bytes', '16MiB', '--listen', '127.0.0.1:0', '--json']
const unit = spawn(process.execPath, [main, ...serve], { stdio: ['ignore', 'pipe', 'inherit'] })
process.once('exit', () => unit.kill('SIGKILL'))
const [line] = await once(createInterface({ input: unit.stdout }), 'line')
const { address, dataAddresses } = JSON.parse(line)
const dataPort = Number(dataAddresses[0].split(':').pop())

/** Ports of the client's ends of established flows to the unit's data plane; `unitEnd` for what the unit still has. */
function flows(unitEnd = false) {
  const ports = []
  for (const row of readFileSync('/proc/net/tcp', 'utf8').trim().split('\n').slice(1)) {
    const [, local, remote, state] = row.trim().split(/\s+/)
    const [from, to] = [local, remote].map((end) => Number.parseInt(end.split(':')[1], 16))
    if (state === '01' && (unitEnd ? from : to) === dataPort) ports.push(unitEnd ? to : from)
  }
  return ports
}
function drop(ports) {
  for (const port of ports) {
    for (const end of ['sport', 'dport'])
      ip('rule', 'add', 'pref', '10', 'ipproto', 'tcp', end, String(port), 'blackhole')
  }
}

const owner = await connect(address)
const region = await owner.openRegion('r', { mode: 'write', create: { bytes: 1 << 20 } })
const log = region.log({ codec: json })
await log.append({ n: 0 })
const reader = await connect(address)
const idle = await (await connect(address)).openRegion('r')
const followed = (await reader.openRegion('r')).checkpoints({ codec: json }).follow({ from: 'oldest' })
let fenced = false
region.fenced.addEventListener('abort', () => (fenced = true))

const dropped = flows()
drop(dropped)
const droppedAt = performance.now()
const since = () => Math.round(performance.now() - droppedAt)
// One append is under way when the flow is dropped; the follower waits for it.
const appended = log.append({ n: 1 }, { timeoutMs: 30_000 }).then(since)
const seen = (async () => {
  for await (const { value } of followed) if (value.n === 1) return since()
})()
const gone = (async () => {
  while ([...flows(), ...flows(true)].some((port) => dropped.includes(port)) && since() < 30_000) await sleep(50)
  return since()
})()
const result = { dropped: dropped.length, appendMs: await appended, followMs: await seen, goneMs: await gone }
// What nobody used meanwhile has been made again, and is there at once.
const readAt = performance.now()
await idle.read(0, 1)
process.stdout.write(`${JSON.stringify({ ...result, idleReadMs: Math.round(performance.now() - readAt), fenced })}\n`)
process.exit()

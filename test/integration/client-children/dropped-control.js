// Run in a network namespace of its own. A client watches a region that another client owns; then the watcher's flow of the control
// plane is dropped in silence, while its session goes on: no packet of the flow arrives any more, nobody is told, new flows work.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from '../../../dist/index.js'

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
const { address } = JSON.parse(line)
const controlPort = Number(address.split(':').pop())

/** Ports of the client's ends of established flows to the unit's control service. */
function flows() {
  return readFileSync('/proc/net/tcp', 'utf8')
    .trim()
    .split('\n')
    .slice(1)
    .map((row) => row.trim().split(/\s+/))
    .filter(([, , remote, state]) => state === '01' && Number.parseInt(remote.split(':')[1], 16) === controlPort)
    .map(([, local]) => Number.parseInt(local.split(':')[1], 16))
}

const owner = await connect(address)
const region = await owner.openRegion('r', { mode: 'write', create: { bytes: 1 << 20 } })
const before = flows()
const watcher = await connect(address)
const events = []
for (const type of ['disconnected', 'restored']) {
  watcher.addEventListener(type, ({ connection }) => events.push(connection ? `${type} ${connection}` : type))
}
const watch = watcher.watch('r')
await watch.next()
const next = watch.next()

const dropped = flows().filter((port) => !before.includes(port))
for (const port of dropped) {
  for (const end of ['sport', 'dport'])
    ip('rule', 'add', 'pref', '10', 'ipproto', 'tcp', end, String(port), 'blackhole')
}
const droppedAt = performance.now()
const since = () => Math.round(performance.now() - droppedAt)
// A new client of the same process has nothing to do with it.
const connectMs = await connect(address)
  .then((client) => client.close())
  .then(since)
await region.close()
const seen = next.then(({ value }) => ({ type: value.type, watchMs: since() }))
// One call is under way on the dead flow: it may be made again, and so it is.
const statusMs = await watcher.status({ timeoutMs: 30_000 }).then(since)
const { type, watchMs } = await seen
while (!watcher.connected) await sleep(20)
process.stdout.write(`${JSON.stringify({ dropped: dropped.length, connectMs, statusMs, type, watchMs, events })}\n`)
process.exit()

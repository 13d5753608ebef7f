// device-events.mjs ADDRESS DEVICE NETDEV -- the network interface under a device goes down and up, and gets another address:
// the unit says so, and the calls of its client end with a code.
import { execFileSync } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect, PersistentMemoryUnit } from 'rdma-checkpoint'
import { check, claim, exitCode } from './claims.mjs'

const [address, device, netdev] = process.argv.slice(2)

const lines = []
const unit = await PersistentMemoryUnit.start({
  pool: { medium: 'memory', bytes: 32 * 1024 * 1024 },
  data: [`${address}:0`],
  transport: 'verbs',
  security: { mode: 'dangerously-unauthenticated' },
  log: (level, message, fields) => lines.push({ level, message, ...fields }),
})
const events = []
unit.addEventListener('device', (event) => events.push(event))
const ip = (...words) => execFileSync('ip', words)
const told = async (what, since) => {
  for (const end = Date.now() + 10_000; Date.now() < end; await sleep(20)) {
    const found = events.slice(since).find((event) => event.what === what)
    if (found) return found
  }
  throw new Error(`not told: ${what}, but ${events.map((event) => event.what)}`)
}

await claim('before anybody is connected a port that goes down and comes up is told', async () => {
  ip('link', 'set', netdev, 'down')
  const down = await told('port-down', 0)
  check(down.device === device && down.port === 1 && down.because.length > 0, JSON.stringify(down))
  ip('link', 'set', netdev, 'up')
  await told('port-up', 0)
})
await claim('so is an address that is added, and one that goes', async () => {
  const before = events.length
  ip('addr', 'add', '10.77.0.77/24', 'dev', netdev)
  await told('addresses-changed', before)
  const added = events.length
  ip('addr', 'del', '10.77.0.77/24', 'dev', netdev)
  await told('addresses-changed', added)
})

const client = await connect(unit.address, { transport: 'verbs', retryMs: 30_000 })
const region = await client.createRegion('r', { bytes: 4096, mode: 'raw' })
const write = (timeoutMs = 30_000) => region.write(0, new Uint8Array(1000), { durability: 'visible', timeoutMs })
await claim('a client that connects after it writes', write)
await claim('a port that goes down under a connection is told, and the write ends with a code', async () => {
  const before = events.length
  ip('link', 'set', netdev, 'down')
  await told('port-down', before)
  const error = await write(5_000).catch((reason) => reason)
  check(error?.code === 'CONNECTION_LOST' || error?.code === 'TIMEOUT', error)
  console.log(`# ${error.message}`)
  ip('link', 'set', netdev, 'up')
  await told('port-up', before)
})
await claim('each is a line of the log', () => {
  const logged = lines.filter((line) => line.event === 'device')
  check(logged.length === events.length, `${logged.length} lines, ${events.length} events`)
  const down = logged.find((line) => line.what === 'port-down')
  check(down.level === 'warn' && down.device === device && down.port === 1, JSON.stringify(down))
  console.log(`# ${events.map((event) => event.what).join(', ')}`)
})
await client.close({ timeoutMs: 5_000 })
await unit.close()
process.exit(exitCode())

// two-guests.mjs -- a host dies: a unit in one guest, with its pool on an emulated NVDIMM, a client in another, joined by a
// virtual wire, soft-RoCE on both. The emulator of one, and later of the other, is killed with SIGKILL.
// The last line is `N passed, N failed, N skipped`.
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { boot, checkout, missing } from './vm.mjs'

const cache = join(checkout, 'build/soft-roce')
const nvdimm = join(cache, 'nvdimm-two')
/** The longest that a call of the client's may take: its timeoutMs, and what an emulated machine adds. */
const callMs = 10_000 + 5000
const bootMs = 120_000
/** After which a unit gives up a session whose connections stand and say nothing (src/unit/sessions.ts). */
const silentMs = 60_000
const guests = new Set()
let passed = 0
let failed = 0

function claim(holds, text) {
  console.log(`${holds ? 'ok' : 'not ok'} ${text}`)
  if (holds) passed++
  else failed++
}

/** A guest, what it has told, and how it ends. */
class Host {
  constructor(name, own, other, script, memory) {
    this.results = join(cache, `results-${name}`)
    this.guest = boot({
      script,
      results: this.results,
      timeoutMs: 600_000,
      memoryGiB: 2,
      network: {
        netdev: `socket,udp=127.0.0.1:${other.port},localaddr=127.0.0.1:${own.port}`,
        mac: own.mac,
      },
      ...memory,
    })
    guests.add(this.guest)
    this.name = name
  }
  told() {
    const file = join(this.results, 'told')
    if (!existsSync(file)) return []
    // The last line may be half there: 9p and a machine that is killed.
    return readFileSync(file, 'utf8')
      .split('\n')
      .flatMap((line) => {
        try {
          return [JSON.parse(line)]
        } catch {
          return []
        }
      })
  }
  /** The first that it tells, from the given index on, of which `of` holds. */
  async until(what, withinMs, of, from = 0) {
    for (const end = Date.now() + withinMs; ; await sleep(50)) {
      const found = this.told().slice(from).find(of)
      if (found !== undefined) return found
      if (Date.now() > end || this.guest.emulator.exitCode !== null) {
        throw new Error(
          `${this.name} did not tell of ${what} in ${withinMs} ms: ${JSON.stringify(this.told().slice(-5))}\n` +
            readFileSync(join(this.results, 'console.txt'), 'utf8').slice(-1500),
        )
      }
    }
  }
  async kill() {
    this.guest.kill()
    await this.guest.ended
    guests.delete(this.guest)
  }
}

const unitWire = { port: 47_801, mac: '52:54:00:12:34:01' }
const clientWire = { port: 47_802, mac: '52:54:00:12:34:02' }
const node = 'cd "$GUEST_CHECKOUT" && timeout 500 node test/soft-roce/guest'
const startUnit = () =>
  new Host(
    'unit',
    unitWire,
    clientWire,
    `wire 10.79.0.1/24 && rxe eth0 && devdax && ${node}/unit-host.mjs /dev/dax0.0 10.79.0.1 > /run/results/log 2>&1\nguest_code=$?`,
    { nvdimm },
  )
const startClient = () =>
  new Host(
    'client',
    clientWire,
    unitWire,
    `wire 10.79.0.2/24 && rxe eth0 && ${node}/client-host.mjs 10.79.0.1:4000 > /run/results/log 2>&1\nguest_code=$?`,
    {},
  )

async function main() {
  rmSync(nvdimm, { force: true })
  let unit = startUnit()
  const client = startClient()
  const ready = await unit.until('its start', bootMs, (fact) => fact.ready)
  claim(ready.promises.includes('durable'), 'a unit on persistent memory runs in a guest')
  await client.until('its first checkpoints', bootMs, (fact) => fact.acknowledged >= 40)
  claim(true, "a client in another guest writes durable checkpoints to it over the guests' wire")

  await unit.kill()
  const from = client.told().length
  const broken = await client.until('a call that failed', 3 * callMs, (fact) => 'call' in fact, from)
  console.log(`# ${broken.call} failed with ${broken.code} after ${broken.ms} ms: ${broken.text}`)
  claim(broken.code !== 'none', "when the unit's host dies, the client's call fails with a code")
  await sleep(callMs) // some tries to connect again
  const calls = client.told().filter((fact) => 'call' in fact)
  const slowest = Math.max(...calls.map(({ ms }) => ms))
  console.log(
    `# ${calls.length} calls failed, the slowest after ${slowest} ms: ${[...new Set(calls.map(({ code }) => code))]}`,
  )
  claim(slowest <= callMs && calls.every(({ code }) => code !== 'none'), 'every call ends within its time, with a code')

  const before = client.told().length
  unit = startUnit()
  await unit.until('its second start', bootMs, (fact) => fact.ready)
  const checked = await client.until('what it found', 60_000, (fact) => 'verified' in fact || 'lost' in fact, before)
  console.log(`# ${JSON.stringify(checked)}`)
  claim(checked.verified >= 40, 'after the host is back, every durable checkpoint is there')
  const last = client.told().findLast((fact) => 'acknowledged' in fact).acknowledged
  await client.until('more checkpoints', 60_000, (fact) => fact.acknowledged >= last + 20)
  claim(true, 'and the client writes on')

  const sofar = unit.told().length
  await client.kill()
  const killed = Date.now()
  const lost = await unit.until('a lost owner', 30_000, (fact) => fact.event === 'owner-lost', sofar)
  console.log(`# owner-lost ${Date.now() - killed} ms after the client's host died`)
  claim(true, "when the client's host dies, the unit tells that the owner is lost")
  const freed = await unit.until(
    'freed queue pairs',
    silentMs + 30_000,
    (fact) => 'queuePairs' in fact && fact.queuePairs <= lost.idle,
    sofar,
  )
  console.log(`# ${freed.queuePairs} queue pairs ${Date.now() - killed} ms after the client's host died`)
  claim(true, 'and frees what the client held')

  writeFileSync(join(unit.results, 'stop'), '')
  const ended = await unit.guest.ended
  for (const line of ended.complaints) console.log(`# the kernel: ${line.trim()}`)
  claim(
    ended.exitCode === 0 && ended.complaints.length === 0,
    "the unit's guest ends in order, and its kernel did not complain",
  )
  guests.delete(unit.guest)
}

const absent = missing()
try {
  if (absent !== undefined) throw new Error(absent)
  await main()
} catch (error) {
  claim(false, String(error?.stack ?? error))
} finally {
  for (const guest of guests) guest.kill()
  rmSync(nvdimm, { force: true })
}
console.log(`${passed} passed, ${failed} failed, 0 skipped`)
process.exitCode = failed === 0 ? 0 : 1

// client-host.mjs UNIT -- the guest that is a compute host: appends durable checkpoints to the unit of another guest, and
// tells on /run/results/told, one JSON a line: each acknowledgement, each call that failed with its code and how long it
// took, and, after each failure, whether all that was acknowledged is there.
import { appendFileSync } from 'node:fs'
import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from '../../../dist/index.js'

const [address] = process.argv.slice(2)
const tell = (fact) => appendFileSync('/run/results/told', `${JSON.stringify(fact)}\n`)
const options = { transport: 'verbs', timeoutMs: 10_000, retryMs: 4000 }
const payload = (number) => Buffer.alloc(3000 + (number % 5000), `checkpoint ${number};`)
const acknowledged = []
let next = 1

async function timed(name, work) {
  const started = performance.now()
  try {
    return await work()
  } catch (error) {
    tell({ call: name, code: error.code ?? 'none', text: String(error), ms: Math.round(performance.now() - started) })
    throw error
  }
}

async function check(region) {
  const found = new Map()
  for (const { sequence, value } of await region.checkpoints().all()) found.set(sequence, Buffer.from(value))
  for (const { sequence, number } of acknowledged) {
    const value = found.get(sequence)
    if (value === undefined || Buffer.compare(value, payload(number)) !== 0) {
      return tell({ lost: String(sequence), found: found.size, acknowledged: acknowledged.length })
    }
  }
  tell({ verified: acknowledged.length, found: found.size })
}

async function life() {
  const client = await timed('connect', () => connect(address, options))
  try {
    await writeTo(client)
  } finally {
    await client.close().catch(() => undefined)
  }
}

async function writeTo(client) {
  const region = await timed('open', async () =>
    acknowledged.length === 0
      ? await client.createRegion('log', { bytes: 64 << 20, mode: 'append' })
      : await client.openRegion('log', { mode: 'takeOver' }),
  )
  if (acknowledged.length > 0) await check(region)
  const log = region.log()
  for (;;) {
    const number = next++
    const { sequence } = await timed('append', () => log.append(payload(number), { durability: 'durable' }))
    acknowledged.push({ sequence, number })
    tell({ acknowledged: number })
  }
}

for (;;) {
  await life().catch(() => undefined)
  await sleep(500)
}

// A process that appends checkpoints until it is killed, and says "ack SEQUENCE NUMBER" after each await.
import { writeSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { connect } from 'rdma-checkpoint'
import { payloadOf } from './payload.mjs'

/** @type {{ unit: string, region: string, seed: number, round: number, maxBytes: number, depth: number }} */
const { unit, region: name, seed, round, maxBytes, depth } = JSON.parse(process.argv[2] ?? '{}')

// Synchronous, so that what is said has left the process when the next checkpoint begins.
const say = (/** @type {string} */ text) => writeSync(1, `${text}\n`)

async function openForWriting(/** @type {import('rdma-checkpoint').Client} */ client) {
  for (const giveUp = Date.now() + 20_000; ; ) {
    try {
      return await client.openRegion(name, { mode: 'write' })
    } catch (error) {
      if (/** @type {{ code?: string }} */ (error).code !== 'REGION_BUSY' || Date.now() > giveUp) throw error
      await sleep(5)
    }
  }
}

const client = await connect(unit)
const region = await openForWriting(client)
const log = region.log()
say('writing')

let next = 1
async function appendForEver() {
  for (;;) {
    const number = next++
    const payload = payloadOf(seed, round, number, maxBytes)
    const appended = log.append(payload)
    // What the caller does with its memory after append has returned is none of the checkpoint's business.
    payload.fill(0xee)
    const { sequence } = await appended
    say(`ack ${sequence} ${number}`)
  }
}
await Promise.all(Array.from({ length: depth }, appendForEver))

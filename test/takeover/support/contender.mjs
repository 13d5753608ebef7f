// A process that wants the region: a standby until its owner is lost, then an owner that appends until it is fenced. Its part
// of the history goes to a file. Messages to its parent: { standby }, { owner: epoch }, { appended: how many so far }.
// Commands: { go: epoch }: the owner may begin to append; { takeOver: true }: take the region from a living owner; { handOver: true }.
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { CheckpointError, connect, ProcessPair } from 'rdma-checkpoint'
import { Random } from '../../fault/support/random.mjs'
import { foundOf, hashOf, now, Recorder } from './recorder.mjs'

/** @typedef {import('rdma-checkpoint').CheckpointLog<Uint8Array>} Log */

/** @type {import('../contender.js').Assignment} */
const assignment = JSON.parse(process.argv[2] ?? '{}')
const { unit, region: name, id, style, seed, create, maxBytes, lanes, pauseMs, visibleShare, delta } = assignment
const history = new Recorder(assignment.history, id)
const random = new Random(seed)
/** What payloads are cut from: making fresh random bytes for each would cost more than sending them. */
const noise = random.fill(Buffer.alloc(2 * maxBytes))
const retryMs = 60_000
/** Of a unit whose medium has failed, until somebody has seen to it: final for the package, and not for who waits for that. */
const mediumCodes = new Set(['MEDIUM_FAILED', 'POOL_READ_ONLY'])

let number = 0
let epochs = 0
let pairs = 0
/** The owner's permission to begin. */
let permitted = 0
let permit = () => {}
/** Ends the wait of a standby. */
let vacant = () => {}
let force = false
/** Of the owner, in a pair. */
let handOver = () => {}

process.on('message', (/** @type {{ go?: number, takeOver?: boolean, handOver?: boolean }} */ message) => {
  const { go, takeOver } = message
  if (message.handOver) handOver()
  if (go !== undefined) permitted = Math.max(permitted, go)
  if (takeOver) force = true
  permit()
  vacant()
})

/** Of a log with deltas: a state of which a little changes. */
const state = noise.subarray(0, Math.ceil(maxBytes / 4))

function payload() {
  const bytes = delta === undefined ? fresh() : edited()
  // Two appends never have the same bytes.
  bytes.write(id.padEnd(16), 0, 16, 'latin1')
  bytes.writeUInt32LE(number, 16)
  return bytes
}

function fresh() {
  const bytes = Buffer.alloc(random.logUniform(64, maxBytes))
  noise.copy(bytes, 0, random.integer(0, noise.length - bytes.length))
  return bytes
}

function edited() {
  const length = random.logUniform(1, state.length / 50)
  random.fill(state.subarray(random.integer(0, state.length - length)).subarray(0, length))
  return Buffer.from(state)
}

/** @param {Log} log @param {number} epoch @param {AbortSignal} signal */
async function appendUntilFenced(log, epoch, signal) {
  while (!signal.aborted) {
    number++
    const call = number
    const bytes = payload()
    history.add({ type: 'invoked', epoch, number: call, bytes: bytes.length, hash: hashOf(bytes) })
    try {
      const appended = log.append(bytes, random.chance(visibleShare) ? { durability: 'visible' } : {})
      // What the caller does with its memory after append has returned is none of the checkpoint's business.
      bytes.fill(0xee)
      const { sequence, durability } = await appended
      history.add({ type: 'acknowledged', number: call, sequence: Number(sequence), durability })
      process.send?.({ appended: call })
    } catch (error) {
      if (!(error instanceof CheckpointError)) throw error
      history.add({ type: 'failed', number: call, code: error.code, outcome: error.outcome })
      if (error.code === 'FENCED' || error.code === 'CLOSED') return
    }
    if (random.chance(0.5)) await sleep(random.integer(0, 2 * pauseMs))
  }
}

/** @param {Log} log @param {number} epoch @param {AbortSignal} signal */
async function own(log, epoch, signal) {
  epochs++
  process.send?.({ owner: epoch })
  const ended = once(signal, 'abort').catch(() => {})
  while (permitted < epoch && !signal.aborted) {
    await Promise.race([ended, new Promise((resolve) => (permit = () => resolve(undefined)))])
  }
  await Promise.all(Array.from({ length: lanes }, () => appendUntilFenced(log, epoch, signal)))
}

/** @param {import('rdma-checkpoint').Client} client */
async function openForWriting(client) {
  for (;;) {
    const mode = force ? 'takeOver' : 'write'
    force = false
    const asked = now()
    try {
      const region = await client.openRegion(name, { mode, create })
      const epoch = Number(region.epoch)
      history.add({ type: 'owned', epoch, asked })
      return { region, epoch }
    } catch (error) {
      if (!(error instanceof CheckpointError)) throw error
      if (error.code === 'REGION_BUSY') {
        process.send?.({ standby: true })
        await untilVacant(client)
      } else if (error.retryable || error.code === 'FENCED' || mediumCodes.has(error.code)) {
        // Who was told to take a living owner's region is the only one who does.
        if (mode === 'takeOver') force = true
        await sleep(50)
      } else throw error
    }
  }
}

/** @param {import('rdma-checkpoint').Client} client */
async function untilVacant(client) {
  const stop = new AbortController()
  vacant = () => stop.abort()
  if (force) return
  try {
    for await (const { type } of client.watch(name, { signal: stop.signal })) {
      if (type === 'owner-lost' || type === 'released') return
    }
  } catch (error) {
    if (!stop.signal.aborted) throw error
  }
}

async function connectPatiently() {
  for (;;) {
    try {
      return await connect(unit, { identity: id, retryMs, timeoutMs: retryMs })
    } catch (error) {
      // The unit may be away.
      if (!(error instanceof CheckpointError) || !error.retryable) throw error
      await sleep(50)
    }
  }
}

async function contendByOpening() {
  const client = await connectPatiently()
  for (;;) {
    const { region, epoch } = await openForWriting(client)
    const log = region.log(delta === undefined ? {} : { delta })
    try {
      const found = await log.latest()
      history.add({ type: 'restored', epoch, found: found ? foundOf(found) : null })
      await own(log, epoch, region.fenced)
    } catch (error) {
      if (!(error instanceof CheckpointError) || error.code !== 'FENCED') throw error
    }
    await region.close()
  }
}

/** @param {number} epoch @param {() => Promise<void>} giveUp */
async function handOverRecorded(epoch, giveUp) {
  history.add({ type: 'hand-over', epoch })
  const error = await giveUp().catch((error) => error)
  history.add({ type: 'handed-over', epoch, code: error === undefined ? null : (error.code ?? String(error)) })
}

async function contendAsPair() {
  const iteration = `${id}.pair${++pairs}`
  const pair = new ProcessPair(unit, {
    region: name,
    identity: id,
    create,
    retryMs,
    timeoutMs: retryMs,
    standby: 'hot',
    onStandby: (checkpoint) => {
      history.add({ type: 'followed', iteration: `${iteration}.${epochs}`, every: false, ...foundOf(checkpoint) })
    },
    async onPrimary({ checkpoint, log, epoch, signal, handOver: giveUp }) {
      handOver = () => void handOverRecorded(Number(epoch), giveUp)
      history.add({ type: 'owned', epoch: Number(epoch) })
      history.add({ type: 'restored', epoch: Number(epoch), found: checkpoint ? foundOf(checkpoint) : null })
      await own(log, Number(epoch), signal)
      // The work is not done; whoever was fenced is a standby again.
      throw signal.reason
    },
  })
  pair.addEventListener('role', () => {
    if (pair.role === 'standby') process.send?.({ standby: true })
  })
  await pair.run()
}

/** A pair whose medium failed has ended. The next one begins with nothing known, and is given the newest once more. */
async function contendAsPairs() {
  for (;;) {
    try {
      return await contendAsPair()
    } catch (error) {
      if (!(error instanceof CheckpointError) || !mediumCodes.has(error.code)) throw error
      await sleep(100)
    }
  }
}

process.on('disconnect', () => process.exit(0))
await (style === 'pair' ? contendAsPairs() : contendByOpening())

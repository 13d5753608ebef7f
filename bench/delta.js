// node bench/delta.js [--json] [--mib N] [--rounds N]
//
// Differential checkpoints: a state of which 1 % changes between two checkpoints, in pieces of several sizes at random
// places. Shows what an append sends beside a full one, and how long the comparison takes for several block sizes beside
// copying the same state, interleaved in the same run. docs/benchmarks.md says how to read it.
import { randomFillSync } from 'node:crypto'
import { parseArgs } from 'node:util'
import { connect } from 'rdma-checkpoint'
import { deltaBlockBytes } from '../dist/checkpoint/delta/chain.js'
import { loadNative } from '../dist/native-loader.js'
import { median } from './measure.js'
import { runToTheEnd } from './scratch.js'
import { startUnit } from './unit.js'

const KiB = 1024
const MiB = 1024 * KiB
const share = 0.01
const pieces = [256, KiB, 4 * KiB, 64 * KiB]
const blocks = [128, 256, 512, KiB, 4 * KiB]

const { values: options } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    mib: { type: 'string', default: '64' },
    rounds: { type: 'string', default: '7' },
  },
})
const stateBytes = Number(options.mib) * MiB
const rounds = Number(options.rounds)

runToTheEnd(bench)

async function bench() {
  const native = loadNative()
  const state = randomFillSync(new Uint8Array(new ArrayBuffer(stateBytes)))
  const compared = compare(native, state)

  const regionBytes = 4 * stateBytes
  const unit = await startUnit(['--medium', 'memory', '--bytes', String(regionBytes + 16 * MiB)])
  const client = await connect(unit.address)
  const region = await client.createRegion('state', { bytes: regionBytes })
  const log = region.log({ delta: { fullEvery: 1024 } })
  const full = await timed(() => log.append(state))
  const sent = []
  for (const piece of pieces) {
    const times = []
    const shares = []
    for (let round = 0; round < rounds; round++) {
      const changed = change(state, piece)
      times.push(await timed(() => log.append(state)))
      const info = (await log.list()).at(-1)
      if (info?.baseSequence === undefined) throw new Error('not a delta')
      shares.push((info.storedBytes + 128) / changed)
    }
    const ofState = median(shares) * share * 100
    sent.push({ piece, ms: median(times), ofChanged: median(shares), percentOfState: ofState })
  }
  const latest = await log.latest()
  if (latest === undefined || Buffer.compare(latest.value, state) !== 0) throw new Error('the restored state differs')
  await client.close()
  await unit.stop()
  const result = { stateBytes, rounds, blockBytes: deltaBlockBytes, fullMs: full, sent, ...compared }
  if (options.json) console.log(JSON.stringify(result))
  else print(result)
}

/** Gives new content to 1 % of the state; how many bytes that was. Pieces may meet, and begin anywhere. */
function change(state, piece) {
  let changed = 0
  for (; changed < state.length * share; changed += piece) {
    const from = Math.floor(Math.random() * (state.length - piece))
    randomFillSync(state, from, piece)
  }
  return changed
}

function compare(native, state) {
  const base = state.slice()
  const copy = new Uint8Array(state.length)
  copy.set(state)
  const copies = []
  const times = new Map(blocks.map((block) => [block, { unchanged: [], changed: [] }]))
  for (let round = 0; round < rounds; round++) {
    copies.push(timedNow(() => copy.set(state)))
    for (const block of blocks) {
      const { unchanged, changed } = times.get(block)
      unchanged.push(timedNow(() => native.takeChanges(base, state, block, state.length)))
      change(state, 4 * KiB)
      changed.push(timedNow(() => native.takeChanges(base, state, block, state.length)))
    }
  }
  const compared = blocks.map((block) => {
    const { unchanged, changed } = times.get(block)
    return { block, unchangedMs: median(unchanged), changedMs: median(changed) }
  })
  return { copyMs: median(copies), compared }
}

function timedNow(call) {
  const start = performance.now()
  call()
  return performance.now() - start
}

async function timed(call) {
  const start = performance.now()
  await call()
  return performance.now() - start
}

function print({ stateBytes: bytes, fullMs, blockBytes, sent, copyMs, compared }) {
  console.log(`A state of ${bytes / MiB} MiB, 1 % of it changed; blocks of ${blockBytes} bytes; medians of ${rounds}`)
  console.log(`full append: ${fullMs.toFixed(1)} ms\n`)
  console.log('pieces of | sent, of what changed | sent, of the state | append')
  for (const { piece, ofChanged, percentOfState, ms } of sent) {
    const cells = [`${piece} B`.padStart(9), `${ofChanged.toFixed(3)}`.padStart(21)]
    cells.push(`${percentOfState.toFixed(3)} %`.padStart(18), `${ms.toFixed(1)} ms`)
    console.log(cells.join(' | '))
  }
  console.log(`\ncopying the state: ${copyMs.toFixed(1)} ms (${(bytes / MiB / 1.024 / copyMs).toFixed(1)} GiB/s)`)
  console.log('block | compare, nothing changed | compare, 1 % changed | of copying')
  for (const { block, unchangedMs, changedMs } of compared) {
    const cells = [String(block).padStart(5), `${unchangedMs.toFixed(1)} ms`.padStart(24)]
    cells.push(`${changedMs.toFixed(1)} ms`.padStart(21), (changedMs / copyMs).toFixed(2))
    console.log(cells.join(' | '))
  }
}

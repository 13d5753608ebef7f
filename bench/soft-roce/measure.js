// measure.js --address ADDRESS --device DEVICE --program WRITE_WAIT [--rounds N] [--seconds S] [--json]
//
// On a machine with an RDMA device (soft-RoCE or hardware): throughput from JavaScript beside perftest, and the latency of a
// small write beside a C program that writes and waits. Everything that is compared is interleaved; the table shows medians.
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs, promisify } from 'node:util'
import { connect } from 'rdma-checkpoint'
import { measure, median } from '../measure.js'
import { runToTheEnd, start } from '../scratch.js'
import { perftest } from './perftest.js'

const run = promisify(execFile)
const KiB = 1024
const depth = 16
const span = 16 * 1024 * KiB
/** How the C program writes and waits: write-wait.c. */
const waits = ['spin', 'block'].flatMap((wait) => [
  { wait, kind: 'write', code: 'warm' },
  { wait, kind: 'visible', code: 'warm' },
  { wait, kind: 'visible', code: 'cold' },
])

const { values: options } = parseArgs({
  options: {
    address: { type: 'string', default: '' },
    device: { type: 'string', default: '' },
    program: { type: 'string', default: '' },
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '1.5' },
    json: { type: 'boolean', default: false },
  },
})
const { address, device, program } = options
const seconds = Number(options.seconds)

/** The first line of a child that goes on, and the child. */
async function started(command, args) {
  const child = start(command, args)
  const ended = once(child, 'exit').then(([code]) => {
    throw new Error(`${command} ended early (${code})`)
  })
  ended.catch(() => undefined)
  const [line] = await Promise.race([once(createInterface({ input: child.stdout }), 'line'), ended])
  return { line: String(line) }
}

/** Series of numbers by name. */
class Series {
  #values = new Map()
  add(name, value) {
    this.#values.set(name, [...(this.#values.get(name) ?? []), value])
  }
  median(name) {
    return median(this.#values.get(name) ?? [])
  }
}

async function main() {
  const unit = await started(process.execPath, [fileURLToPath(new URL('unit.js', import.meta.url)), address])
  const cPort = '18599'
  await started(program, ['serve', address, cPort])
  const client = await connect(unit.line, { transport: 'verbs' })
  const region = await client.createRegion('bench', { bytes: span, mode: 'raw' })
  const throughput = new Series()
  const latency = new Series()
  const sizes = [1024 * KiB, 64 * KiB]
  const sources = new Map(sizes.map((bytes) => [bytes, client.allocate(bytes)]))
  const sinks = Array.from({ length: depth }, () => client.allocate(1024 * KiB))
  for (const { bytes } of [...sources.values(), ...sinks]) bytes.fill(7)
  const small = client.allocate(64)
  small.bytes.fill(7)

  for (let round = 0; round < Number(options.rounds); round++) {
    for (const bytes of sizes) {
      const source = sources.get(bytes).bytes
      const place = (number) => (number * bytes) % span
      const ours = {
        write: (number) => region.write(place(number), source, { durability: 'visible' }),
        read: (number) =>
          region.readInto({ offset: place(number), bytes: sinks[number % depth].bytes.subarray(0, bytes) }),
      }
      for (const what of /** @type {const} */ (['write', 'read'])) {
        const operations = Math.max(32, Math.round((seconds * 60e6) / bytes))
        const theirs = await perftest(what, { device, address, bytes, depth, operations })
        throughput.add(`perftest ${what} ${bytes}`, theirs)
        const cell = await measure(ours[what], { depth, seconds })
        throughput.add(`ours ${what} ${bytes}`, (cell.operations * bytes) / cell.seconds)
      }
    }
    for (const { wait, kind, code } of waits) {
      const { stdout } = await run(program, ['ask', address, cPort, wait, kind, '64', '3000', code])
      latency.add(`C ${kind} ${wait} ${code}`, JSON.parse(stdout).p50us)
    }
    const cell = await measure(() => region.write(0, small.bytes, { durability: 'visible' }), { depth: 1, seconds })
    latency.add('ours visible', cell.p50us)
  }
  report(sizes, throughput, latency)
}

function report(sizes, throughput, latency) {
  const rows = sizes.flatMap((bytes) =>
    ['write', 'read'].map((what) => {
      const theirs = throughput.median(`perftest ${what} ${bytes}`)
      const ours = throughput.median(`ours ${what} ${bytes}`)
      return { what, bytes, perftest: theirs / 1e6, javascript: ours / 1e6, ratio: ours / theirs }
    }),
  )
  const theirs = waits.map((how) => ({ ...how, c: latency.median(`C ${how.kind} ${how.wait} ${how.code}`) }))
  const ours = latency.median('ours visible')
  if (options.json) return console.log(JSON.stringify({ throughput: rows, latency: { c: theirs, javascript: ours } }))
  console.log(`Throughput, ${depth} in flight, medians of ${options.rounds} rounds (MB/s)`)
  console.log('                      perftest  JavaScript  of perftest')
  for (const { what, bytes, perftest, javascript, ratio } of rows) {
    const name = `${what} of ${bytes / KiB} KiB`.padEnd(20)
    console.log(
      `${name}${perftest.toFixed(1).padStart(10)}${javascript.toFixed(1).padStart(12)}${ratio.toFixed(2).padStart(13)}`,
    )
  }
  console.log('\nA write of 64 B, one at a time, medians (us); visible: a read of one byte has come back behind it')
  for (const { wait, kind, code, c } of theirs) {
    const more = code === 'cold' ? ', other code between' : ''
    const name = `C, ${kind}, ${wait === 'spin' ? 'spinning' : 'blocking'}${more}`.padEnd(42)
    console.log(
      `${name}${c.toFixed(1).padStart(8)}${kind === 'visible' ? `   JavaScript takes ${(ours / c).toFixed(2)} times as long` : ''}`,
    )
  }
  console.log(`${'JavaScript, visible'.padEnd(42)}${ours.toFixed(1).padStart(8)}`)
}

runToTheEnd(main)

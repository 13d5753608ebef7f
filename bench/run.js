// npm run bench [-- --json] [--rounds N] [--seconds S] [--folder DIR] [--only PATTERN]
//
// Writes and appends of several sizes, visible and durable, one at a time and 16 in flight, beside raw TCP over
// loopback in the same run. Everything that is compared is interleaved: a round measures each cell once, and the
// table shows the median over the rounds. docs/benchmarks.md says how to read it.
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { connect } from 'rdma-checkpoint'
import { describeMachine } from './machine.js'
import { measure, median, spread } from './measure.js'
import { buildRawTcp, measureRawTcp } from './raw-tcp.js'
import { startUnit } from './unit.js'

const KiB = 1024
const MiB = 1024 * KiB
const sizes = [64, 4 * KiB, 64 * KiB, MiB]
const depths = [1, 16]
const regionBytes = 64 * MiB

/**
 * @typedef {{ series: string, bytes: number, depth: number }} Cell
 * @typedef {import('./raw-tcp.js').Measurement} Measurement
 */

const { values: options } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '0.4' },
    folder: { type: 'string', default: os.tmpdir() },
    only: { type: 'string', default: '' },
  },
})
const rounds = Number(options.rounds)
const seconds = Number(options.seconds)

const folder = mkdtempSync(path.join(options.folder, 'rdma-checkpoint-bench-'))
process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM'])) process.once(signal, () => process.exit(1))

bench().then(
  () => process.exit(0),
  (error) => {
    console.error(error)
    process.exit(1)
  },
)

async function bench() {
  const rawTcp = await buildRawTcp(folder)
  const poolBytes = 3 * regionBytes
  const memory = await startUnit(['--medium', 'memory', '--bytes', String(poolBytes)])
  const file = await startUnit([
    '--medium',
    'file',
    '--path',
    path.join(folder, 'pool'),
    '--bytes',
    String(poolBytes),
    '--create',
  ])
  const client = { memory: await connect(memory.address), file: await connect(file.address) }

  const raw = { bytes: regionBytes, mode: /** @type {const} */ ('raw') }
  const append = { bytes: regionBytes, mode: /** @type {const} */ ('append') }
  const region = {
    visible: await client.memory.createRegion('raw', raw),
    durable: await client.file.createRegion('raw', raw),
  }
  const log = {
    visible: (await client.memory.createRegion('log', append)).log(),
    durable: (await client.file.createRegion('log', append)).log(),
  }
  // First touches of fresh memory are not what is measured.
  for (let offset = 0; offset < regionBytes; offset += MiB) {
    const zeros = new Uint8Array(MiB)
    await region.visible.write(offset, zeros, { durability: 'visible' })
    await region.durable.write(offset, zeros, { durability: 'durable' })
    await log.visible.append(zeros.subarray(0, MiB - 4 * KiB), { durability: 'visible' })
    await log.durable.append(zeros.subarray(0, MiB - 4 * KiB), { durability: 'durable' })
  }

  const payload = new Uint8Array(MiB).map((_, index) => index * 31)
  /** @type {Record<string, (cell: Cell) => Promise<Measurement>>} */
  const series = {
    'raw TCP': ({ bytes, depth }) => measureRawTcp(rawTcp, { bytes, depth, seconds, span: regionBytes }),
  }
  for (const durability of /** @type {const} */ (['visible', 'durable'])) {
    series[`write, ${durability}`] = ({ bytes, depth }) => {
      const places = Math.floor(regionBytes / bytes)
      const body = payload.subarray(0, bytes)
      return measure((n) => region[durability].write((n % places) * bytes, body, { durability }), { depth, seconds })
    }
    series[`append, ${durability}`] = ({ bytes, depth }) => {
      const body = payload.subarray(0, bytes)
      return measure(() => log[durability].append(body, { durability }), { depth, seconds })
    }
  }

  /** @type {Cell[]} */
  const cells = []
  for (const bytes of sizes)
    for (const depth of depths)
      for (const name of Object.keys(series))
        if (`${name} ${bytes} ${depth}`.includes(options.only) || name === 'raw TCP')
          cells.push({ series: name, bytes, depth })

  /** @type {Map<Cell, Measurement[]>} */
  const measured = new Map(cells.map((cell) => [cell, []]))
  for (let round = 1; round <= rounds; round++) {
    if (process.stderr.isTTY) process.stderr.write(`\rround ${round} of ${rounds} `)
    for (const cell of cells) {
      const measurement = await series[cell.series]?.(cell)
      if (measurement) measured.get(cell)?.push(measurement)
    }
  }
  if (process.stderr.isTTY) process.stderr.write('\r')
  await client.memory.close()
  await client.file.close()
  await memory.stop()
  await file.stop()
  report(cells.map((cell) => summary(cell, measured.get(cell) ?? [])))
}

/** @param {Cell} cell @param {readonly Measurement[]} measurements */
function summary(cell, measurements) {
  const rates = measurements.map(({ operations, seconds: elapsed }) => operations / elapsed)
  return {
    ...cell,
    operationsPerSecond: median(rates),
    megabytesPerSecond: (median(rates) * cell.bytes) / 1e6,
    bestOperationsPerSecond: Math.max(...rates),
    spread: spread(rates),
    p50us: median(measurements.map(({ p50us }) => p50us)),
    p99us: median(measurements.map(({ p99us }) => p99us)),
  }
}

/** @param {ReturnType<typeof summary>[]} rows */
function report(rows) {
  const machine = { ...describeMachine(folder), rounds, seconds }
  const results = rows.map((row) => {
    const rawRow = rows.find(
      ({ series, bytes, depth }) => series === 'raw TCP' && bytes === row.bytes && depth === row.depth,
    )
    return {
      ...row,
      ofRawTcp: rawRow ? row.operationsPerSecond / rawRow.operationsPerSecond : 0,
      bestOfRawTcp: rawRow ? row.bestOperationsPerSecond / rawRow.bestOperationsPerSecond : 0,
    }
  })
  if (options.json) {
    console.log(JSON.stringify({ machine, results }))
    return
  }
  console.log(
    `${machine.cpu}, ${machine.cores} cores, Linux ${machine.kernel}, Node ${machine.node}, pool file on ${machine.poolFileSystem}; ` +
      `median of ${rounds} rounds of ${seconds} s, load average ${machine.load?.toFixed(1)}.\n`,
  )
  console.log('| bytes | depth | what | op/s | MB/s | p50 us | p99 us | of raw TCP | best of best | +- |')
  console.log('|---|---|---|---|---|---|---|---|---|---|')
  for (const row of results) {
    const latency = row.depth === 1 ? [row.p50us.toFixed(0), row.p99us.toFixed(0)] : ['', '']
    const columns = [
      readable(row.bytes),
      row.depth,
      row.series,
      row.operationsPerSecond.toFixed(0),
      row.megabytesPerSecond.toFixed(row.megabytesPerSecond < 100 ? 1 : 0),
      ...latency,
      ...(row.series === 'raw TCP' ? ['', ''] : [row.ofRawTcp.toFixed(2), row.bestOfRawTcp.toFixed(2)]),
      `${(row.spread * 100).toFixed(0)} %`,
    ]
    console.log(`| ${columns.join(' | ')} |`)
  }
}

/** @param {number} bytes */
function readable(bytes) {
  if (bytes >= MiB) return `${bytes / MiB} MiB`
  return bytes >= KiB ? `${bytes / KiB} KiB` : `${bytes} B`
}

// npm run bench:takeover [-- --json] [--runs N] [--silence-runs N] [--folder DIR] [--only PATTERN]
//
// How long a takeover takes, from the SIGKILL of the primary to the first write of its backup that the unit has accepted
// durably, in parts; and how long it takes to notice a primary that was stopped. Unit, primary and backup are processes of
// their own, primary and backup run ProcessPair on a file pool. docs/benchmarks.md says how to read it.
import { rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { describeMachine } from './machine.js'
import { runToTheEnd, scratchFolder } from './scratch.js'
import { Actor } from './takeover/actor.js'
import { startUnit } from './unit.js'

const MiB = 1024 * 1024

/**
 * @typedef {{ name: string, standby: 'cold' | 'hot', stateBytes: number, durability: 'visible' | 'durable',
 *   end: 'SIGKILL' | 'SIGSTOP' }} Series  what the primary saved before its end, how, and what its standby had read of it
 * @typedef {{ residentMiB: number, unreadBytes: number, buried: number, noticed: number, opened: number, restored: number,
 *   written: number, total: number }} Takeover  milliseconds; noticed to written are the parts of the total
 * @typedef {{ min: number, p50: number, p99: number, max: number }} Distribution
 */

const { values: options } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    runs: { type: 'string', default: '200' },
    'silence-runs': { type: 'string', default: '10' },
    folder: { type: 'string', default: os.tmpdir() },
    only: { type: 'string', default: '' },
  },
})
const runs = Number(options.runs)
const silenceRuns = Number(options['silence-runs'])
const silenceMs = 1000

/** @type {Series[]} */
const series = [
  { name: 'nothing unread', standby: 'hot', stateBytes: 1024, durability: 'durable', end: 'SIGKILL' },
  { name: '64 MiB unread, cold', standby: 'cold', stateBytes: 64 * MiB, durability: 'durable', end: 'SIGKILL' },
  {
    name: '64 MiB read, not durable, hot',
    standby: 'hot',
    stateBytes: 64 * MiB,
    durability: 'visible',
    end: 'SIGKILL',
  },
  { name: 'state of 1 MiB, hot', standby: 'hot', stateBytes: MiB, durability: 'durable', end: 'SIGKILL' },
  { name: 'state of 64 MiB, hot', standby: 'hot', stateBytes: 64 * MiB, durability: 'durable', end: 'SIGKILL' },
  { name: 'state of 256 MiB, hot', standby: 'hot', stateBytes: 256 * MiB, durability: 'durable', end: 'SIGKILL' },
  { name: 'silence', standby: 'hot', stateBytes: 1024, durability: 'durable', end: 'SIGSTOP' },
]

const folder = scratchFolder(options.folder)
runToTheEnd(bench)

async function bench() {
  const rows = []
  for (const one of series.filter(({ name }) => name.includes(options.only))) {
    const takeovers = await measureSeries(one, one.end === 'SIGKILL' ? runs : silenceRuns)
    if (takeovers.length > 0) rows.push({ ...one, runs: takeovers.length, ...summary(takeovers) })
  }
  const machine = { ...describeMachine(folder), runs, silenceRuns, silenceMs }
  if (options.json) console.log(JSON.stringify({ machine, results: rows }))
  else report(machine, rows)
}

/** Each backup that has taken over is the primary of the next run. @param {Series} one @param {number} count */
async function measureSeries(one, count) {
  const regionBytes = 3 * one.stateBytes + 16 * MiB
  const poolFile = path.join(folder, 'pool')
  rmSync(poolFile, { force: true })
  const unit = await startUnit([
    '--medium',
    'file',
    '--path',
    poolFile,
    '--bytes',
    String(regionBytes + 64 * MiB),
    '--create',
  ])
  const start = () => new Actor({ unit: unit.address, region: 'state', regionBytes, standby: one.standby, silenceMs })
  /** @type {Takeover[]} */
  const takeovers = []
  let primary = start()
  await primary.until('primary')
  for (let run = 1; run <= count; run++) {
    if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${one.name}: run ${run} of ${count} `)
    const backup = start()
    await backup.until('standby')
    takeovers.push(await measureTakeover(one, primary, backup))
    primary = backup
  }
  if (process.stderr.isTTY) process.stderr.write('\r\u001b[K')
  await primary.end()
  await unit.stop()
  return takeovers
}

/** @param {Series} one @param {Actor} primary @param {Actor} backup @returns {Promise<Takeover>} */
async function measureTakeover({ standby, stateBytes, durability, end }, primary, backup) {
  primary.tell({ save: stateBytes, durability })
  const { sequence } = await primary.until('saved')
  while (standby === 'hot' && BigInt((await backup.until('seen')).sequence) < BigInt(sequence));
  // Everybody is at rest again, and heartbeats are anywhere between two.
  await sleep(100 + Math.random() * 100)
  const residentMiB = primary.residentMiB()
  const taken = backup.until('primary')
  const endedAt = Number(process.hrtime.bigint()) / 1e6
  let buriedAt = endedAt
  if (end === 'SIGKILL') buriedAt = await primary.end()
  else primary.process.kill(end)
  const { unreadBytes, noticedAt, openedAt, restoredAt, writtenAt } = await taken
  if (end !== 'SIGKILL') await primary.end()
  return {
    residentMiB,
    unreadBytes,
    buried: buriedAt - endedAt,
    noticed: noticedAt - endedAt,
    opened: openedAt - noticedAt,
    restored: restoredAt - openedAt,
    written: writtenAt - restoredAt,
    total: writtenAt - endedAt,
  }
}

/** @param {readonly Takeover[]} takeovers */
function summary(takeovers) {
  const of = (/** @type {keyof Takeover} */ part) => distribution(takeovers.map((takeover) => takeover[part]))
  return {
    primaryResidentMiB: of('residentMiB').p50,
    unreadBytes: of('unreadBytes').p50,
    buriedMs: of('buried'),
    noticedMs: of('noticed'),
    openedMs: of('opened'),
    restoredMs: of('restored'),
    writtenMs: of('written'),
    totalMs: of('total'),
  }
}

/** @param {readonly number[]} values @returns {Distribution} */
function distribution(values) {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (/** @type {number} */ share) => sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0
  return { min: at(0), p50: at(0.5), p99: at(0.99), max: at(1) }
}

/**
 * @param {ReturnType<typeof describeMachine>} machine
 * @param {readonly (Series & { runs: number } & ReturnType<typeof summary>)[]} rows
 */
function report(machine, rows) {
  const { cpu, cores, kernel, node, fileSystem, load } = machine
  console.log(
    `${cpu}, ${cores} cores, Linux ${kernel}, Node ${node}, pool file on ${fileSystem}; load average ${load?.toFixed(1)}. ` +
      'Milliseconds, p50 / p99.\n',
  )
  console.log(
    '| takeover after | runs | primary in memory | (buried) | noticed | taken over | state read | first write | in all | shortest | longest |',
  )
  console.log('|---|---|---|---|---|---|---|---|---|---|---|')
  for (const row of rows) {
    const buried = row.end === 'SIGKILL' ? pair(row.buriedMs) : ''
    const parts = [buried, ...[row.noticedMs, row.openedMs, row.restoredMs, row.writtenMs, row.totalMs].map(pair)]
    const memory = `${row.primaryResidentMiB.toFixed(0)} MiB`
    const name = row.end === 'SIGKILL' ? row.name : `${row.name} (SIGSTOP, silenceMs ${silenceMs})`
    console.log(
      `| ${[name, row.runs, memory, ...parts, row.totalMs.min.toFixed(1), row.totalMs.max.toFixed(1)].join(' | ')} |`,
    )
  }
}

/** @param {Distribution} part */
function pair({ p50, p99 }) {
  return `${p50.toFixed(1)} / ${p99.toFixed(1)}`
}

// npm run bench [-- --quick] [--only WORDS] [--contenders NAMES] [--rounds N] [--seconds S] [--folder DIR] [--span-mib N] [--peers DIR]
//               [--json FILE] [--page DIR] [--compare OLD.json] [--from REPORT.json]
//
// Writes, appends and reads of several sizes, beside the raw limits of the machine and beside what else keeps a state and is
// installed, in the same run. docs/benchmarks.md says how to read it.
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { contenders } from './contenders/index.js'
import { describeMachine } from './machine.js'
import { usualSpan } from './payloads.js'
import { renderChanges } from './report/compare.js'
import { renderJson, writePage } from './report/page.js'
import { renderText } from './report/text.js'
import { chosenGroups, measureRounds } from './rounds.js'
import { runToTheEnd, scratchFolder } from './scratch.js'

const root = fileURLToPath(new URL('..', import.meta.url))
const { values: options } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string', multiple: true, default: [] },
    contenders: { type: 'string', default: '' },
    rounds: { type: 'string' },
    seconds: { type: 'string' },
    folder: { type: 'string', default: os.tmpdir() },
    'span-mib': { type: 'string' },
    peers: { type: 'string', multiple: true, default: [] },
    json: { type: 'string' },
    page: { type: 'string' },
    compare: { type: 'string' },
    from: { type: 'string' },
  },
})
// npm changes to the package's folder; paths are meant from where it was called.
const here = process.env.INIT_CWD ?? process.cwd()
const fromHere = (/** @type {string} */ name) => path.resolve(here, name)
const readReport = (/** @type {string} */ name) => {
  const report = JSON.parse(readFileSync(fromHere(name), 'utf8'))
  if (report.format !== 1) throw new Error(`${name} is no report of this benchmark`)
  return /** @type {import('./report/summary.js').Report} */ (report)
}

runToTheEnd(async () => {
  const before = options.compare === undefined ? undefined : readReport(options.compare)
  const report = options.from === undefined ? await measureAll() : readReport(options.from)
  console.log(renderText(report))
  if (before !== undefined) console.log(`\n## Changes\n\n${renderChanges(before, report)}`)
  if (options.json !== undefined) writeFileSync(fromHere(options.json), renderJson(report))
  if (options.page !== undefined) writePage(report, fromHere(options.page))
})

/** @returns {Promise<import('./report/summary.js').Report>} */
async function measureAll() {
  const method = {
    rounds: Number(options.rounds ?? (options.quick ? 3 : 5)),
    seconds: Number(options.seconds ?? (options.quick ? 0.03 : 0.15)),
  }
  const span = options['span-mib'] === undefined ? usualSpan : Number(options['span-mib']) * 1024 * 1024
  const groups = chosenGroups(options.only, span)
  const chosen = choose(options.contenders)
  if (!(method.rounds >= 1 && method.seconds > 0)) throw new Error('--rounds is at least 1, and --seconds above 0')
  if (!(Number.isInteger(span) && span >= 4 * 1024 * 1024)) throw new Error('--span-mib is at least 4')
  if (groups.length === 0) throw new Error('--only leaves nothing: use words such as visible, 64B, x16')
  const folder = scratchFolder(fromHere(options.folder))
  const progress = (/** @type {string} */ text) => {
    if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${text} `)
  }
  const packages = [...options.peers.map(fromHere), here, process.cwd()]
  const results = await measureRounds(chosen, { ...method, groups, folder, packages, span, progress })
  if (process.stderr.isTTY) process.stderr.write('\r\u001b[K')
  const { version } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'))
  const date = new Date().toISOString().slice(0, 10)
  return { format: 1, version, commit: commit(), date, machine: describeMachine(folder), method, ...results }
}

/** Series by name, separated by commas: "append,Redis,raw" takes what begins with one of them. @param {string} names */
function choose(names) {
  if (names === '') return contenders
  const beginnings = names.split(',').map((name) => name.trim().toLowerCase())
  const wanted = (/** @type {{ name: string }} */ { name }) =>
    beginnings.some((beginning) => name.toLowerCase().startsWith(beginning))
  const chosen = contenders
    .map((contender) => ({ ...contender, series: contender.series.filter(wanted) }))
    .filter(({ series }) => series.length > 0)
  if (chosen.length > 0) return chosen
  const known = contenders.flatMap(({ series }) => series.map(({ name }) => name))
  throw new Error(`--contenders leaves nothing; there are ${known.join(', ')}`)
}

/** Of the checkout, where it is one. */
function commit() {
  try {
    const git = (/** @type {string[]} */ ...args) =>
      execFileSync('git', ['-C', root, ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim()
    return `${git('rev-parse', '--short', 'HEAD')}${git('status', '--porcelain', '-uno') === '' ? '' : ', changed'}`
  } catch {
    return ''
  }
}

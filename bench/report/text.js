// The report as Markdown, which is also what the terminal shows.
import { groupName } from '../rounds.js'
import { countPairs, groupsOf, noisyAbove, notFaster, pairedRatio, rowOf } from './summary.js'

/** @typedef {import('./summary.js').Report} Report */

/** @param {readonly string[]} head @param {readonly (readonly string[])[]} rows */
export function table(head, rows) {
  return [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}

/** Three significant digits, and no more behind the point than they need. @param {number} value */
export function digits(value) {
  if (!Number.isFinite(value)) return '-'
  if (value === 0) return '0'
  const behind = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))))
  return value.toFixed(Math.min(behind, 3))
}

/** Wrapped for documents. @param {string} text */
export function prose(text, indent = '') {
  const lines = ['']
  for (const word of text.split(/\s+/)) {
    const line = lines.at(-1) ?? ''
    const longer = line === '' ? (lines.length === 1 ? word : indent + word) : `${line} ${word}`
    if (longer.length <= 100 || line === '') lines[lines.length - 1] = longer
    else lines.push(indent + word)
  }
  return lines.join('\n')
}

/** @param {Report} report */
export function machineLine({ machine, version, commit, date, method }) {
  return prose(
    `${date}, rdma-checkpoint ${version}${commit === '' ? '' : ` (${commit})`}: ${machine.cpu}, ${machine.cores} cores, ` +
      `Linux ${machine.kernel}, Node ${machine.node}, files on ${machine.fileSystem}; ${method.rounds} ${method.rounds === 1 ? 'round' : 'rounds'} of ` +
      `${method.seconds} s a cell, load average ${machine.load.toFixed(1)} at the end.`,
  )
}

/** @param {Report} report */
export function contendersTable({ contenders }) {
  return table(
    ['compared', 'version', 'what it is'],
    contenders.map(({ name, version, how }) => [name, version, how]),
  )
}

/** One table for each group of cells. @param {Report} report @param {string} heading @param {string} [work] only this */
export function groupTables({ cells }, heading, work) {
  return groupsOf(cells)
    .filter(([first]) => first !== undefined && (work === undefined || first.work === work))
    .map((group) => {
      const [first] = group
      const ours = group.filter(({ kind }) => kind === 'ours')
      const alone = first?.depth === 1
      const head = [
        '',
        ...(alone ? ['p50 us', 'p99 us'] : ['op/s', 'MB/s']),
        '+-',
        ...ours.map(({ series }) => `${series} is`),
      ]
      const rows = group.map((cell) => {
        const row = rowOf(cell)
        const numbers = alone ? [row.p50us, row.p99us] : [row.perSecond, row.megabytesPerSecond]
        const ratios = ours.map((one) => (cell.kind === 'ours' ? undefined : pairedRatio(one, cell)))
        return [
          cell.series,
          ...numbers.map(digits),
          `${(row.spread * 100).toFixed(0)} %${row.noisy ? ' ~' : ''}`,
          ...ratios.map((ratio) => (ratio === undefined ? '' : `${digits(ratio.ratio)}x${ratio.noisy ? ' ~' : ''}`)),
        ]
      })
      return `${heading} ${first === undefined ? '' : groupName(first)}\n\n${table(head, rows)}`
    })
    .join('\n\n')
}

/** A row for each payload, a column for each peer. @param {Report} report */
export function notFasterSection({ cells }) {
  const slower = notFaster(cells)
  const pairs = countPairs(cells)
  if (pairs === 0) return 'Nothing was compared: no peer was measured.'
  const sentence = prose(
    `In ${slower.length} of ${pairs} comparisons with a peer ours was slower at the median. "?" marks those in which it was ` +
      'not slower in every round.',
  )
  if (slower.length === 0) return sentence
  const peers = [...new Set(slower.map(({ peer }) => peer.series))]
  const rows = groupsOf(cells).flatMap((group) => {
    const own = slower.filter(({ ours }) => group.includes(ours))
    const [first] = own
    if (first === undefined) return []
    const columns = peers.map((name) =>
      own
        .filter(({ peer }) => peer.series === name)
        .map(({ ours, ratio }) => `${ours.series} ${digits(ratio.ratio)}x${ratio.high >= 1 ? ' ?' : ''}`)
        .join(', '),
    )
    return [[groupName(first.ours), ...columns]]
  })
  return `${sentence}\n\n${table(['', ...peers.map((name) => `beside ${name}`)], rows)}`
}

/** @param {Report} report */
export function noiseLine({ cells }) {
  const noisy = cells.filter((cell) => rowOf(cell).noisy).length
  return prose(`${noisy} of ${cells.length} cells are noisy.`)
}

/** @param {Report} report */
export function leftOutSection({ absent, failures }) {
  const lines = [
    ...absent.map(({ name, reason, add }) => `- ${name}: ${reason}. To add it: ${add}`),
    ...failures.map(
      ({ name, where, reason }) => `- ${name} failed at ${where} and was left out from there on: ${reason}`,
    ),
  ]
  return lines.length === 0 ? 'Nothing.' : lines.map((line) => prose(line, '  ')).join('\n')
}

export const howToRead = prose(
  `A column such as "append is" says how many times as fast that was as the row: above 1 ours is faster. With one call at a time ` +
    `it compares the median latency, otherwise the rate. Ratios are paired: made within each round, and then the median over the ` +
    `rounds. "+-" is half the distance between the lowest and the highest round, as a share of the median. "~" marks what is ` +
    `noisy: more than ${noisyAbove * 100} %.`,
)

/** @param {Report} report */
export function renderText(report) {
  return [
    machineLine(report),
    contendersTable(report),
    howToRead,
    noiseLine(report),
    groupTables(report, '##'),
    '## What is not faster',
    notFasterSection(report),
    '## Left out',
    leftOutSection(report),
  ].join('\n\n')
}

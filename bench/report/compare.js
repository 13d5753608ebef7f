// Two reports beside each other. Absolute numbers of two runs say little, so what is compared is how fast ours was beside the
// raw limit of the same run; where a report has none, beside nothing.
import { groupName } from '../rounds.js'
import { groupsOf, pairedRatio, rowOf } from './summary.js'
import { digits, prose, table } from './text.js'

/**
 * @typedef {import('./summary.js').Report} Report
 * @typedef {import('../rounds.js').MeasuredCell} MeasuredCell
 * @typedef {{ cell: MeasuredCell, beside: string, before: number, now: number, change: number, clear: boolean }} Change
 *   speeds; clear: the rounds of the one lie all above those of the other
 */

const references = ['raw TCP', 'raw disk']

/** @param {Report} report @returns {Map<string, { cell: MeasuredCell, reference: MeasuredCell | undefined }>} */
function oursOf({ cells }) {
  const ours = new Map()
  for (const group of groupsOf(cells)) {
    const reference = group.find(({ series }) => references.includes(series))
    for (const cell of group.filter(({ kind }) => kind === 'ours')) {
      ours.set(`${groupName(cell)}: ${cell.series}`, { cell, reference })
    }
  }
  return ours
}

/** @param {MeasuredCell} cell @param {MeasuredCell | undefined} reference */
function speed(cell, reference) {
  if (reference !== undefined) {
    const ratio = pairedRatio(cell, reference)
    if (ratio !== undefined) return { middle: ratio.ratio, low: ratio.low, high: ratio.high }
  }
  const row = rowOf(cell)
  if (cell.depth !== 1) return { middle: row.perSecond, low: row.low, high: row.high }
  return { middle: 1e6 / row.p50us, low: 1e6 / row.high, high: 1e6 / row.low }
}

/** @param {Report} before @param {Report} now @returns {Change[]} what both have */
export function changes(before, now) {
  const earlier = oursOf(before)
  return [...oursOf(now)].flatMap(([name, { cell, reference }]) => {
    const old = earlier.get(name)
    if (old === undefined) return []
    const paired = reference !== undefined && old.reference !== undefined
    const was = speed(old.cell, paired ? old.reference : undefined)
    const is = speed(cell, paired ? reference : undefined)
    const clear = is.low > was.high || is.high < was.low
    const beside = paired ? reference.series : 'nothing'
    return [{ cell, beside, before: was.middle, now: is.middle, change: is.middle / was.middle, clear }]
  })
}

/** @param {Report} before @param {Report} now */
export function renderChanges(before, now) {
  const found = changes(before, now)
  const clear = found.filter((change) => change.clear)
  const differs = /** @type {const} */ (['cpu', 'cores', 'kernel', 'node', 'fileSystem']).filter(
    (name) => before.machine[name] !== now.machine[name],
  )
  const warning = prose(`The two are of different machines or versions of them (${differs.join(', ')}).`)
  const rows = found.map(({ cell, beside, before: was, now: is, change, clear: sure }) => [
    groupName(cell),
    cell.series,
    beside,
    digits(was),
    digits(is),
    `${digits(change)}x`,
    sure ? (change > 1 ? 'faster' : 'slower') : 'within the spread',
  ])
  return [
    prose(
      `Since ${before.date} (${before.version}${before.commit === '' ? '' : `, ${before.commit}`}): ` +
        `${clear.filter(({ change }) => change > 1).length} cells are clearly faster, ` +
        `${clear.filter(({ change }) => change < 1).length} clearly slower, ${found.length - clear.length} within the spread ` +
        `of their rounds. Speeds are those beside the raw limit of the same run.`,
    ),
    ...(differs.length > 0 ? [warning] : []),
    table(['payload', 'ours', 'beside', 'before', 'now', 'change', ''], rows),
  ].join('\n\n')
}

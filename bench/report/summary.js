// What the rounds say: medians, spreads, and paired ratios.
import { median, spread } from '../measure.js'

/**
 * @typedef {import('../rounds.js').MeasuredCell} MeasuredCell
 * @typedef {import('../rounds.js').Point} Point
 * @typedef {import('../rounds.js').Results & { format: 1, version: string, commit: string, date: string,
 *   machine: ReturnType<import('../machine.js').describeMachine>, method: { rounds: number, seconds: number } }} Report
 * @typedef {{ ratio: number, low: number, high: number, rounds: number, noisy: boolean }} Ratio
 * @typedef {{ cell: MeasuredCell, perSecond: number, megabytesPerSecond: number, p50us: number, p99us: number, low: number, high: number,
 *   spread: number, noisy: boolean }} Row  low and high: of p50us with one at a time, else of perSecond
 */

/** Half the distance between the lowest and the highest round, as a share of the median, above which a cell counts as noisy. */
export const noisyAbove = 0.25

/** The smallest time that a clock in JavaScript shows apart from nothing. */
const shortestUs = 0.05

/** How fast a cell was in a round: by the median latency with one call at a time, else by the rate. @param {MeasuredCell} cell @param {Point} point */
function speedOf(cell, point) {
  return cell.depth === 1 && point.p50us > 0 ? 1e6 / Math.max(point.p50us, shortestUs) : point.perSecond
}

/** @param {MeasuredCell} cell @returns {Row} */
export function rowOf(cell) {
  const points = cell.rounds.filter((point) => point !== null)
  const rates = points.map(({ perSecond }) => perSecond)
  const medians = points.map(({ p50us }) => p50us)
  const shown = cell.depth === 1 ? medians : rates
  const perSecond = median(rates)
  return {
    cell,
    perSecond,
    megabytesPerSecond: (perSecond * cell.bytes) / 1e6,
    p50us: median(medians),
    p99us: median(points.map(({ p99us }) => p99us)),
    low: Math.min(...shown),
    high: Math.max(...shown),
    spread: spread(shown),
    noisy: spread(shown) > noisyAbove,
  }
}

/**
 * How many times as fast the one was as the other, round by round.
 * @param {MeasuredCell} one @param {MeasuredCell} other
 * @returns {Ratio | undefined} undefined when no round has both
 */
export function pairedRatio(one, other) {
  const ratios = one.rounds.flatMap((point, round) => {
    const beside = other.rounds[round]
    return point && beside ? [speedOf(one, point) / speedOf(other, beside)] : []
  })
  if (ratios.length === 0) return undefined
  return {
    ratio: median(ratios),
    low: Math.min(...ratios),
    high: Math.max(...ratios),
    rounds: ratios.length,
    noisy: spread(ratios) > noisyAbove,
  }
}

/** Cells that are compared, in the order of the report. @param {readonly MeasuredCell[]} cells @returns {MeasuredCell[][]} */
export function groupsOf(cells) {
  /** @type {Map<string, MeasuredCell[]>} */
  const groups = new Map()
  for (const cell of cells) {
    const key = `${cell.work} ${cell.bytes} ${cell.depth}`
    groups.set(key, [...(groups.get(key) ?? []), cell])
  }
  return [...groups.values()]
}

/** Every pair of ours and a peer in which ours was slower at the median, the worst first. @param {readonly MeasuredCell[]} cells */
export function notFaster(cells) {
  return groupsOf(cells)
    .flatMap((group) =>
      group
        .filter(({ kind }) => kind === 'ours')
        .flatMap((ours) =>
          group
            .filter(({ kind }) => kind === 'peer')
            .flatMap((peer) => {
              const ratio = pairedRatio(ours, peer)
              return ratio === undefined || ratio.ratio >= 1 ? [] : [{ ours, peer, ratio }]
            }),
        ),
    )
    .sort((a, b) => a.ratio.ratio - b.ratio.ratio)
}

/** How many pairs of ours and a peer there are. @param {readonly MeasuredCell[]} cells */
export function countPairs(cells) {
  const of = (/** @type {MeasuredCell[]} */ group, /** @type {string} */ kind) =>
    group.filter((cell) => cell.kind === kind)
  return groupsOf(cells).reduce((sum, group) => sum + of(group, 'ours').length * of(group, 'peer').length, 0)
}

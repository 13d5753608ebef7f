// Measures all cells in rounds: everything that is compared with each other is measured within seconds, once a round, and
// each round begins with another contender.
import { Absent } from './contenders/find.js'
import { Stand } from './contenders/stand.js'
import { payloads, readableBytes } from './payloads.js'

/**
 * @typedef {import('./contenders/index.js').Cell} Cell
 * @typedef {import('./contenders/index.js').Contender} Contender
 * @typedef {{ perSecond: number, p50us: number, p99us: number }} Point
 * @typedef {Cell & { kind: Contender['kind'], rounds: (Point | null)[] }} MeasuredCell  null: not measured in that round
 * @typedef {{ name: string, where: string, reason: string }} Failure
 * @typedef {{ contenders: { name: string, kind: Contender['kind'], version: string, how: string }[],
 *   absent: { name: string, reason: string, add: string }[], failures: Failure[], cells: MeasuredCell[] }} Results
 */

/** Of a group of cells that are compared. @param {Pick<Cell, 'work' | 'bytes' | 'depth'>} group */
export function groupName({ work, bytes, depth }) {
  return `${readableBytes(bytes)} ${work}, ${depth === 1 ? 'one at a time' : `${depth} in flight`}`
}

/**
 * @param {Pick<Cell, 'work' | 'bytes' | 'depth'>} group
 * @param {readonly string[]} only words that the group must have (visible, durable, read; 64B, 4KiB, ...; x1, x16, ...), any of several
 */
export function isChosen({ work, bytes, depth }, only) {
  const words = [work, readableBytes(bytes).replace(' ', ''), `x${depth}`]
  return only.length === 0 || only.some((choice) => choice.split(/\s+/).every((word) => words.includes(word)))
}

/** @param {readonly string[]} only @param {number} span payloads of more than a quarter of it are left out */
export function chosenGroups(only, span) {
  const all = /** @type {const} */ (['visible', 'durable', 'read']).flatMap((work) =>
    payloads.flatMap(({ bytes, depths }) => depths.map((depth) => ({ work, bytes, depth }))),
  )
  return all.filter((group) => 4 * group.bytes <= span && isChosen(group, only))
}

/**
 * @param {readonly Contender[]} contenders
 * @param {{ groups: ReturnType<typeof chosenGroups>, rounds: number, seconds: number, folder: string, packages: readonly string[],
 *   span: number, progress?(text: string): void }} how
 * @returns {Promise<Results>}
 */
export async function measureRounds(contenders, { groups, rounds, seconds, progress = () => {}, ...context }) {
  /** @type {Results} */
  const results = { contenders: [], absent: [], failures: [], cells: [] }
  /** @type {Map<Contender, Stand>} */
  const stands = new Map()
  for (const contender of contenders) {
    const { name, kind } = contender
    progress(`starting ${name}`)
    try {
      const stand = await Stand.open(contender, context)
      stands.set(contender, stand)
      results.contenders.push({ name, kind, version: stand.started.version, how: stand.started.how })
    } catch (error) {
      if (error instanceof Absent) results.absent.push({ name, reason: error.message, add: error.add })
      else results.failures.push({ name, where: 'the start', reason: reasonOf(error) })
    }
  }
  const planned = groups.map((group) => plan(group, [...stands.keys()], rounds))
  results.cells = planned.flatMap((cells) => cells.map(({ cell }) => cell))

  for (let round = 0; round < rounds; round++) {
    for (const [number, cells] of planned.entries()) {
      progress(`round ${round + 1} of ${rounds}, ${number + 1} of ${planned.length}`)
      for (let turn = 0; turn < cells.length; turn++) {
        const { contender, cell } = /** @type {typeof cells[number]} */ (cells[(turn + round) % cells.length])
        const stand = stands.get(contender)
        if (stand === undefined) continue
        try {
          const { operations, seconds: elapsed, p50us, p99us } = await stand.measure(cell, seconds)
          cell.rounds[round] = { perSecond: operations / elapsed, p50us, p99us }
        } catch (error) {
          // It may be in any state: it is left out of what comes.
          results.failures.push({ name: cell.series, where: groupName(cell), reason: reasonOf(error) })
          stands.delete(contender)
          await stand.close().catch(() => undefined)
        }
      }
    }
  }
  for (const stand of stands.values()) await stand.close()
  results.cells = results.cells.filter((cell) => cell.rounds.some((point) => point !== null))
  return results
}

/** @param {Pick<Cell, 'work' | 'bytes' | 'depth'>} group @param {readonly Contender[]} contenders @param {number} rounds */
function plan(group, contenders, rounds) {
  return contenders.flatMap((contender) =>
    contender.series
      .filter(
        ({ name, works }) => works.includes(group.work) && (contender.takes?.({ ...group, series: name }) ?? true),
      )
      .map(({ name }) => {
        /** @type {MeasuredCell} */
        const cell = { ...group, series: name, kind: contender.kind, rounds: Array(rounds).fill(null) }
        return { contender, cell }
      }),
  )
}

/** @param {unknown} error */
function reasonOf(error) {
  return (error instanceof Error ? error.message : String(error)).split('\n')[0] ?? ''
}

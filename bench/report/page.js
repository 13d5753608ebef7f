// The report as a page with plots, beside the numbers that it was made from.
import { mkdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { plot } from './plot.js'
import { rowOf } from './summary.js'
import {
  contendersTable,
  groupTables,
  howToRead,
  leftOutSection,
  machineLine,
  noiseLine,
  notFasterSection,
  prose,
} from './text.js'

/** @typedef {import('./summary.js').Report} Report */

const headings = { visible: 'Visible', durable: 'Durable', read: 'Reads' }
const many = (/** @type {number} */ depth) => depth > 1 && depth <= 16

/** @param {Report} report @returns {Map<string, string>} contents by name of the file */
export function renderPage(report) {
  /** @type {Map<string, string>} */
  const files = new Map()
  const sections = Object.entries(headings).flatMap(([work, heading]) => {
    const cells = report.cells.filter((cell) => cell.work === work)
    if (cells.length === 0) return []
    const images = [
      draw(
        files,
        `latency-${work}.svg`,
        `${heading}: latency, one at a time, p50`,
        'us',
        cells,
        (depth) => depth === 1,
      ),
      draw(files, `rate-${work}.svg`, `${heading}: many in flight`, 'MB/s', cells, many),
    ].filter((image) => image !== undefined)
    return [`## ${heading}`, ...images, groupTables(report, '###', work)]
  })
  const page = [
    '# What the benchmark measured',
    prose('Written by `npm run bench -- --page DIR`; `report.json` beside it has every round.'),
    machineLine(report),
    contendersTable(report),
    howToRead,
    noiseLine(report),
    prose(
      'In the plots a point is the median over the rounds, with a whisker from the lowest round to the highest. Both axes are ' +
        'logarithmic. Ours are in blue and bold, the raw limits are dashed.',
    ),
    '## What is not faster',
    notFasterSection(report),
    ...sections,
    '## Left out',
    leftOutSection(report),
  ]
  files.set('README.md', `${page.join('\n\n')}\n`)
  files.set('report.json', renderJson(report))
  return files
}

/**
 * @param {Map<string, string>} files
 * @param {string} name @param {string} title @param {string} unit
 * @param {Report['cells']} cells @param {(depth: number) => boolean} wanted
 * @returns {string | undefined} the image in Markdown
 */
function draw(files, name, title, unit, cells, wanted) {
  /** @type {Map<string, import('./plot.js').Line & { marks: import('./plot.js').Mark[] }>} */
  const lines = new Map()
  for (const cell of cells.filter(({ depth }) => wanted(depth))) {
    const row = rowOf(cell)
    const scale = cell.bytes / 1e6
    const mark =
      cell.depth === 1
        ? { bytes: cell.bytes, middle: row.p50us, low: row.low, high: row.high }
        : { bytes: cell.bytes, middle: row.megabytesPerSecond, low: row.low * scale, high: row.high * scale }
    const line = lines.get(cell.series) ?? { name: cell.series, kind: cell.kind, marks: [] }
    line.marks.push(mark)
    lines.set(cell.series, line)
  }
  if (lines.size === 0) return undefined
  files.set(name, plot({ title, unit, lines: [...lines.values()] }))
  return `![${title}](${name})`
}

/** One line for each cell, so that two reports can be compared as text. @param {Report} report */
export function renderJson({ cells, ...rest }) {
  const short = (/** @type {string} */ _key, /** @type {unknown} */ value) =>
    typeof value === 'number' && !Number.isInteger(value) ? Number(value.toPrecision(5)) : value
  const head = JSON.stringify(rest, undefined, 2).replace(/\n}$/, '')
  return `${head},\n  "cells": [\n${cells.map((cell) => `    ${JSON.stringify(cell, short)}`).join(',\n')}\n  ]\n}\n`
}

/** @param {Report} report @param {string} folder */
export function writePage(report, folder) {
  mkdirSync(folder, { recursive: true })
  for (const [name, content] of renderPage(report)) writeFileSync(path.join(folder, name), content)
}

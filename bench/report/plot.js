// A plot as SVG: one line for each series over the sizes, both axes logarithmic, whiskers from the lowest to the highest round.
import { readableBytes } from '../payloads.js'

const width = 860
const height = 440
const area = { left: 70, right: 640, top: 46, bottom: 390 }
const colours = {
  ours: ['#0b62c4', '#3d9be9', '#123a6b', '#6a5acd', '#00838f'],
  peer: ['#c62828', '#e07b00', '#7a8b00', '#a0522d'],
  raw: ['#555555', '#909090', '#b5b5b5', '#707070'],
}

/**
 * @typedef {{ bytes: number, middle: number, low: number, high: number }} Mark
 * @typedef {{ name: string, kind: 'ours' | 'peer' | 'raw', marks: readonly Mark[] }} Line
 * @param {{ title: string, unit: string, lines: readonly Line[] }} what
 */
export function plot({ title, unit, lines }) {
  const marks = lines.flatMap((line) => line.marks)
  const sizes = [...new Set(marks.map(({ bytes }) => bytes))].sort((a, b) => a - b)
  const bottom = Math.floor(Math.log10(Math.min(...marks.map(({ low }) => Math.max(low, 1e-3)))))
  const top = Math.max(bottom + 1, Math.ceil(Math.log10(Math.max(...marks.map(({ high }) => high)))))
  const x = (/** @type {number} */ bytes) =>
    area.left + ((sizes.indexOf(bytes) + 0.5) * (area.right - area.left)) / sizes.length
  const y = (/** @type {number} */ value) =>
    area.bottom - ((Math.log10(Math.max(value, 1e-3)) - bottom) * (area.bottom - area.top)) / (top - bottom)
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="13">`,
    `<title>${escaped(title)}</title>`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    text(area.left, 24, `${title} (${unit})`, 'font-size="16" fill="#222222"'),
  ]
  for (let power = bottom; power <= top; power++) {
    const at = y(10 ** power).toFixed(1)
    parts.push(`<path d="M${area.left} ${at}H${area.right}" stroke="#dddddd"/>`)
    parts.push(
      text(area.left - 8, Number(at) + 4, (10 ** power).toLocaleString('en'), 'text-anchor="end" fill="#444444"'),
    )
  }
  for (const bytes of sizes) {
    parts.push(text(x(bytes), area.bottom + 22, readableBytes(bytes), 'text-anchor="middle" fill="#444444"'))
  }
  const used = { ours: 0, peer: 0, raw: 0 }
  for (const [number, { name, kind, marks: own }] of lines.entries()) {
    const colour = colours[kind][used[kind]++ % colours[kind].length] ?? '#000000'
    const dash = kind === 'raw' ? ' stroke-dasharray="5 4"' : ''
    const sorted = [...own].sort((a, b) => a.bytes - b.bytes)
    // Side by side, so that whiskers do not hide each other.
    const beside = (number - (lines.length - 1) / 2) * 4
    const points = sorted.map(({ bytes, middle }) => `${(x(bytes) + beside).toFixed(1)} ${y(middle).toFixed(1)}`)
    parts.push(`<path d="M${points.join('L')}" fill="none" stroke="${colour}" stroke-width="2"${dash}/>`)
    for (const { bytes, middle, low, high } of sorted) {
      const at = (x(bytes) + beside).toFixed(1)
      parts.push(`<path d="M${at} ${y(low).toFixed(1)}V${y(high).toFixed(1)}" stroke="${colour}"/>`)
      parts.push(`<circle cx="${at}" cy="${y(middle).toFixed(1)}" r="3.5" fill="${colour}"/>`)
    }
    const legend = area.top + 10 + number * 22
    parts.push(`<path d="M${area.right + 20} ${legend}h26" stroke="${colour}" stroke-width="2"${dash}/>`)
    parts.push(text(area.right + 54, legend + 4, name, `fill="#222222"${kind === 'ours' ? ' font-weight="bold"' : ''}`))
  }
  return `${parts.join('\n')}\n</svg>\n`
}

/** @param {number} x @param {number} y @param {string} words @param {string} attributes */
function text(x, y, words, attributes) {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${attributes}>${escaped(words)}</text>`
}

/** @param {string} words */
function escaped(words) {
  return words.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}

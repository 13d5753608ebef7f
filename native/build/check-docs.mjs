// check-docs.mjs [FILE...] -- checks the Markdown of the checkout, or only these files of it:
// - No line is longer than 100 characters. Tables, code blocks, and lines that are one long word, such as a link, may be.
// - Every link to a file of the checkout leads to one, and to a heading in it if the link names one.
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const longest = 100
const root = fileURLToPath(new URL('../..', import.meta.url))
const named = process.argv.slice(2).map((name) => path.relative(root, path.resolve(name)))
const files =
  named.length > 0
    ? named
    : execFileSync('git', ['ls-files', '-z', '*.md'], { cwd: root, encoding: 'utf8' }).split('\0').filter(Boolean)

/** The lines of a file, with those of code blocks emptied: their length and links are their own. */
function proseLines(file) {
  let fence = ''
  return readFileSync(path.join(root, file), 'utf8')
    .split('\n')
    .map((line) => {
      const [, marks = ''] = /^\s*(`{3,}|~{3,})/.exec(line) ?? []
      if (fence === '') fence = marks
      else if (marks.startsWith(fence)) fence = ''
      else return ''
      return marks === '' ? line : ''
    })
}

/** The anchors that GitHub gives a file's headings. */
function anchorsOf(file) {
  const anchors = new Map()
  for (const line of proseLines(file)) {
    const [, heading] = /^#{1,6} +(.*?)\s*$/.exec(line) ?? []
    if (heading === undefined) continue
    const shown = heading.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').toLowerCase()
    const anchor = shown.replace(/[^\p{L}\p{N}\s_-]/gu, '').replace(/\s/g, '-')
    anchors.set(anchor, (anchors.get(anchor) ?? -1) + 1)
  }
  return new Set(
    [...anchors].flatMap(([anchor, more]) => [anchor, ...Array.from({ length: more }, (_, n) => `${anchor}-${n + 1}`)]),
  )
}

const faults = []
for (const file of files) {
  const lines = proseLines(file)
  for (const [index, line] of lines.entries()) {
    const mayBeLong = /^\s*\|/.test(line) || /^\s*(?:[-*+] |\d+\. )?\S+$/.test(line)
    const length = [...line].length
    if (length > longest && !mayBeLong) faults.push(`${file}:${index + 1}: ${length} characters; wrap at ${longest}`)
  }
  const text = lines.join('\n').replace(/`[^`]*`/g, (code) => code.replace(/[^\n]/g, ' '))
  for (const match of text.matchAll(/\]\(([^)\s]+)\)|^\[[^\]]+\]: +(\S+)/gm)) {
    const link = match[1] ?? match[2] ?? ''
    if (/^[a-z][a-z0-9+.-]*:/i.test(link)) continue
    const [target = '', anchor] = link.split('#')
    const leadsTo = target === '' ? file : path.join(path.dirname(file), decodeURIComponent(target))
    const line = text.slice(0, match.index).split('\n').length
    if (!existsSync(path.join(root, leadsTo))) faults.push(`${file}:${line}: ${link} leads to no file`)
    else if (anchor !== undefined && !anchorsOf(leadsTo).has(anchor))
      faults.push(`${file}:${line}: ${link} leads to no heading`)
  }
}
for (const fault of faults) console.error(fault)
process.exit(faults.length > 0 ? 1 : 0)

// What is counted: the user's files, or the sources of an installed package, read in steps of a bounded size.
import { closeSync, openSync, readdirSync, readSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'

/**
 * @typedef {{ path: string, bytes: number }} InputFile
 * @typedef {{ file: number, offset: number }} Position  the next byte to read: index of the file, offset in it
 */

const sourceFile = /\.(?:[cm]?[jt]s|json|md)$/

/**
 * @param {readonly string[]} named what the user asked for; empty for the default
 * @returns {{ files: InputFile[], from: string }}
 */
export function findInput(named) {
  if (named.length > 0) return { files: named.map(inputFile), from: 'your files' }
  const require = createRequire(import.meta.url)
  const folder = path.join(path.dirname(require.resolve('typescript/package.json')), 'lib')
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => sourceFile.test(name))
    .sort()
    .map((name) => inputFile(path.join(folder, name)))
  return { files, from: 'the sources of the installed package typescript' }
}

/** @param {string} name @returns {InputFile} */
function inputFile(name) {
  const stats = statSync(name)
  if (!stats.isFile()) throw new Error(`${name} is not a file`)
  return { path: path.resolve(name), bytes: stats.size }
}

/**
 * Bytes to read in one step; a checkpoint is saved after each step. A small input takes about a hundred steps, so that it can
 * be interrupted; a large one is read in steps of limited size.
 * @param {readonly InputFile[]} files
 */
function bytesOfStep(files) {
  return Math.min(192 * 1024, Math.max(1024, Math.ceil(totalBytes(files) / 100)))
}

/** @param {readonly InputFile[]} files */
export function totalBytes(files) {
  return files.reduce((sum, file) => sum + file.bytes, 0)
}

/**
 * How many bytes of the input lie before a position.
 * @param {readonly InputFile[]} files @param {Position} position
 */
export function bytesBefore(files, position) {
  return totalBytes(files.slice(0, position.file)) + position.offset
}

/**
 * Yields the text from a position on, step by step, each with the position after it. The steps depend only on the position
 * and the input. So a process that continues from a saved position sees exactly what the first process would have seen.
 * @param {readonly InputFile[]} files
 * @param {Position} from
 * @returns {Generator<{ text: string, next: Position }>}
 */
export function* readSteps(files, from) {
  const stepBytes = bytesOfStep(files)
  const buffer = Buffer.alloc(stepBytes)
  for (let index = from.file; index < files.length; index++) {
    const file = files[index]
    if (!file) return
    const descriptor = openSync(file.path, 'r')
    try {
      let offset = index === from.file ? from.offset : 0
      while (offset < file.bytes) {
        const filled = readSync(descriptor, buffer, 0, Math.min(stepBytes, file.bytes - offset), offset)
        if (filled === 0) throw new Error(`${file.path} became shorter while it was read`)
        const last = offset + filled === file.bytes
        const length = last ? filled : endOfLastLine(buffer.subarray(0, filled))
        offset += length
        const next = offset === file.bytes ? { file: index + 1, offset: 0 } : { file: index, offset }
        yield { text: buffer.toString('utf8', 0, length), next }
      }
    } finally {
      closeSync(descriptor)
    }
  }
}

/**
 * A step ends at a line break, so that it cuts no word in two. A line longer than a step is cut where the step ends.
 * @param {Buffer} bytes
 */
function endOfLastLine(bytes) {
  const newline = bytes.lastIndexOf(0x0a)
  return newline < 0 ? bytes.length : newline + 1
}

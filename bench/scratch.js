// What a benchmark leaves behind: nothing. One temporary folder, and the processes that it started, which are ended by their
// own handles when it ends, fails or is interrupted.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/** @type {Set<import('node:child_process').ChildProcess>} */
const children = new Set()
/** @type {Set<string>} */
const folders = new Set()

/** @param {string} parent @returns {string} a folder that is removed at the end */
export function scratchFolder(parent) {
  const folder = mkdtempSync(path.join(parent, 'rdma-checkpoint-bench-'))
  folders.add(folder)
  return folder
}

/** Has a process ended with the benchmark. @template {import('node:child_process').ChildProcess} C @param {C} child @returns {C} */
export function adopt(child) {
  children.add(child)
  const leave = () => children.delete(child)
  child.once('exit', leave)
  child.once('error', leave)
  return child
}

/** @param {string} command @param {readonly string[]} args @param {import('node:child_process').SpawnOptions} [options] */
export function start(command, args, options = {}) {
  return adopt(spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'], ...options }))
}

/** @param {import('node:child_process').ChildProcess} child @param {NodeJS.Signals} [signal] */
export async function end(child, signal = 'SIGTERM') {
  if (!children.has(child)) return
  const exit = once(child, 'exit')
  child.kill(signal)
  const late = new AbortController()
  const kill = sleep(5000, undefined, { signal: late.signal }).then(
    () => child.kill('SIGKILL'),
    () => undefined,
  )
  await exit
  late.abort()
  await kill
}

/** Runs a benchmark to its end, whichever that is, and leaves nothing behind. @param {() => Promise<unknown>} bench */
export function runToTheEnd(bench) {
  process.once('exit', removeAll)
  for (const [signal, code] of /** @type {const} */ ([
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ])) {
    process.once(signal, () => finish(code))
  }
  bench().then(
    () => finish(0),
    (error) => {
      console.error(error)
      finish(1)
    },
  )
}

let finishing = false

/** @param {number} code */
async function finish(code) {
  if (finishing) return
  finishing = true
  // What still writes into the folder has to be gone before it is removed.
  await Promise.all([...children].map((child) => end(child, 'SIGKILL')))
  process.exit(code)
}

function removeAll() {
  for (const child of children) child.kill('SIGKILL')
  for (const folder of folders) rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
}

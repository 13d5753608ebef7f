// Compiles raw-tcp.c with the machine's C compiler and runs it.
import { execFile } from 'node:child_process'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)

/** @typedef {{ operations: number, seconds: number, p50us: number, p99us: number }} Measurement */

/** @param {string} folder where the program is put @returns {Promise<string>} */
export async function buildRawTcp(folder) {
  const program = path.join(folder, 'raw-tcp')
  const source = fileURLToPath(new URL('raw-tcp.c', import.meta.url))
  await run(process.env.CC ?? 'cc', ['-O2', '-o', program, source])
  return program
}

/**
 * @param {string} program
 * @param {{ bytes: number, depth: number, seconds: number, span: number }} what
 * @returns {Promise<Measurement>}
 */
export async function measureRawTcp(program, { bytes, depth, seconds, span }) {
  const { stdout } = await run(program, [String(bytes), String(depth), String(seconds), String(span)])
  return JSON.parse(stdout)
}

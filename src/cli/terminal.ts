/** What the commands print: results on stdout, everything else on stderr. */
import { CheckpointError } from '../errors.js'
import { printable } from '../printable.js'
import { outputOf } from './output.js'

/** Wrong usage: exit code 2. */
export class UsageError extends Error {}

export function printJson(value: unknown): void {
  outputOf(process.stdout).write(`${toJson(value)}\n`)
}

export function printTable(head: readonly string[], rows: readonly (readonly string[])[]): void {
  const lines = [head, ...rows]
  const widths = head.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)))
  for (const line of lines) {
    const cells = line.map((cell, column) => (column === line.length - 1 ? cell : cell.padEnd(widths[column] ?? 0)))
    outputOf(process.stdout).write(`${cells.join('  ').trimEnd()}\n`)
  }
}

export function printFields(fields: readonly (readonly [string, string])[]): void {
  const width = Math.max(...fields.map(([name]) => name.length))
  for (const [name, value] of fields) outputOf(process.stdout).write(`${name.padEnd(width)}  ${value}\n`)
}

/** One line that says what went wrong. @returns the exit code */
export function reportError(error: unknown, json: boolean): number {
  const usage = error instanceof UsageError
  const code = error instanceof CheckpointError ? error.code : usage ? 'USAGE' : 'INTERNAL'
  const message = error instanceof Error ? error.message : String(error)
  const help = error instanceof CheckpointError ? error.help : undefined
  if (json) {
    const details = error instanceof CheckpointError ? error.details : undefined
    outputOf(process.stderr).write(`${toJson({ error: { code, message, help, details } })}\n`)
  } else {
    const line = [`rdma-checkpoint: ${code}: ${message}`, help ?? ''].join(' ').trim()
    outputOf(process.stderr).write(`${printable(line.replace(/\s*\n\s*/g, '; '))}\n`)
  }
  return usage ? 2 : 1
}

/** 64-bit numbers become strings, because readers of JSON parse numbers as doubles. */
export function toJson(value: unknown): string {
  return JSON.stringify(value, (_, item: unknown) => (typeof item === 'bigint' ? String(item) : item))
}

const quietMs = 2000
const everyMs = 500

/**
 * Runs work. On a terminal, shows its progress after two seconds.
 * @param work gets a function to report its progress with
 */
export async function withProgress<T>(what: string, work: (at: (how: string) => void) => Promise<T>): Promise<T> {
  let how = ''
  if (!process.stderr.isTTY) return await work(() => undefined)
  const output = outputOf(process.stderr)
  const started = performance.now()
  let shown = false
  const timer = setInterval(() => {
    const elapsed = performance.now() - started
    if (elapsed < quietMs || output.waiting > 0) return
    shown = true
    output.write(`\r\x1b[K${what} ${how} (${Math.round(elapsed / 1000)} s)`)
  }, everyMs)
  try {
    return await work((now) => {
      how = now
    })
  } finally {
    clearInterval(timer)
    if (shown) output.write('\r\x1b[K')
  }
}

// The demo is the first thing a new user runs: it must do what it says, with their files too, and leave nothing behind.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { dataTransport } from '../data-plane.js'

const demo = fileURLToPath(new URL('../../examples/demo.js', import.meta.url))
/** Stands in for the temporary folder of the machine, so that what is left in it is the demo's. */
let folder: string
let temporary: string

beforeAll(() => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'rdma-checkpoint-demo-test-'))
  temporary = path.join(folder, 'tmp')
  mkdirSync(temporary)
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

interface Run {
  code: number | null
  signal: NodeJS.Signals | null
  output: string
  complaints: string
}

async function run(
  flags: readonly string[],
  whileItRuns?: (output: () => string, pid: number) => Promise<void>,
): Promise<Run> {
  const child = spawn(process.execPath, [demo, ...flags], {
    env: { ...process.env, TMPDIR: temporary },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const exit = once(child, 'exit')
  const closed = once(child, 'close')
  let output = ''
  let complaints = ''
  child.stdout.on('data', (text: Buffer) => {
    output += text.toString()
  })
  child.stderr.on('data', (text: Buffer) => {
    complaints += text.toString()
  })
  await whileItRuns?.(() => output, child.pid ?? 0)
  const [code, signal] = (await exit) as [number | null, NodeJS.Signals | null]
  await closed
  return { code, signal, output, complaints }
}

/** Processes whose command line names the demo or its pool. */
function leftOver(): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .map((name) => {
      const file = `/proc/${name}/cmdline`
      try {
        return existsSync(file) ? readFileSync(file, 'utf8').replaceAll('\0', ' ') : ''
      } catch {
        return ''
      }
    })
    .filter((command) => command.includes(temporary))
}

async function expectNothingLeft(): Promise<void> {
  for (let tries = 0; tries < 50 && leftOver().length > 0; tries++) await sleep(20)
  expect(leftOver()).toEqual([])
  expect(readdirSync(temporary)).toEqual([])
}

test('a backup finishes the work of a primary killed half-way, with the result of an undisturbed run', async () => {
  const { code, output, complaints } = await run(['--json'])
  expect(complaints).toBe('')
  const summary = JSON.parse(output.trimEnd().split('\n').at(-1) ?? '')
  expect(summary).toEqual({
    unit: expect.stringMatching(/^127\.0\.0\.1:\d+$/),
    transport: dataTransport,
    checkpoints: expect.any(Number),
    killedAfter: expect.any(Number),
    recovered: expect.any(Number),
    bytes: expect.any(Number),
    takeoverMs: expect.any(Number),
    partsMs: {
      noticed: expect.any(Number),
      takenOver: expect.any(Number),
      stateRead: expect.any(Number),
      firstWrite: expect.any(Number),
    },
    resultMatches: true,
  })
  expect(code).toBe(0)
  expect(summary.bytes).toBeGreaterThan(10_000_000)
  expect(summary.killedAfter).toBeGreaterThan(10)
  expect(summary.recovered).toBeGreaterThanOrEqual(summary.killedAfter)
  expect(summary.checkpoints).toBeGreaterThan(summary.recovered)
  expect(summary.takeoverMs).toBeGreaterThan(0)
  const parts: number[] = Object.values(summary.partsMs)
  for (const part of parts) expect(part).toBeGreaterThan(0)
  expect(parts.reduce((sum, part) => sum + part)).toBeCloseTo(summary.takeoverMs, 0)
  await expectNothingLeft()
})

test('the input may be files of the user, in any language', async () => {
  const file = path.join(folder, 'mine.txt')
  const line = 'Größe und Weite, ein Maß für Ελλάδα und 日本 constructor __proto__\n'
  writeFileSync(file, line.repeat(40_000))
  const { code, output } = await run(['--json', file])
  expect(output).toContain('__proto__ 40000')
  expect(output).toContain('und 80000')
  expect(code).toBe(0)
  await expectNothingLeft()
})

test('a file that is not there is said, and exits with 1', async () => {
  const { code, complaints } = await run([path.join(folder, 'no-such-file')])
  expect(complaints).toContain('no-such-file')
  expect(code).toBe(1)
  await expectNothingLeft()
})

test('Ctrl-C in the middle leaves no process and no file', async () => {
  const { code } = await run([], async (output, pid) => {
    while (!output().includes('4. The primary counts')) await sleep(10)
    process.kill(pid, 'SIGINT')
  })
  expect(code).toBe(130)
  await expectNothingLeft()
})

/** `npm run bench` measures what it says beside the raw limits, writes what it was asked to write, and leaves nothing behind. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Report } from '../../bench/report/summary.js'

const bench = fileURLToPath(new URL('../../bench/run.js', import.meta.url))
let folder: string
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'rdma-checkpoint-test-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function start(...args: string[]): { child: ChildProcess; output: () => string } {
  const child = spawn(
    process.execPath,
    [bench, '--rounds', '1', '--seconds', '0.01', '--folder', folder, '--span-mib', '4', ...args],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  )
  let output = ''
  child.stdout?.on('data', (text: Buffer) => {
    output += text.toString()
  })
  return { child, output: () => output }
}

/** The processes that a process has started, and those that they have. */
function descendants(pid: number | undefined): number[] {
  const file = `/proc/${pid}/task/${pid}/children`
  if (!existsSync(file)) return []
  const children = readFileSync(file, 'utf8').split(' ').filter(Boolean).map(Number)
  return children.flatMap((child) => [child, ...descendants(child)])
}

test('a short run', async () => {
  const json = path.join(folder, 'report.json')
  const page = path.join(folder, 'page')
  const cells = ['visible 64B x1', 'durable 64B x16', 'read 64B x1'].flatMap((only) => ['--only', only])
  const { child, output } = start(
    ...cells,
    '--contenders',
    'write,append,read,latest,file,raw',
    '--json',
    json,
    '--page',
    page,
  )
  const [code] = await once(child, 'close')
  expect(code).toBe(0)
  const report = JSON.parse(readFileSync(json, 'utf8')) as Report
  expect(report.failures).toEqual([])
  const measured = report.cells.map(({ work, depth, series }) => `${work} x${depth} ${series}`)
  const spinning = ['visible x1 raw TCP, spinning', 'read x1 raw TCP, spinning']
  for (const name of [
    ...['write', 'append', 'file', 'raw TCP'].map((series) => `visible x1 ${series}`),
    ...['write', 'append', 'file', 'raw disk'].map((series) => `durable x16 ${series}`),
    ...['read', 'latest', 'file', 'raw TCP'].map((series) => `read x1 ${series}`),
    ...spinning,
  ])
    expect(measured).toContain(name)
  for (const {
    depth,
    rounds: [point],
  } of report.cells) {
    expect(point?.perSecond).toBeGreaterThan(0)
    if (depth === 1) expect(point?.p99us).toBeGreaterThanOrEqual(point?.p50us ?? Number.NaN)
  }
  expect(readdirSync(page)).toContain('README.md')
  expect(readFileSync(path.join(page, 'README.md'), 'utf8')).not.toContain(folder)
  expect(output()).toContain('What is not faster')
  expect(readdirSync(folder).sort()).toEqual(['page', 'report.json'])

  const again = start('--from', json, '--compare', json)
  await once(again.child, 'close')
  expect(again.output()).toMatch(/0 cells are clearly faster, 0\s+clearly slower/)
})

test('Ctrl-C ends what it started and removes what it wrote', async () => {
  const { child } = start('--only', 'visible 64B x1', '--contenders', 'append,file', '--seconds', '3600')
  const exit = once(child, 'exit')
  while (descendants(child.pid).length < 3) {
    if (child.exitCode !== null) throw new Error(`it ended early with exit code ${child.exitCode}`)
    await sleep(20)
  }
  const started = descendants(child.pid)
  child.kill('SIGINT')
  expect(await exit).toEqual([130, null])
  expect(started.filter((pid) => existsSync(`/proc/${pid}`))).toEqual([])
  expect(readdirSync(folder).filter((name) => name.startsWith('rdma-checkpoint-bench-'))).toEqual([])
})

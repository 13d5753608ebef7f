/** The benchmark of takeovers measures what it says: a kill, a backup that takes over, a durable write, in parts that add up. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const bench = fileURLToPath(new URL('../../bench/takeover.js', import.meta.url))

interface Distribution {
  min: number
  p50: number
  p99: number
  max: number
}
interface Row {
  name: string
  runs: number
  unreadBytes: number
  primaryResidentMiB: number
  noticedMs: Distribution
  openedMs: Distribution
  restoredMs: Distribution
  writtenMs: Distribution
  totalMs: Distribution
}

async function run(only: string): Promise<Row> {
  const child = spawn(process.execPath, [bench, '--json', '--runs', '1', '--silence-runs', '1', '--only', only], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let output = ''
  child.stdout.on('data', (text: Buffer) => {
    output += text.toString()
  })
  const [code] = await once(child, 'close')
  expect(code).toBe(0)
  const [row, ...others] = JSON.parse(output).results as Row[]
  expect(others).toEqual([])
  if (row === undefined) throw new Error(`no series ${only}`)
  return row
}

test.each([
  { only: 'nothing unread', unread: 0 },
  { only: '64 MiB unread, cold', unread: 64 * 1024 * 1024 },
])('$only', async ({ only, unread }) => {
  const row = await run(only)
  expect(row).toMatchObject({ name: only, runs: 1, unreadBytes: unread })
  const parts = [row.noticedMs, row.openedMs, row.restoredMs, row.writtenMs].map(({ max }) => max)
  for (const part of parts) expect(part).toBeGreaterThan(0)
  expect(parts.reduce((sum, part) => sum + part)).toBeCloseTo(row.totalMs.max, 3)
})

test('silence', async () => {
  const { noticedMs } = await run('silence')
  // The last heartbeat came up to 100 ms before the stop; how late it is on a busy machine is not asked.
  expect(noticedMs.min).toBeGreaterThan(800)
})

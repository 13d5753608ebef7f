import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'

const log = new URL('../../dist/cli/log.js', import.meta.url)
const streams = new URL('../../dist/cli/standard-streams.js', import.meta.url)

it('a log that nobody reads holds nothing up, stays bounded, and says how many lines are missing', async () => {
  expect(existsSync(fileURLToPath(log))).toBe(true)
  const lines = 20_000
  const script = `
    const { jsonLog } = await import(${JSON.stringify(log.href)})
    const { endServing, guardStreams } = await import(${JSON.stringify(streams.href)})
    guardStreams()
    const log = jsonLog('info')
    for (let index = 0; index < ${lines}; index++) log('info', 'x'.repeat(500), { index })
    console.log(process.stderr.writableLength)
    await new Promise((resolve) => process.stdin.once('data', resolve))
    process.stdin.destroy()
    log('info', 'last')
    await endServing()`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script])
  const [waiting] = await once(createInterface({ input: child.stdout }), 'line')
  expect(Number(waiting)).toBeGreaterThan(100_000)
  expect(Number(waiting)).toBeLessThan(2 << 20)
  const found: { message: string; lines?: number }[] = []
  createInterface({ input: child.stderr }).on('line', (line) => found.push(JSON.parse(line)))
  await expect
    .poll(() => found.some(({ message }) => message === 'log lines were dropped'), { timeout: 10_000 })
    .toBe(true)
  child.stdin.write('go on\n')
  expect(await once(child, 'close')).toEqual([0, null])
  const lost = found.reduce((sum, line) => sum + (line.lines ?? 0), 0)
  expect(found.at(-1)?.message).toBe('last')
  expect(found.filter(({ message }) => /^x+$/.test(message)).length + lost).toBe(lines)
  expect(lost).toBeGreaterThan(10_000)
})

it('a process that nobody reads ends all the same', async () => {
  const script = `
    const { jsonLog } = await import(${JSON.stringify(log.href)})
    const { endServing, guardStreams } = await import(${JSON.stringify(streams.href)})
    guardStreams()
    const log = jsonLog('info')
    for (let index = 0; index < 1000; index++) log('info', 'x'.repeat(500))
    process.exitCode = 7
    await endServing()`
  const child = spawn(process.execPath, ['--input-type=module', '-e', script])
  child.stderr.pause()
  const timer = setTimeout(() => child.kill('SIGKILL'), 20_000)
  expect(await once(child, 'exit')).toEqual([7, null])
  clearTimeout(timer)
})

// A unit in a terminal on which somebody has pressed Ctrl-S goes on to serve, and says afterwards what it could not.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { connect } from '../../src/index.js'
import { temporaryFolder } from '../fault/support/unit-process.js'

const command = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
const inTerminal = fileURLToPath(new URL('support/stopped-terminal.py', import.meta.url))

interface InTerminal {
  child: ChildProcess
  /** Of the process in the terminal. */
  pid: number
  text: () => string
  flow: (flow: 'go' | 'stop') => void
}

async function runInTerminal(first: 'go' | 'stop', ...line: string[]): Promise<InTerminal> {
  const child = spawn('python3', [inTerminal, first, process.execPath, ...line], { stdio: ['pipe', 'pipe', 'inherit'] })
  let text = ''
  child.stdout.on('data', (bytes: Buffer) => {
    text += bytes.toString()
  })
  await expect.poll(() => text, { timeout: 20_000 }).toMatch(/^\d+\n/)
  return { child, pid: Number.parseInt(text, 10), text: () => text, flow: (flow) => child.stdin.write(`${flow}\n`) }
}

it('a unit whose terminal is stopped serves, keeps its leases, and tells what was dropped', async () => {
  const flags = ['--medium', 'file', '--path', path.join(temporaryFolder(), 'pool'), '--bytes', '4MiB', '--create']
  const addresses = ['--listen', '127.0.0.1:0', '--data', '127.0.0.1:0']
  const unit = await runInTerminal('go', command, 'serve', ...flags, ...addresses, '--log-level', 'debug')
  try {
    await expect.poll(unit.text, { timeout: 30_000 }).toMatch(/"dataAddresses".*\n/)
    const address = /\{"address":"([^"]+)"/.exec(unit.text())?.[1] ?? ''
    const client = await connect(address)
    const owned = await client.openRegion('owned', { mode: 'write', create: { bytes: 4096, mode: 'raw' } })
    unit.flow('stop')
    const before = unit.text().length
    const began = performance.now()
    for (let round = 0; round < 40; round++) {
      await client.createRegion(`r${round}`, { bytes: 1, mode: 'raw' })
      await client.deleteRegion(`r${round}`)
    }
    // Longer than the lease of the owner: its unit has heard it all the while.
    await new Promise((resolve) => setTimeout(resolve, 1500))
    await owned.write(0, Buffer.from('x'))
    expect((await client.status()).state).toBe('ready')
    expect(performance.now() - began).toBeLessThan(30_000)
    const dark = unit.text().length - before
    unit.flow('go')
    await expect.poll(() => unit.text().length - before, { timeout: 10_000 }).toBeGreaterThan(dark + 1000)
    await expect.poll(() => unit.text().match(/"region deleted"/g)?.length, { timeout: 10_000 }).toBe(40)
    expect(unit.text()).not.toContain('owner lost')
    unit.flow('stop')
    await client.close()
    // It ends, too, with lines that nobody lets out.
    process.kill(unit.pid, 'SIGTERM')
    const [code] = await once(unit.child, 'exit')
    expect(code).toBe(0)
  } finally {
    unit.child.kill('SIGKILL')
    try {
      process.kill(unit.pid, 'SIGKILL')
    } catch {}
  }
})

it('a log in a stopped terminal stays bounded, and counts what it dropped', async () => {
  const log = new URL('../../dist/cli/log.js', import.meta.url).href
  const streams = new URL('../../dist/cli/standard-streams.js', import.meta.url).href
  const script = `
    const { jsonLog } = await import(${JSON.stringify(log)})
    const { endServing, guardStreams } = await import(${JSON.stringify(streams)})
    guardStreams()
    const log = jsonLog('info')
    for (let index = 0; index < 5000; index++) log('info', 'x'.repeat(500), { index })
    await new Promise((resolve) => setTimeout(resolve, 3000))
    log('info', 'last')
    await endServing()`
  const stopped = await runInTerminal('stop', '--input-type=module', '-e', script)
  await new Promise((resolve) => setTimeout(resolve, 300))
  stopped.flow('go')
  await once(stopped.child, 'close')
  const lines = stopped
    .text()
    .split('\n')
    .slice(1, -1)
    .map((line) => JSON.parse(line) as { message: string; lines?: number })
  const lost = lines.reduce((sum, line) => sum + (line.lines ?? 0), 0)
  expect(lines.filter(({ message }) => /^x+$/.test(message)).length + lost).toBe(5000)
  expect(lost).toBeGreaterThan(1000)
  expect(lines.at(-1)?.message).toBe('last')
})

it('results that were lost with their terminal are not taken for written', async () => {
  const terminal = new URL('../../dist/cli/terminal.js', import.meta.url).href
  const streams = new URL('../../dist/cli/standard-streams.js', import.meta.url).href
  const script = `
    const { printJson } = await import(${JSON.stringify(terminal)})
    const { guardStreams, lostResults } = await import(${JSON.stringify(streams)})
    guardStreams()
    printJson({})
    process.once('beforeExit', () => console.error('lost:', lostResults()?.code))`
  // The terminal is stopped, so that the results still wait when it goes.
  const hangsUp = `
import os, pty, subprocess, sys, termios, time
master, slave = pty.openpty()
termios.tcflow(slave, termios.TCOOFF)
process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=slave)
os.close(slave)
time.sleep(2)
os.close(master)
process.wait()`
  const child = spawn('python3', ['-c', hangsUp, process.execPath, '--input-type=module', '-e', script], {
    stdio: ['ignore', 'inherit', 'pipe'],
  })
  let text = ''
  child.stderr.on('data', (bytes: Buffer) => {
    text += bytes.toString()
  })
  await once(child, 'close')
  expect(text).toContain('lost: EIO')
})

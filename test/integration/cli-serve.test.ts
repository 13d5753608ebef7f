import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, it } from 'vitest'
import { temporaryFolder, UnitProcess } from '../fault/support/unit-process.js'

const command = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
const folder = temporaryFolder()
const started: ChildProcess[] = []

async function run(args: readonly string[], env: Record<string, string> = {}) {
  const child = spawn(process.execPath, [command, ...args], { env: { ...process.env, ...env } })
  started.push(child)
  let [stdout, stderr] = ['', '']
  child.stdout.on('data', (text) => {
    stdout += text
  })
  child.stderr.on('data', (text) => {
    stderr += text
  })
  const [code] = await once(child, 'close')
  return { code, stdout, stderr }
}

afterEach(() => {
  for (const child of started.splice(0)) child.kill('SIGKILL')
})

describe('serve', () => {
  it('prints one JSON line when ready, answers status, and stops in order on SIGTERM and SIGINT', async () => {
    const file = path.join(folder, 'pool')
    for (const [round, signal] of (['SIGTERM', 'SIGINT'] as const).entries()) {
      const unit = await UnitProcess.start({ pool: { medium: 'file', path: file, bytes: 4 << 20 } })
      const status = await run(['status', unit.address, '--json'])
      expect(status.code).toBe(0)
      expect(JSON.parse(status.stdout)).toMatchObject({
        state: 'ready',
        generation: String(round + 1),
        medium: 'file',
        promises: ['visible', 'durable'],
        bytes: String(4 << 20),
      })
      expect((await run(['status', unit.address])).stdout).toMatch(/^state {5}ready$/m)
      await unit.kill(signal)
      expect(unit.child.exitCode).toBe(0)
      expect((await run(['status', unit.address])).code).toBe(1)
    }
  })

  it('takes flags before variables before the file', async () => {
    const config = path.join(folder, 'unit.json')
    writeFileSync(
      config,
      JSON.stringify({ medium: 'memory', bytes: '4MiB', listen: 'not an address', maxRegions: 3, logLevel: 'info' }),
    )
    const env = {
      RDMA_CHECKPOINT_MAX_REGIONS: '5',
      RDMA_CHECKPOINT_LISTEN: '127.0.0.1:0',
      RDMA_CHECKPOINT_BYTES: '16MiB',
    }
    const child = spawn(process.execPath, [command, 'serve', '--config', config, '--bytes', '8MiB'], {
      env: { ...process.env, ...env },
    })
    started.push(child)
    const [line] = await once(child.stdout, 'data')
    const { address } = JSON.parse(String(line))
    const { stdout } = await run(['status', address, '--json'])
    expect(JSON.parse(stdout)).toMatchObject({ bytes: String(8 << 20), maxRegions: 5, medium: 'memory' })
    let log = ''
    child.stderr.on('data', (text) => {
      log += text
    })
    child.kill('SIGTERM')
    expect((await once(child, 'close'))[0]).toBe(0)
    for (const entry of log.trim().split('\n')) {
      expect(JSON.parse(entry)).toMatchObject({
        time: expect.any(String),
        level: expect.any(String),
        message: expect.any(String),
      })
    }
    expect(log).toMatch(/"message":"stopped"/)
  })

  it('says in one line what went wrong, with the code, and exits with 1', async () => {
    const foreign = path.join(folder, 'foreign')
    writeFileSync(foreign, 'x'.repeat(100_000))
    const { code, stdout, stderr } = await run([
      'serve',
      '--medium',
      'file',
      '--path',
      foreign,
      '--listen',
      '127.0.0.1:0',
    ])
    expect([code, stdout]).toEqual([1, ''])
    expect(stderr).toMatch(/^rdma-checkpoint: POOL_DAMAGED: [^\n]+\n$/)
    const json = await run(['serve', '--medium', 'file', '--path', foreign, '--listen', '127.0.0.1:0', '--json'])
    expect(JSON.parse(json.stderr)).toMatchObject({ error: { code: 'POOL_DAMAGED', help: expect.any(String) } })
  })

  // What puts a unit on a device for the tests takes its guard away.
  it.skipIf(process.env.RDMA_CHECKPOINT_TEST_ADDRESS !== undefined)(
    'refuses to be open to strangers unasked',
    async () => {
      const open = await run(['serve', '--medium', 'memory', '--bytes', '4MiB', '--listen', '0.0.0.0:0'])
      expect([open.code, open.stderr]).toEqual([
        1,
        expect.stringMatching(/UNAUTHENTICATED.*--dangerously-allow-unauthenticated/),
      ])
    },
  )

  it('warns at each start that nothing keeps strangers out', async () => {
    const flags = ['--medium', 'memory', '--bytes', '4MiB', '--listen', '0.0.0.0:0', '--data', '127.0.0.1:0']
    const child = spawn(process.execPath, [command, 'serve', ...flags, '--dangerously-allow-unauthenticated'])
    started.push(child)
    let said = ''
    child.stderr.on('data', (chunk) => (said += chunk))
    await expect.poll(() => said, { timeout: 10_000 }).toMatch(/"level":"warn","message":"No authentication/)
  })
})

describe('the command line', () => {
  it.each([
    [['serve'], 2, /--medium memory --bytes SIZE/],
    [['serve', '--medium', 'memory', '--bytes', 'lots'], 2, /--bytes is a size/],
    [['regions', 'create', '127.0.0.1:1', 'a'], 2, /--bytes/],
    [['nonsense'], 2, /unknown command/],
    [['status', '127.0.0.1:1'], 1, /^rdma-checkpoint: CONNECTION_REFUSED: /],
    [['regions', 'list', '127.0.0.1:1', '--timeout', '2000'], 1, /^rdma-checkpoint: [A-Z_]+: /],
  ])('%j exits with %i', async (args, exit, complaint) => {
    const { code, stdout, stderr } = await run(args)
    expect([code, stdout]).toEqual([exit, ''])
    expect(stderr).toMatch(complaint)
  })

  it.each([
    [['serve'], /--medium memory/],
    [['serve', '--nonsense'], /unknown option '--nonsense'/],
    [['nonsense'], /unknown command/],
    [['regions', 'create', '127.0.0.1:1', 'a'], /--bytes/],
    [['regions', 'list'], /missing required argument/],
    [['regions', 'create', '127.0.0.1:1', 'a', '--bytes', 'lots'], /It is a size/],
  ])('%j --json tells the wrong usage as one line of JSON', async (args, complaint) => {
    const { code, stdout, stderr } = await run([...args, '--json'])
    expect([code, stdout]).toEqual([2, ''])
    expect(JSON.parse(stderr)).toEqual({ error: { code: 'USAGE', message: expect.stringMatching(complaint) } })
  })

  it('names the file that explains the error codes', async () => {
    const { stdout } = await run(['--help'])
    const file = /is in (\S+errors\.md)/.exec(stdout)?.[1]
    expect(readFileSync(file ?? '', 'utf8')).toMatch(/### REGION_BUSY/)
  })

  it.each([
    [['--help'], /serve .*\n.*status .*\n.*regions .*\n.*checkpoints /],
    [['serve', '--help'], /RDMA_CHECKPOINT_MAX_REGIONS/],
    [['regions', '--help'], /metadata/],
    [['checkpoints', 'extract', '--help'], /--sequence/],
  ])('%j helps', async (args, text) => {
    const { code, stdout } = await run(args)
    expect(code).toBe(0)
    expect(stdout).toMatch(text)
  })
})

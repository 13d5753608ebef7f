import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { createServer as createHttpServer } from 'node:http'
import { createServer as createHttp2Server } from 'node:http2'
import { type AddressInfo, createServer, type Server } from 'node:net'
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
        starts: String(round + 1),
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

  it('says in one line what went wrong, with the code', async () => {
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
    expect([code, stdout]).toEqual([78, ''])
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
        78,
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

describe('serve under a service manager', () => {
  // Node has no datagram sockets of the Unix kind; what building needs has.
  const receiver = `
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print('listening', flush=True)
while True:
    print(s.recv(4096).decode().replace('\\n', ' '), flush=True)
`

  it('says when it is ready, what it does, and that it is stopping', async () => {
    const socket = path.join(folder, 'notify')
    const manager = spawn('python3', ['-c', receiver, socket], { stdio: ['ignore', 'pipe', 'inherit'] })
    started.push(manager)
    let heard = ''
    manager.stdout.on('data', (text) => (heard += text))
    await expect.poll(() => heard, { timeout: 20_000 }).toMatch(/listening/)
    const flags = ['--medium', 'memory', '--bytes', '4MiB', '--listen', '127.0.0.1:0', '--log-level', 'error']
    const unit = spawn(process.execPath, [command, 'serve', ...flags], {
      env: { ...process.env, NOTIFY_SOCKET: socket },
    })
    started.push(unit)
    const [line] = await once(unit.stdout, 'data')
    await expect.poll(() => heard, { timeout: 20_000 }).toMatch(/^READY=1 /m)
    unit.kill('SIGTERM')
    expect((await once(unit, 'close'))[0]).toBe(0)
    await expect
      .poll(() => heard, { timeout: 20_000 })
      .toMatch(/^STOPPING=1\nSTATUS=Writing back\nEXTEND_TIMEOUT_USEC=/m)
    const { address } = JSON.parse(String(line))
    expect(heard).toMatch(
      new RegExp(
        `^listening\\nSTATUS=Opening the pool\\nEXTEND_TIMEOUT_USEC=\\d+\\nREADY=1 STATUS=Serving on ${address}$`,
        'm',
      ),
    )
  })

  it('serves all the same when nobody is there to be told', async () => {
    const flags = ['--medium', 'memory', '--bytes', '4MiB', '--listen', '127.0.0.1:0']
    const unit = spawn(process.execPath, [command, 'serve', ...flags], {
      env: { ...process.env, NOTIFY_SOCKET: path.join(folder, 'nobody') },
    })
    started.push(unit)
    let log = ''
    unit.stderr.on('data', (text) => (log += text))
    await once(unit.stdout, 'data')
    unit.kill('SIGTERM')
    expect((await once(unit, 'close'))[0]).toBe(0)
    expect(log).toMatch(/"level":"warn","message":"cannot notify the service manager"/)
  })

  it('ends with 78 where a restart would not help, and with 1 where it may', async () => {
    const missing = await run([
      'serve',
      '--medium',
      'file',
      '--path',
      path.join(folder, 'none'),
      '--listen',
      '127.0.0.1:0',
    ])
    expect([missing.code, missing.stderr]).toEqual([78, expect.stringMatching(/POOL_NOT_FOUND/)])
    const unit = await UnitProcess.start({ pool: { medium: 'memory', bytes: 4 << 20 } })
    const taken = await run(['serve', '--medium', 'memory', '--bytes', '4MiB', '--listen', unit.address])
    expect([taken.code, taken.stderr]).toEqual([1, expect.stringMatching(/ADDRESS_IN_USE/)])
    await unit.kill('SIGTERM')
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

  it.each([
    [
      'HTTP/1.1',
      () => createHttpServer((_, answer) => answer.writeHead(404).end('not here')),
      /CONNECTION_REFUSED: .*does not answer as a unit/,
    ],
    [
      'HTTP/2',
      () => createHttp2Server((_, answer) => answer.writeHead(404).end('not here')),
      /PROTOCOL_VIOLATION: .*program other than a unit.*404/,
    ],
    [
      'neither',
      () => createServer((socket) => socket.end('SSH-2.0-OpenSSH\r\n')),
      /CONNECTION_REFUSED: .*does not answer as a unit/,
    ],
  ] as const)('tells of a server that speaks %s and is no unit', async (_, make, complaint) => {
    const server: Server = make()
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const { code, stdout, stderr } = await run(['status', `127.0.0.1:${port}`, '--timeout', '20000'])
    expect([code, stdout, stderr]).toEqual([1, '', expect.stringMatching(complaint)])
    expect(stderr).toMatch(/Check the address/)
    server.close()
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

// What goes over the wire is iWARP by somebody else's judgement: Wireshark's dissectors decode a captured session.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, statSync } from 'node:fs'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { connect } from '../../src/index.js'
import { UnitProcess, within } from '../fault/support/unit-process.js'
import { RawSession, unitCounters } from '../fault/wire/control.js'
import { RawPeer } from '../fault/wire/raw-peer.js'

const KiB = 1024
const obstacle = captureObstacle()
if (obstacle) console.log(`tshark.test.ts is skipped: ${obstacle}`)

/** Why nothing can be captured here, or undefined. */
function captureObstacle(): string | undefined {
  try {
    execFileSync('tshark', ['--version'], { stdio: 'ignore' })
  } catch {
    return 'tshark is not installed (apt-get install tshark)'
  }
  try {
    execFileSync('dumpcap', ['-i', 'lo', '-a', 'duration:1', '-w', '/dev/null'], { stdio: 'pipe', timeout: 10_000 })
  } catch (error) {
    const said =
      error instanceof Error && 'stderr' in error ? String(error.stderr).trim().split('\n')[0] : String(error)
    return `capturing on lo is not permitted (${said})`
  }
  return undefined
}

let folder: string
let unit: UnitProcess
beforeAll(async () => {
  folder = mkdtempSync(path.join(os.tmpdir(), 'rdma-checkpoint-tshark-'))
  unit = await UnitProcess.start({ pool: { medium: 'file', path: path.join(folder, 'pool'), bytes: 64 * KiB * KiB } })
})
afterAll(async () => {
  await unit?.kill()
  rmSync(folder, { recursive: true, force: true })
})

async function startCapture(file: string, port: number): Promise<ChildProcess> {
  // The default buffer of 2 MiB drops frames of a fast session.
  const capture = spawn('dumpcap', ['-i', 'lo', '-B', '256', '-f', `tcp port ${port}`, '-w', file], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const lines = createInterface({ input: capture.stderr! })
  await within(
    (async () => {
      for await (const line of lines) if (line.startsWith('File:')) return
      throw new Error('dumpcap ended')
    })(),
    10_000,
    'start of the capture',
  )
  // A connection that sends nothing: when it is in the file, the capture has begun.
  const empty = statSync(file).size
  const probe = net.connect(port, '127.0.0.1')
  probe.on('error', () => {})
  await within(
    (async () => {
      while (statSync(file).size <= empty) await sleep(20)
    })(),
    10_000,
    'first captured frame',
  )
  probe.destroy()
  return capture
}

async function stopCapture(capture: ChildProcess, file: string): Promise<void> {
  // The last frames are written with a delay.
  for (let size = -1; size !== statSync(file).size; ) {
    size = statSync(file).size
    await sleep(600)
  }
  const exit = once(capture, 'exit')
  capture.kill('SIGINT')
  await exit
}

/** The dissectors' view of a capture, as text. */
async function decode(file: string): Promise<string> {
  const flags = ['-r', file, '-2', '--disable-protocol', 'rpcordma', '-o', 'tcp.try_heuristic_first:TRUE']
  const tshark = spawn('tshark', [...flags, '-V', '-O', 'iwarp_mpa,iwarp_ddp_rdmap,_ws.malformed'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  const closed = once(tshark, 'close')
  const chunks: Buffer[] = []
  for await (const chunk of tshark.stdout!) chunks.push(chunk)
  await closed
  return Buffer.concat(chunks).toString()
}

function count(text: string, pattern: RegExp): number {
  return text.match(pattern)?.length ?? 0
}

/** A session that uses every message: writes, reads and flushes of many lengths, a log, heartbeats. */
async function session(address: string): Promise<void> {
  const client = await connect(address)
  const region = await client.createRegion('raw', { bytes: 4 * KiB * KiB, mode: 'raw' })
  for (const length of [0, 1, 2, 3, 4, 5, 100, 1460, 4 * KiB, 65_000, 66_000, 200_003, KiB * KiB]) {
    const bytes = new Uint8Array(length).map((_, index) => index * 7)
    await region.write(length % 997, bytes)
    const back = await region.read(length % 997, length)
    expect(Buffer.from(back).equals(bytes)).toBe(true)
  }
  await region.flush()
  await Promise.all(Array.from({ length: 50 }, (_, n) => region.write(n * 5000, new Uint8Array(4999).fill(n))))
  const log = (await client.createRegion('log', { bytes: KiB * KiB })).log()
  for (let n = 0; n < 20; n++) await log.append(new Uint8Array(n * 1000).fill(n))
  expect(await log.all()).toHaveLength(20)
  await sleep(300)
  await client.close()
}

test.skipIf(obstacle !== undefined)(
  'a captured session decodes as MPA, DDP and RDMAP, with a good CRC for every FPDU that was sent',
  async () => {
    const port = Number(unit.dataAddresses[0]!.split(':').at(-1))
    const file = path.join(folder, 'session.pcapng')
    const before = await unitCounters(unit.address)
    const capture = await startCapture(file, port)
    await session(unit.address)
    await stopCapture(capture, file)
    const after = await unitCounters(unit.address)
    const sent = Number(after.segmentsIn! - before.segmentsIn! + after.segmentsOut! - before.segmentsOut!)

    const decoded = await decode(file)
    const good = count(decoded, /\(Good CRC32\)/g)
    const opcodes = ['Write', 'Read Request', 'Read Response', 'Send']
    const seen = opcodes.map((name) => [name, count(decoded, new RegExp(`OpCode: ${name} \\(`, 'g'))])
    console.log(`tshark: ${sent} FPDUs sent, ${good} good CRCs; ${JSON.stringify(Object.fromEntries(seen))}`)
    expect(decoded).not.toMatch(/Malformed/)
    expect(decoded).not.toMatch(/Bad CRC|Bad length/)
    expect(sent).toBeGreaterThan(200)
    expect(good).toBe(sent)
    for (const [name, times] of seen) expect(times, `frames that are a ${name}`).toBeGreaterThan(0)
    // A session connection, and one for each open region. On a busy machine the session may have gone on with another.
    const asked = count(decoded, /ID Req frame/g)
    expect(asked).toBeGreaterThanOrEqual(3)
    expect(count(decoded, /ID Rep frame/g)).toBe(asked)
  },
)

test.skipIf(obstacle !== undefined)('a refusal decodes as the Terminate that it is', async () => {
  const port = Number(unit.dataAddresses[0]!.split(':').at(-1))
  const file = path.join(folder, 'terminate.pcapng')
  const capture = await startCapture(file, port)
  const hostile = await RawSession.open(unit.address)
  await hostile.createRegion('target', 4096)
  const { token } = await hostile.openRegion('target', 'WRITE')
  const { peer, grant } = await RawPeer.open(hostile.data, token)
  peer.rdmaWrite(grant.key, grant.base + grant.length, Buffer.alloc(16))
  await peer.ended()
  await hostile.close()
  await stopCapture(capture, file)
  const decoded = await decode(file)
  expect(decoded).toMatch(/OpCode: Terminate/)
  expect(decoded).toMatch(/Base or bounds violation/)
  expect(decoded).not.toMatch(/Malformed/)
})

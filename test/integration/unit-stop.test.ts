/** An orderly stop of a unit ends, whoever does not answer, and what was visible is kept. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { rmSync, writeFileSync } from 'node:fs'
import { connect as connectSocket } from 'node:net'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { connect } from '../../src/index.js'
import { shadowAddon, temporaryFolder, UnitProcess, within } from '../fault/support/unit-process.js'

const MiB = 1024 * 1024
const script = fileURLToPath(new URL('client-children/busy-client.js', import.meta.url))
/** Two seconds for calls and ten for connections, on a slow machine. */
const boundMs = 40_000
vi.setConfig({ testTimeout: 3 * boundMs })

let folder: string
let unit: UnitProcess | undefined
let children: ChildProcess[] = []

beforeEach(() => {
  folder = temporaryFolder()
})
afterEach(async () => {
  for (const child of children.filter(({ exitCode, signalCode }) => exitCode === null && signalCode === null)) {
    const exit = once(child, 'exit')
    child.kill('SIGKILL')
    await exit
  }
  children = []
  await unit?.kill()
  rmSync(folder, { recursive: true, force: true })
})

async function startUnit(env: Record<string, string> = {}): Promise<UnitProcess> {
  unit = await UnitProcess.start({ pool: { medium: 'file', path: `${folder}/pool`, bytes: 64 * MiB }, env })
  return unit
}

/** A client that does one thing over and over, with several of them under way. */
async function busy(address: string, what: 'visible' | 'durable' | 'read' | 'watch' | 'take', bytes: number) {
  const child = fork(script, [address, what, String(bytes)])
  children.push(child)
  await once(child, 'message')
  return child
}

test.each([4096, 8 * MiB])('clients that were stopped amid transfers of %i bytes do not hold it', async (bytes) => {
  const { address } = await startUnit()
  const clients = await Promise.all(
    (['visible', 'durable', 'read', 'watch'] as const).map((what) => busy(address, what, bytes)),
  )
  await sleep(500)
  for (const client of clients) client.kill('SIGSTOP')
  expect(await within(unit?.stop() ?? Promise.resolve(null), boundMs, 'the stop')).toBe(0)
  await startUnit()
})

test('one that was stopped while a region is opened and taken over and over does not, either', async () => {
  const { address } = await startUnit()
  const clients = [await busy(address, 'take', 4096), await busy(address, 'take', 4096)]
  await sleep(500)
  clients[0]?.kill('SIGSTOP')
  expect(await within(unit?.stop() ?? Promise.resolve(null), boundMs, 'the stop')).toBe(0)
})

test('one whose medium has failed ends, and says so, with stopped clients too', async () => {
  const failing = path.join(folder, 'failing')
  const { address } = await startUnit({ RDMA_CHECKPOINT_ADDON: shadowAddon, RC_TEST_FAIL_SYNC_IF: failing })
  const clients = [await busy(address, 'durable', 4096), await busy(address, 'take', 4096)]
  writeFileSync(failing, '')
  await sleep(200)
  for (const client of clients) client.kill('SIGSTOP')
  expect(await within(unit?.stop() ?? Promise.resolve(null), boundMs, 'the stop')).toBe(1)
})

test('nor do connections that say nothing', async () => {
  const { address, dataAddresses } = await startUnit()
  const sockets = [address, ...dataAddresses].map((place) => {
    const [host, port] = place.split(':')
    return connectSocket({ host: host ?? '', port: Number(port), allowHalfOpen: true })
  })
  for (const socket of sockets) {
    socket.on('error', () => undefined)
    await once(socket, 'connect')
  }
  const client = await connect(address)
  await client.close()
  expect(await within(unit?.stop() ?? Promise.resolve(null), boundMs, 'the stop')).toBe(0)
  for (const socket of sockets) socket.destroy()
})

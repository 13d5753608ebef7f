// Output is not the work: whoever reads it may be gone, have no room, or not read, and the work is done all the same.
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { openSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import { connect } from '../../src/client/connect.js'
import { PersistentMemoryUnit } from '../../src/unit/unit.js'
import { temporaryFolder, within } from '../fault/support/unit-process.js'
import { ControlClient } from './control-client.js'

const command = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
const started: ChildProcess[] = []

function serve(pool: string, stderr: 'pipe' | number) {
  const flags = ['--medium', 'file', '--path', pool, '--bytes', '4MiB', '--create', '--listen', '127.0.0.1:0']
  const child = spawn(process.execPath, [command, 'serve', ...flags, '--log-level', 'debug'], {
    stdio: ['ignore', 'pipe', stderr],
  })
  started.push(child)
  return child
}
async function addressOf(child: ChildProcess): Promise<string> {
  return JSON.parse(String((await once(child.stdout!, 'data'))[0])).address
}
/** Makes the unit log much, and writes what is visible only. */
async function work(address: string, calls: number): Promise<void> {
  const control = await ControlClient.open(address)
  for (let index = 0; index < calls; index++) await control.create(`r${index % 8}`, 4096).catch(() => undefined)
  control.close()
  const client = await connect(address)
  const region = await client.openRegion('visible', { mode: 'write', create: { bytes: 65_536, mode: 'raw' } })
  await region.write(0, Buffer.from('not flushed'), { durability: 'visible' })
  await client.close()
}
/** Stops in order, in good time, and keeps what was visible. */
async function stopsInOrder(child: ChildProcess, pool: string): Promise<void> {
  const exit = once(child, 'exit')
  child.kill('SIGTERM')
  expect(await within(exit, 20_000, 'the stop')).toEqual([0, null])
  await using unit = await PersistentMemoryUnit.start({ pool: { medium: 'file', path: pool } })
  const client = await connect(unit.address)
  const region = await client.openRegion('visible')
  expect(Buffer.from(await region.read(0, 11)).toString()).toBe('not flushed')
  await client.close()
}

afterEach(() => {
  for (const child of started.splice(0)) child.kill('SIGKILL')
})

describe('a unit stops in order and keeps what was visible', () => {
  it('when the readers of its output are gone', async () => {
    const pool = path.join(temporaryFolder(), 'pool')
    const child = serve(pool, 'pipe')
    const address = await addressOf(child)
    child.stderr!.destroy()
    child.stdout!.destroy()
    await work(address, 20)
    await stopsInOrder(child, pool)
  })

  it('when its log has no room', async () => {
    const pool = path.join(temporaryFolder(), 'pool')
    const child = serve(pool, openSync('/dev/full', 'w'))
    await work(await addressOf(child), 20)
    await stopsInOrder(child, pool)
  })
})

describe('a command', () => {
  let address = ''
  beforeAll(async () => {
    const unit = await PersistentMemoryUnit.start({ pool: { medium: 'memory', bytes: 16 << 20, maxRegions: 500 } })
    address = unit.address
    const client = await connect(address)
    for (let index = 0; index < 400; index++) {
      await (await client.createRegion(`${index}-${'x'.repeat(200)}`, { bytes: 4096, mode: 'raw' })).close()
    }
    const region = await client.openRegion('log', { mode: 'write', create: { bytes: 4 << 20 } })
    await region.log().append(new Uint8Array(1 << 20))
    await client.close()
    return () => unit.close()
  })

  async function shell(line: string): Promise<{ code: number; text: string }> {
    const child = spawn('bash', ['-c', `set -o pipefail; ${line}`, process.execPath, command, address])
    started.push(child)
    let text = ''
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (text += chunk))
    const [code] = await within(once(child, 'close'), 30_000, line)
    return { code, text }
  }

  it.each([
    ['regions list "$2" | head -n 1', /^NAME/],
    ['regions list "$2" --json | head -c 1', /^\[/],
    ['checkpoints extract "$2" log --output - | head -c 1', /^\0/],
    ['--help | head -n 1', /^Usage/],
  ])('%s ends quietly', async (line, first) => {
    const { code, text } = await shell(`"$0" "$1" ${line}`)
    expect(text).toMatch(first)
    expect([code, text.trimEnd().split('\n').length]).toEqual([0, 1])
  })

  it.each(['regions list "$2"', 'checkpoints extract "$2" log --output -'])(
    '%s says that there was no room for its results',
    async (line) => {
      const { code, text } = await shell(`"$0" "$1" ${line} > /dev/full`)
      expect(text).toMatch(/^rdma-checkpoint: SYSTEM: .*ENOSPC/)
      expect([code, text.trimEnd().split('\n').length]).toEqual([1, 1])
    },
  )

  it('fails with its own code when nobody reads why', async () => {
    const { code } = await shell('"$0" "$1" regions delete "$2" none 2>&1 >/dev/null | (exec <&-; sleep 1)')
    expect(code).toBe(1)
  })
})

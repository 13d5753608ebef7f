import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { connect } from '../../src/client/connect.js'
import { PersistentMemoryUnit } from '../../src/unit/unit.js'
import { dataTransport } from '../data-plane.js'
import { temporaryFolder } from '../fault/support/unit-process.js'

const command = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
const folder = temporaryFolder()
let unit: PersistentMemoryUnit

beforeAll(async () => {
  unit = await PersistentMemoryUnit.start({ pool: { medium: 'memory', bytes: 32 << 20 } })
})
afterAll(() => unit.close())

async function run(...args: string[]) {
  const child = spawn(process.execPath, [command, ...args])
  const chunks: Buffer[] = []
  let stderr = ''
  child.stdout.on('data', (chunk) => chunks.push(chunk))
  child.stderr.on('data', (text) => {
    stderr += text
  })
  const [code] = await once(child, 'close')
  return { code, output: Buffer.concat(chunks), stdout: Buffer.concat(chunks).toString(), stderr }
}

describe('regions', () => {
  it('are made, listed, shown and deleted', async () => {
    const { address } = unit
    const flags = [
      '--bytes',
      '1MiB',
      '--mode',
      'overwrite',
      '--on-full',
      'fail',
      '--silence-ms',
      '3000',
      '--stall-ms',
      '0',
    ]
    const made = await run(
      'regions',
      'create',
      address,
      'größe',
      ...flags,
      '--label',
      'a=1',
      '--label',
      'b=x=y',
      '--json',
    )
    expect(made.stderr).toBe('')
    const info = JSON.parse(made.stdout)
    expect(info).toMatchObject({
      name: 'größe',
      bytes: '1048576',
      mode: 'overwrite',
      onFull: 'fail',
      labels: { a: '1', b: 'x=y' },
    })
    expect((await run('regions', 'create', address, 'second', '--bytes', '4096', '--mode', 'raw')).stdout).toMatch(
      /^created second/,
    )

    const list = await run('regions', 'list', address, '--json')
    expect(JSON.parse(list.stdout)).toMatchObject([
      { name: 'größe', id: info.id },
      { name: 'second', bytes: '4096' },
    ])
    expect(JSON.parse((await run('regions', 'list', address, '--prefix', 'se', '--json')).stdout)).toMatchObject([
      { name: 'second' },
    ])
    expect((await run('regions', 'list', address)).stdout).toMatch(
      /^NAME +SIZE +MODE.*\ngröße +1 MiB +overwrite.*\nsecond +4 KiB +raw/,
    )

    const shown = await run('regions', 'metadata', address, 'größe', '--json')
    expect(JSON.parse(shown.stdout)).toMatchObject({
      id: info.id,
      lease: { silenceMs: 3000, stallMs: 0 },
      address: { length: '1048576', transport: dataTransport, endpoint: unit.dataAddresses[0] },
    })
    expect((await run('regions', 'metadata', address, 'größe')).stdout).toMatch(
      /^lease +silence 3000 ms, stall never$/m,
    )

    const again = await run('regions', 'create', address, 'second', '--bytes', '65536')
    expect([again.code, again.stderr]).toEqual([1, expect.stringMatching(/^rdma-checkpoint: REGION_EXISTS: [^\n]*\n$/)])
    expect((await run('regions', 'delete', address, 'second')).stdout).toBe('deleted second\n')
    const gone = await run('regions', 'delete', address, 'second', '--json')
    expect([gone.code, JSON.parse(gone.stderr).error.code]).toEqual([1, 'REGION_NOT_FOUND'])
  })
})

describe('checkpoints', () => {
  it('are listed, and one is extracted whole to a file or to stdout', async () => {
    const { address } = unit
    const states = [1000, 0, 3_000_000].map((length, index) => Buffer.alloc(length, `state ${index} `))
    const client = await connect(address)
    const region = await client.createRegion('log', { bytes: 8 << 20 })
    const log = region.log()
    const sequences: bigint[] = []
    for (const state of states) sequences.push((await log.append(state)).sequence)
    await client.close()

    const list = await run('checkpoints', 'list', address, 'log', '--json')
    expect(list.stderr).toBe('')
    expect(JSON.parse(list.stdout)).toMatchObject(
      states.map((state, index) => ({ sequence: String(sequences[index]), bytes: state.length, codec: 0, epoch: '1' })),
    )
    expect((await run('checkpoints', 'list', address, 'log')).stdout).toMatch(/^SEQUENCE +EPOCH +WRITTEN/)

    const file = path.join(folder, 'state')
    const extracted = await run('checkpoints', 'extract', address, 'log', '--output', file, '--json')
    expect(extracted.stderr).toBe('')
    expect(JSON.parse(extracted.stdout)).toMatchObject({ sequence: String(sequences[2]), bytes: 3_000_000 })
    expect(readFileSync(file).equals(states[2]!)).toBe(true)
    const piped = await run(
      'checkpoints',
      'extract',
      address,
      'log',
      '--sequence',
      String(sequences[0]),
      '--output',
      '-',
    )
    expect(piped.output.equals(states[0]!)).toBe(true)

    const other = path.join(folder, 'other')
    const missing = await run('checkpoints', 'extract', address, 'log', '--sequence', '999', '--output', other)
    expect([missing.code, missing.stderr]).toEqual([
      1,
      expect.stringMatching(/^rdma-checkpoint: CHECKPOINT_NOT_FOUND: /),
    ])
    expect(existsSync(other)).toBe(false)
    expect(readdirSync(folder)).toEqual(['state'])
  })

  it('of a region without any say so', async () => {
    const client = await connect(unit.address)
    await (await client.createRegion('empty', { bytes: 1 << 20 })).close()
    await client.close()
    expect(JSON.parse((await run('checkpoints', 'list', unit.address, 'empty', '--json')).stdout)).toEqual([])
    const none = await run('checkpoints', 'extract', unit.address, 'empty', '--output', path.join(folder, 'none'))
    expect([none.code, none.stderr]).toEqual([1, expect.stringMatching(/CHECKPOINT_NOT_FOUND/)])
  })
})

describe('what may be done to a log from outside', () => {
  it('clears it whole and in part, and its numbers go on', async () => {
    const { address } = unit
    const client = await connect(address)
    const region = await client.createRegion('clearing', { bytes: 1 << 20 })
    for (const text of ['a', 'b', 'c', 'd']) await region.log().append(Buffer.from(text))
    const busy = await run('checkpoints', 'clear', address, 'clearing')
    expect([busy.code, busy.stderr]).toEqual([1, expect.stringMatching(/^rdma-checkpoint: REGION_BUSY: /)])
    await region.close()

    const part = await run('checkpoints', 'clear', address, 'clearing', '--before', '3', '--json')
    expect(part.stderr).toBe('')
    expect(JSON.parse(part.stdout)).toMatchObject({ region: 'clearing', removed: 2, left: 2 })
    expect((await run('checkpoints', 'clear', address, 'clearing')).stdout).toBe(
      'cleared clearing: 2 removed, 0 left\n',
    )
    const again = await client.openRegion('clearing', { mode: 'write' })
    expect((await again.log().append(Buffer.from('e'))).sequence).toBe(5n)

    const taken = await run('checkpoints', 'clear', address, 'clearing', '--take-over', '--json')
    expect(JSON.parse(taken.stdout)).toMatchObject({ removed: 1, left: 0 })
    await expect.poll(() => again.fenced.aborted, { timeout: 10_000 }).toBe(true)
    await client.close()
  })

  it('takes a region over from its owner, and leaves it free', async () => {
    const { address } = unit
    const client = await connect(address)
    const region = await client.createRegion('taking', { bytes: 1 << 20 })
    const taken = await run('regions', 'take-over', address, 'taking', '--json')
    expect(taken.stderr).toBe('')
    expect(JSON.parse(taken.stdout)).toMatchObject({
      region: 'taking',
      epoch: String(region.epoch + 1n),
      fenced: { identity: expect.any(String) },
    })
    await expect(region.log().append(Buffer.from('late'))).rejects.toMatchObject({ code: 'FENCED' })
    expect((await run('regions', 'take-over', address, 'taking')).stdout).toMatch(
      /^took over taking: nobody owned it; /,
    )
    await (await client.openRegion('taking', { mode: 'write' })).close()
    await client.close()
  })

  it('lists, sets and deletes saved cursors', async () => {
    const { address } = unit
    const client = await connect(address)
    const region = await client.createRegion('cursors', { bytes: 1 << 20 })
    for (const text of ['a', 'b', 'c']) await region.log().append(Buffer.from(text))
    expect(JSON.parse((await run('cursors', 'set', address, 'cursors', 'backup', '--json')).stdout)).toMatchObject({
      name: 'backup',
      sequence: '3',
    })
    expect((await run('cursors', 'set', address, 'cursors', 'report', '--sequence', '1')).code).toBe(0)
    const list = await run('cursors', 'list', address, 'cursors', '--json')
    expect(JSON.parse(list.stdout)).toEqual([
      { name: 'backup', sequence: '3', epoch: '1' },
      { name: 'report', sequence: '1', epoch: '1' },
    ])
    const unread: string[] = []
    for await (const { value } of region.checkpoints().unread('report')) unread.push(Buffer.from(value).toString())
    expect(unread).toEqual(['b', 'c'])

    const none = await run('cursors', 'set', address, 'cursors', 'report', '--sequence', '9')
    expect([none.code, none.stderr]).toEqual([1, expect.stringMatching(/CHECKPOINT_NOT_FOUND/)])
    expect((await run('cursors', 'delete', address, 'cursors', 'report')).stdout).toBe('deleted cursor report\n')
    const gone = await run('cursors', 'delete', address, 'cursors', 'report')
    expect([gone.code, gone.stderr]).toEqual([1, expect.stringMatching(/CURSOR_INVALID/)])
    expect((await run('cursors', 'list', address, 'cursors')).stdout).toMatch(/^NAME +SEQUENCE +EPOCH\nbackup +3 +1\n$/)
    await client.close()
  })
})

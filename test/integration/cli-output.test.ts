import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { connect } from '../../src/client/connect.js'
import { PersistentMemoryUnit } from '../../src/unit/unit.js'
import { temporaryFolder } from '../fault/support/unit-process.js'

const command = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
const folder = temporaryFolder()
const at = (name: string) => path.join(folder, name)
const state = Buffer.alloc(200_000, 'state ')
let unit: PersistentMemoryUnit

beforeAll(async () => {
  unit = await PersistentMemoryUnit.start({ pool: { medium: 'memory', bytes: 4 << 20 } })
  const client = await connect(unit.address)
  await (await client.createRegion('output', { bytes: 1 << 20 })).log().append(state)
  await client.close()
})
afterAll(() => unit.close())

async function extract(output: string) {
  const args = [command, 'checkpoints', 'extract', unit.address, 'output', '--output', output]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  let stderr = ''
  child.stderr.on('data', (text) => {
    stderr += text
  })
  const [code] = await once(child, 'close')
  return { code, stderr }
}

describe('--output', () => {
  it('replaces what a link leads to, there yet or not, and keeps the link', async () => {
    writeFileSync(at('target'), 'old')
    for (const [link, target] of [
      ['link', 'target'],
      ['dangling', 'nothing-yet'],
    ] as const) {
      symlinkSync(target, at(link))
      expect((await extract(at(link))).stderr).toBe('')
      expect(lstatSync(at(link)).isSymbolicLink()).toBe(true)
      expect(readFileSync(at(target)).equals(state)).toBe(true)
    }
  })

  it('keeps the modes of a file that it replaces, and gives a new one what the umask leaves', async () => {
    writeFileSync(at('private'), 'old')
    chmodSync(at('private'), 0o640)
    expect((await extract(at('private'))).code).toBe(0)
    expect(statSync(at('private')).mode & 0o7777).toBe(0o640)
    expect(readFileSync(at('private')).equals(state)).toBe(true)
    expect((await extract(at('new'))).code).toBe(0)
    expect(statSync(at('new')).mode & 0o7777).toBe(0o666 & ~process.umask())
  })

  it('writes to a pipe and to a device as they stand', async () => {
    execFileSync('mkfifo', [at('pipe')])
    const [extracted, read] = await Promise.all([extract(at('pipe')), readFile(at('pipe'))])
    expect(extracted.stderr).toBe('')
    expect(read.equals(state)).toBe(true)
    expect(lstatSync(at('pipe')).isFIFO()).toBe(true)
    expect((await extract('/dev/null')).code).toBe(0)
    expect(lstatSync('/dev/null').isCharacterDevice()).toBe(true)
    const full = await extract('/dev/full')
    expect([full.code, full.stderr]).toEqual([1, expect.stringMatching(/^rdma-checkpoint: SYSTEM: .*ENOSPC/)])
  })

  it('refuses a folder, a file with two names, and a place that is not there, with a code', async () => {
    mkdirSync(at('sub'))
    writeFileSync(at('one'), 'old')
    linkSync(at('one'), at('two'))
    for (const [output, complaint] of [
      [at('sub'), /INVALID_ARGUMENT: .*directory/],
      [at('two'), /INVALID_ARGUMENT: .*hard links/],
      [at('missing/file'), /SYSTEM: .*ENOENT/],
    ] as const) {
      const refused = await extract(output)
      expect([refused.code, refused.stderr]).toEqual([1, expect.stringMatching(complaint)])
    }
    expect(readFileSync(at('one'), 'utf8')).toBe('old')
    expect(readdirSync(folder).filter((name) => name.endsWith('.partial'))).toEqual([])
  })
})
